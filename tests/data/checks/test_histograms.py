"""Counts of what a dataset consists of."""

from __future__ import annotations

import pytest

from mirg.data.checks.histograms import OTHER, Histograms
from mirg.samples import ImageRef, Sample, Target


def sample(task: str = "t", n_images: int = 2, *targets: Target, hidden: bool = False) -> Sample:
    refs = tuple(ImageRef(path=f"{k}.png") for k in range(n_images))
    return Sample(id="s", task=task, images=refs, question="?", targets=targets, image_hidden=hidden)


def test_counts() -> None:
    found = Histograms()
    found.add(sample("a", 3, Target(image=3, box=(0.0, 0.0, 0.2, 0.2)), hidden=True))
    found.add(sample("a", 2, Target(image=1, box=(0.4, 0.4, 0.6, 0.6)), Target(image=2, box=(0.88, 0.0, 1.0, 0.12))))
    found.add(sample("b", 2))
    values = found.as_dict()["all"]
    assert isinstance(values, dict)
    assert (values["samples"], values["image_hidden"]) == (3, 1)
    assert values["images_per_sample"] == {"2": 2, "3": 1} and values["targets_per_sample"] == {"0": 1, "1": 1, "2": 1}
    assert values["target_image"] == {"1": 1, "2": 1, "3": 1}
    assert values["target_cell"] == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    edges, counts = values["target_size"]["edges"], values["target_size"]["counts"]
    assert len(edges) == len(counts) + 1 and sum(counts) == 3 and counts[2] == 1
    assert found.counts == {"a": 2, "b": 1}
    assert set(found.as_dict()["tasks"]) == {"a", "b"}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("box", "cell", "size_bin", "why"),
    [
        ((0.0, 0.0, 1.0, 1.0), 4, 19, "the whole image: the middle, the last bin"),
        ((1 - 2**-53, 1 - 2**-53, 1.0, 1.0), 8, 0, "a centre at the very edge stays inside"),
        ((0.0, 0.0, 2**-1000, 2**-1000), 0, 0, "an area of zero"),
    ],
)
def test_edges(box: tuple[float, float, float, float], cell: int, size_bin: int, why: str) -> None:
    found = Histograms()
    found.add(sample("t", 1, Target(image=1, box=box)))
    assert found.all.cells[cell] == 1 and found.all.sizes[size_bin] == 1, why


def test_a_task_of_its_own_in_every_row_costs_no_memory() -> None:
    found = Histograms(3)
    for k in range(10):
        found.add(sample(f"t{k}"))
    assert found.counts == {"t0": 1, "t1": 1, "t2": 1, OTHER: 7}
    assert found.all.samples == 10

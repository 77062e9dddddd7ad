"""Filters: each criterion by itself, counts by reason, sizes filled in by a look."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from mirg.data.checks.lengths import SampleCounter
from mirg.data.filter import Criteria, why_dropped, write_filtered
from mirg.errors import ConfigError, DataError
from mirg.families import FAMILIES, family
from mirg.samples import DatasetFolder, DatasetWriter, ImageRef, Sample, Target, Trajectory
from mirg.samples.tokens import image_tokens

Make = Callable[..., DatasetFolder]


def target(area: float = 0.25) -> Target:
    return Target(image=1, box=(0.0, 0.0, area**0.5, area**0.5))


def sample(**changes: Any) -> Sample:
    """Two images of 280 x 280 pixels, one target over a quarter of the first."""
    refs = tuple(ImageRef(path=f"{k}.png", width=280, height=280) for k in range(changes.pop("n", 2)))
    fields = {"id": "s", "task": "refer", "question": "Where?", "images": refs, "targets": (target(),)}
    return Sample(**{**fields, "source": "mgrounding/gg", **changes})


WIDE = Target(image=2, box=(0.0, 0.4, 0.8, 0.5), label="ring")
THOUGHT = Trajectory(thinking="Here.", answer=(), writer="rules")


@pytest.mark.parametrize(
    ("criteria", "changes", "reason"),
    [
        ({}, {}, None),
        ({"tasks": ("refer", "region")}, {}, None),
        ({"tasks": ("region",)}, {}, "task"),
        ({"not_tasks": ("refer",)}, {}, "task"),
        ({"not_tasks": ("region",)}, {}, None),
        ({"sources": ("mgrounding/*",)}, {}, None),
        ({"sources": ("coco", "mgrounding/gg")}, {}, None),
        ({"sources": ("mgrounding",)}, {}, "source"),
        ({"hidden_only": True}, {}, "image not hidden"),
        ({"hidden_only": True}, {"image_hidden": True}, None),
        ({"has_trajectory": True}, {}, "no trajectory"),
        ({"has_trajectory": True}, {"trajectory": THOUGHT}, None),
        ({"min_images": 2, "max_images": 2}, {}, None),
        ({"min_images": 3}, {}, "too few images"),
        ({"max_images": 1}, {}, "too many images"),
        ({"min_size": 0.2, "max_size": 0.3}, {}, None),
        ({"min_size": 0.26}, {}, "target too small"),
        ({"max_size": 0.24}, {}, "target too large"),
        ({"min_size": 0.1}, {"targets": (target(0.2), target(0.01))}, "target too small"),
        ({"max_size": 0.22}, {"targets": (target(0.2), target(0.25))}, "target too large"),
        ({"max_size": 0.1}, {"targets": (WIDE,)}, None),
        ({"min_size": 0.1}, {"targets": (WIDE,)}, "target too small"),
        ({"min_size": 0.5}, {"targets": ()}, None),
        ({"pass_rate": (0.1, 0.9)}, {"meta": {"pass_rate": 0.1}}, None),
        ({"pass_rate": (0.1, 0.9)}, {"meta": {"pass_rate": 0.9}}, None),
        ({"pass_rate": (0.1, 0.9)}, {"meta": {"pass_rate": 1}}, "pass rate"),
        ({"pass_rate": (0.1, 0.9)}, {"meta": {"pass_rate": 0.0}}, "pass rate"),
        ({"pass_rate": (0.1, 0.9)}, {}, "no pass rate"),
        ({"pass_rate": (0, 1)}, {"meta": {"pass_rate": True}}, "no pass rate"),
        ({"pass_rate": (0, 1)}, {"meta": {"pass_rate": "1"}}, "no pass rate"),
        ({"pass_rate": (0.1, 0.9), "keep_unrated": True}, {}, None),
        ({"reward_std": (0.1, 0.5)}, {"meta": {"reward_std": 0.1}}, None),
        ({"reward_std": (0.1, 0.5)}, {"meta": {"reward_std": 0.05}}, "reward std"),
        ({"reward_std": (0.1, 0.5)}, {"meta": {"pass_rate": 0.2}}, "no reward std"),
        ({"reward_std": (0.1, 1), "keep_unrated": True}, {"meta": {"reward_std": 0}}, "reward std"),
        ({"pass_rate": (0, 1), "reward_std": (0.1, 1)}, {"meta": {"pass_rate": 0, "reward_std": 0}}, "reward std"),
        ({"max_tokens": 1000, "family": "qwen2.5-vl"}, {}, None),
        ({"max_tokens": 300, "family": "qwen2.5-vl"}, {}, "too many tokens"),
        ({"max_tokens": 1000, "family": "qwen2.5-vl"}, {"n": 9}, "too many tokens"),
        ({"max_tokens": 1000, "family": "qwen2.5-vl", "max_pixels": 28 * 28 * 9}, {"n": 9}, None),
        ({"max_tokens": 9, "family": "glm-v"}, {"images": (ImageRef(path="a"),)}, "image size not known"),
        ({"max_tokens": 9, "family": "glm-v"}, {"question": "<box image=9>1</box>"}, "tokens cannot be counted"),
    ],
)
def test_each_criterion(criteria: dict[str, Any], changes: dict[str, Any], reason: str | None) -> None:
    assert why_dropped(sample(**changes), Criteria(**criteria)) == reason


@pytest.mark.parametrize(
    ("criteria", "said"),
    [
        ({"min_images": 3, "max_images": 2}, "more than the most"),
        ({"min_size": 0.5, "max_size": 0.4}, "more than the most"),
        ({"pass_rate": (0.9, 0.1)}, "more than the most"),
        ({"max_tokens": 10}, "needs a family"),
        ({"min_size": 1.5}, "less than or equal"),
        ({"unknown": 1}, "not permitted"),
    ],
)
def test_criteria_that_make_no_sense(criteria: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Criteria(**criteria)


def test_an_unknown_family_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="qwen2.5-vl"):
        Criteria(max_tokens=10, family="qwen2.5")


@pytest.mark.parametrize("name", FAMILIES)
def test_tokens_grow_with_all_that_is_shown(name: str) -> None:
    count = SampleCounter(family(name))
    one = count(sample()).total
    assert count(sample(n=3)).total > one + 0.4 * image_tokens((280, 280), family(name))
    assert count(sample(question="Where is it? " * 40)).total > one + 120
    assert count(sample(trajectory=THOUGHT)).total > one


@pytest.fixture
def source(dataset: Make) -> DatasetFolder:
    tasks = ["region"] * 3 + ["refer"] * 5
    return dataset("d", [{"images": (k,), "task": task, "targets": [target()]} for k, task in enumerate(tasks)])


def test_what_passes_is_written_in_order(source: DatasetFolder, tmp_path: Path) -> None:
    report = write_filtered(source, tmp_path / "out", Criteria(tasks=("refer",)))
    made = DatasetFolder.open(tmp_path / "out")
    assert [s.id for s in made.read(images="decode")] == ["s3", "s4", "s5", "s6", "s7"]
    assert (report.n_kept, dict(report.dropped), report.n_rows) == (5, {"task": 3}, 8)
    assert made.card.seed is None, "nothing was chosen"
    assert made.card.created_by == "mirg data filter" and "tasks refer" in made.card.description


@settings(max_examples=8)
@given(seed=st.integers(0, 50), limit=st.integers(1, 8))
def test_a_limit_takes_the_same_whatever_else_is_there(tmp_path_factory, seed: int, limit: int) -> None:
    """Chosen by seed and id: the chosen of a smaller limit are among those of a larger one, and order is kept."""
    path = tmp_path_factory.mktemp("limit")
    with DatasetWriter(path / "d", name="d") as writer:
        ref = writer.add_image(Image.new("RGB", (4, 4)), "x")
        for k in range(9):
            writer.add(Sample(id=f"s{k}", task="t", question="?", images=(ref,)))
    folder = DatasetFolder.open(path / "d")
    chosen = []
    for n in (limit, limit + 1):
        report = write_filtered(folder, path / f"out{n}", Criteria(), limit=n, seed=seed)
        chosen.append([s.id for s in DatasetFolder.open(path / f"out{n}")])
        assert DatasetFolder.open(path / f"out{n}").card.seed == seed
        assert report.n_kept == n and report.dropped["over the limit"] == 9 - n
    assert set(chosen[0]) < set(chosen[1]) and chosen[1] == sorted(chosen[1])


def test_another_seed_chooses_others(source: DatasetFolder, tmp_path: Path) -> None:
    chosen = set()
    for seed in range(4):
        write_filtered(source, tmp_path / str(seed), Criteria(), limit=3, seed=seed)
        chosen.add(tuple(s.id for s in DatasetFolder.open(tmp_path / str(seed))))
    assert len(chosen) > 1


def test_a_look_writes_sizes_and_finds_what_is_missing(dataset: Make, tmp_path: Path) -> None:
    """Rows that were imported without a look know no sizes; afterwards they do."""
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (9, 7)).save(tmp_path / "photos" / "a.png")
    with DatasetWriter(tmp_path / "d", name="d") as writer:
        root = writer.add_root("photos", tmp_path / "photos")
        for k, name in enumerate(("a.png", "gone.png")):
            writer.add(Sample(id=f"s{k}", task="t", question="?", images=(ImageRef(path=f"@{root}/{name}"),)))
    folder = DatasetFolder.open(tmp_path / "d")
    blind = write_filtered(folder, tmp_path / "blind", Criteria())
    assert blind.n_kept == 2 and not next(iter(DatasetFolder.open(tmp_path / "blind"))).images[0].measured
    report = write_filtered(folder, tmp_path / "out", Criteria(), look="header")
    (found,) = DatasetFolder.open(tmp_path / "out").read()
    assert found.sizes == [(9, 7)]
    assert [(r.id, r.row) for r in report.rejections] == [("s1", 2)] and "does not exist" in report.rejections[0].reason
    assert report.n_rows == 2


def test_a_filtered_dataset_can_be_filtered_again(source: DatasetFolder, tmp_path: Path) -> None:
    """References stay short chains: they name the folder of the images, not the dataset between."""
    write_filtered(source, tmp_path / "one", Criteria(tasks=("refer",)))
    write_filtered(DatasetFolder.open(tmp_path / "one"), tmp_path / "two", Criteria(), limit=2, copy=False)
    made = DatasetFolder.open(tmp_path / "two")
    assert len(list(made.read(images="decode"))) == 2 and made.card.roots == {"d": "../d"}


def test_nothing_passes(source: DatasetFolder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no sample of .* passes, 8 rows read \(task 8\)"):
        write_filtered(source, tmp_path / "out", Criteria(tasks=("none",)))
    assert not (tmp_path / "out").exists()


def test_limits_under_one(source: DatasetFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one"):
        write_filtered(source, tmp_path / "out", Criteria(), limit=0)

"""A mixture as a sequence and as a dataset: the same samples, unique ids, images that open."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from mirg.data.mix import Mixture, write_mix
from mirg.errors import ConfigError, DataError
from mirg.samples import DatasetFolder, write_card

Make = Callable[..., DatasetFolder]


@pytest.fixture
def parts(dataset: Make) -> dict[str, tuple[DatasetFolder, object]]:
    """Five and three samples; ``s0`` to ``s2`` are ids of both."""
    first = dataset("first", [{"images": (k,)} for k in range(5)], license="MIT")
    second = dataset("second", [{"images": (10 + k, 11 + k)} for k in range(3)], license="CC0")
    return {"first": (first, 2), "second": (second, "1")}


def ids(folder: Path) -> list[str]:
    return [sample.id for sample in DatasetFolder.open(folder)]


def test_what_is_written_is_what_a_loop_reads(parts, tmp_path: Path) -> None:
    report = write_mix(parts, tmp_path / "out", 20, seed=4)
    with Mixture(parts, seed=4) as mixture:
        expected = [mixed.sample.id for mixed in islice(mixture.tail(), 20)]
        assert [mixed.sample.id for mixed in islice(mixture.tail(13), 7)] == expected[13:]
    assert ids(tmp_path / "out") == expected
    assert report.kept == {"first": 13, "second": 7} or report.kept == {"first": 14, "second": 6}
    assert report.n_kept == 20 and report.n_again == 20 - 5 - 3
    assert report.as_dict()["datasets"]["second"] == {"rows": 3, "samples": report.kept["second"]}


def test_by_default_as_many_samples_as_rows(parts, tmp_path: Path) -> None:
    assert write_mix(parts, tmp_path / "out").n_kept == 8


def test_ids_are_told_apart(parts, tmp_path: Path) -> None:
    write_mix(parts, tmp_path / "out", 40)
    found = ids(tmp_path / "out")
    assert len(set(found)) == 40
    assert {"s0", "second:s0", "s0~1", "second:s0~1"} <= set(found)


def test_an_id_that_looks_like_a_repetition_is_no_trouble(dataset: Make, tmp_path: Path) -> None:
    odd = dataset("odd", [{"images": (0,), "id": "x"}, {"images": (1,), "id": "x~1"}])
    write_mix({"odd": (odd, 1)}, tmp_path / "out", 6)
    assert len(set(ids(tmp_path / "out"))) == 6


def test_images_open_and_the_card_tells(parts, tmp_path: Path) -> None:
    write_mix(parts, tmp_path / "out", 9, seed=2, epoch=3)
    made = DatasetFolder.open(tmp_path / "out")
    assert len(list(made.read(images="decode"))) == 9
    assert made.card.seed == 2 and "epoch 3" in made.card.description and "first 2, second 1" in made.card.description
    assert made.card.license == "CC0 / MIT"
    assert made.card.roots == {"first": "../first", "second": "../second"}


def test_copied_images_need_no_source(parts, tmp_path: Path) -> None:
    write_mix(parts, tmp_path / "out", 9, copy=True)
    for name in ("first", "second"):
        (tmp_path / name).rename(tmp_path / f"{name}-gone")
    assert len(list(DatasetFolder.open(tmp_path / "out").read(images="decode"))) == 9


def test_broken_rows_are_counted_and_never_drawn(dataset: Make, tmp_path: Path) -> None:
    folder = dataset("d", [{"images": (k,)} for k in range(3)])
    rows = folder.root / "samples.jsonl"
    lines = rows.read_text().splitlines()
    rows.write_text("\n".join([lines[0], "{broken", f"\ufeff{lines[1]}", "", lines[2]]) + "\n")
    write_card(folder.root, name="d")
    report = write_mix({"d": (DatasetFolder.open(folder.root), 1)}, tmp_path / "out", 6)
    assert [rejection.row for rejection in report.rejections] == [2]
    assert report.n_kept == 6 and (tmp_path / "out" / "rejected.jsonl").is_file()
    assert set(ids(tmp_path / "out")) == {"s0", "s1", "s2", "s0~1", "s1~1", "s2~1"}


def test_an_image_that_is_gone_is_a_rejection_with_its_line(dataset: Make, tmp_path: Path) -> None:
    folder = dataset("d", [{"images": (k,)} for k in range(3)])
    (folder.root / "images" / "p1.png").unlink()
    rows = folder.root / "samples.jsonl"
    rows.write_text("\n" + rows.read_text())
    report = write_mix({"d": (folder, 1)}, tmp_path / "out", 3, copy=True)
    assert [(r.id, r.row, r.field) for r in report.rejections] == [("s1", 3, "images")]
    assert report.n_kept == 2 and sorted(ids(tmp_path / "out")) == ["s0", "s2"]


def test_nothing_to_write_is_an_error(dataset: Make, tmp_path: Path) -> None:
    folder = dataset("d", [{"images": (0,)}])
    (folder.root / "images" / "p0.png").unlink()
    with pytest.raises(DataError, match="no sample of the mixture can be written; first: .*p0.png"):
        write_mix({"d": (folder, 1)}, tmp_path / "out", copy=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("inside", [".", "first"])
def test_a_source_is_not_written_over(parts, tmp_path: Path, inside: str) -> None:
    with pytest.raises(ConfigError, match="which is read from"):
        write_mix(parts, tmp_path / inside, overwrite=True)
    assert len(list(parts["first"][0].read(images="decode"))) == 5


def test_a_mixture_of_nothing(parts, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one"):
        write_mix(parts, tmp_path / "out", 0)

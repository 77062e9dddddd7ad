"""The one way from dataset to dataset: every row is kept, dropped or rejected, in order, counted once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.data.derive import Derived, Outcome, refuse_overwriting_inputs, sift, writer_like
from mirg.errors import ConfigError
from mirg.samples import REJECTED_FILE, DatasetFolder, Rejection, Sample, Tally
from mirg.samples.rejected import rejection_line

Make = Callable[..., DatasetFolder]


@pytest.fixture
def source(dataset: Make) -> DatasetFolder:
    """Six samples and, as the seventh row, a line that is cut off."""
    made = dataset(
        "source", [{"images": (k,), "task": "refer" if k % 2 else "region"} for k in range(6)], license="MIT"
    )
    with (made.root / "samples.jsonl").open("a") as stream:
        stream.write('{"id": "s6", "ta')
    return DatasetFolder.open(made.root)


def judge_of(source: DatasetFolder, words: dict[str, str]) -> Callable[[int, Sample], Outcome]:
    """What becomes of samples by id: a word that begins with "-" drops, "!" rejects, anything else keeps."""

    def judge(row: int, sample: Sample) -> Outcome:
        word = words.get(sample.id, "kept")
        if word.startswith("!"):
            return Outcome(None, "", source.rejection(row, sample, "question", word[1:]))
        return Outcome(None, word[1:]) if word.startswith("-") else Outcome(sample, word)

    return judge


def test_every_row_is_counted_once_and_listed_in_order(source: DatasetFolder, tmp_path: Path) -> None:
    tally, heard = Tally[Rejection](), []
    judge = judge_of(source, {"s1": "-task", "s2": "!is empty", "s3": "-task", "s4": "again"})
    with writer_like(source.card, tmp_path / "out", "test", "Some of it.") as writer:
        Derived(writer, tally).write(source, judge, on_progress=heard.append)
    assert [sample.id for sample in DatasetFolder.open(tmp_path / "out")] == ["s0", "s4", "s5"]
    assert tally.kept == {"kept": 2, "again": 1} and tally.dropped == {"task": 2} and tally.n_rejected == 2
    assert (tally.n_rows, tally.n_kept, dict(tally.tasks)) == (7, 3, {"region": 2, "refer": 1})
    assert heard == [1, 2, 3, 4, 5, 6], "rows that can be read"
    rows = [json.loads(line) for line in (tmp_path / "out" / REJECTED_FILE).read_text().splitlines()]
    assert rows == [row.model_dump() for row in tally.rejections]
    assert [(row["row"], row["field"]) for row in rows] == [(3, "question"), (7, "line")]
    assert tally.first().startswith("; first:") and "is empty" in tally.first()


def test_samples_can_be_written_later(source: DatasetFolder) -> None:
    """A yielded sample is not counted before it is written."""
    tally = Tally[Rejection]()
    found = list(sift(source, judge_of(source, {"s0": "-x"}), tally))
    assert [(row, sample.id, word) for row, sample, word in found][:2] == [(2, "s1", "kept"), (3, "s2", "kept")]
    assert tally.n_kept == 0 and tally.n_rows == 2


def test_an_image_that_cannot_be_copied_costs_its_sample(source: DatasetFolder, tmp_path: Path) -> None:
    (broken,) = [sample.images[0] for sample in source.read(lambda _: None) if sample.id == "s2"]
    source.image_path(broken).write_bytes(b"\x89PNG")
    tally = Tally[Rejection](most=1)
    with writer_like(source.card, tmp_path / "out", "test") as writer:
        Derived(writer, tally, "all").write(source, lambda row, sample: Outcome(sample))
    assert tally.n_kept == 5 and tally.n_rejected == 2
    assert [(row.row, row.id, row.field) for row in tally.rejections] == [(3, "s2", "images")], "at most one is kept"
    assert len((tmp_path / "out" / REJECTED_FILE).read_text().splitlines()) == 2, "the file has all of them"


def test_the_card_of_a_derived_dataset(source: DatasetFolder, tmp_path: Path) -> None:
    with writer_like(source.card, tmp_path / "out", "test", "Some of it.", name="other", seed=0) as writer:
        Derived(writer, Tally[Rejection]()).write(source, lambda row, sample: Outcome(sample))
    card = DatasetFolder.open(tmp_path / "out").card
    assert (card.name, card.created_by, card.seed, card.license) == ("other", "test", 0, "MIT")
    assert card.description == f"{source.card.description} Some of it.".strip()


def test_what_is_read_is_not_written_over(source: DatasetFolder) -> None:
    for out in (source.root, source.root.parent):
        with pytest.raises(ConfigError, match="which is read from"):
            refuse_overwriting_inputs(out, [source])
    refuse_overwriting_inputs(source.root / "new", [source])
    photos = source.root.parent / "photos"
    photos.mkdir()
    card = source.card.model_copy(update={"roots": {"photos": "../photos"}})
    referring = DatasetFolder(source.root, card)
    with pytest.raises(ConfigError, match="photos, which is read from"):
        refuse_overwriting_inputs(photos, [referring])
    refuse_overwriting_inputs(photos, [referring], copy=True)


@given(given=st.text(max_size=30))
def test_a_rejection_is_one_line_whatever_its_id_holds(given: str) -> None:
    """Also half of a surrogate pair, which the id of a damaged row may hold."""
    for name in (given, f"{given}\ud800"):
        rejection = Rejection(file="f", row=1, id=name, field="id", reason="r")
        line = rejection_line(rejection)
        assert line.endswith(b"\n") and line.count(b"\n") == 1
        assert json.loads(line.decode("utf-8", "surrogatepass")) == rejection.model_dump()
    assert rejection_line(rejection.model_copy(update={"id": "é"})) == (
        rejection.model_copy(update={"id": "é"}).model_dump_json().encode() + b"\n"
    )

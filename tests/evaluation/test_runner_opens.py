"""What resuming costs, in files read and images decoded: nothing is decoded for a row that is there already."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from fakes.engines import ScriptedEngine
from mirg.engines.base import Generation
from mirg.evaluation import batches
from mirg.evaluation.runner import Plan, evaluate, select
from mirg.evaluation.store import RECORDS_FILE, SETTINGS_FILE
from mirg.images import image_digest
from mirg.samples import DatasetFolder, DatasetWriter, ImageRef, Sample

PLAN = Plan(generation=Generation(batch_size=5))
N = 24
FILES = ("evaluation.json", "records.jsonl", "rejected.jsonl", "summary.json")


class Counting(DatasetFolder):
    """A dataset that counts for whom images are decoded."""

    opened: Counter[str]

    def open_image(self, ref: ImageRef, sample_id: str | None = None) -> Image.Image:
        self.opened[str(sample_id)] += 1
        return super().open_image(ref, sample_id)


@pytest.fixture
def data(tmp_path: Path) -> Counting:
    """24 samples of two images each; the second image is the same file for all."""
    with DatasetWriter(tmp_path / "data", name="shared") as writer:
        shared = writer.add_image(Image.new("RGB", (40, 32), (9, 9, 9)), "shared")
        for k in range(N):
            own = writer.add_image(Image.new("RGB", (40, 32), (k * 9, 0, 30)), str(k))
            writer.add(Sample(id=f"s{k:02d}", task="t", images=(own, shared), question="Where is the red ring?"))
    return counting(tmp_path / "data")


def counting(path: Path) -> Counting:
    data = Counting.open(path)
    assert isinstance(data, Counting)
    data.opened = Counter()
    return data


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file is read for its digest."""
    seen: Counter[str] = Counter()

    def counted(path: Path) -> str:
        seen[path.name] += 1
        return image_digest(path)

    monkeypatch.setattr(batches, "image_digest", counted)
    return seen


def run(data: Counting, out: Path, die_after: int | None = None) -> ScriptedEngine:
    data.opened.clear()
    engine = ScriptedEngine(lambda request, settings: "none", die_after=die_after)
    evaluate(engine, data, out, PLAN)
    return engine


def content(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


def test_a_file_is_hashed_once_and_an_image_decoded_once(data: Counting, tmp_path: Path, hashed: Counter[str]) -> None:
    run(data, tmp_path / "out")
    assert len(hashed) == N + 1 and set(hashed.values()) == {1}, "the shared image, too"
    assert len(data.opened) == N and set(data.opened.values()) == {2}


def test_a_finished_evaluation_decodes_nothing(data: Counting, tmp_path: Path, hashed: Counter[str]) -> None:
    run(data, tmp_path / "out")
    before = content(tmp_path / "out")
    hashed.clear()
    engine = run(data, tmp_path / "out")
    assert not engine.asked and not data.opened and content(tmp_path / "out") == before
    assert len(hashed) == N + 1 and set(hashed.values()) == {1}, "its images are still the same files"


@pytest.mark.parametrize(
    ("rows", "first_opened", "why"),
    [
        (0, 0, "killed before the first batch ended"),
        (10, 10, "killed between batches"),
        (12, 10, "killed inside a batch: it is asked as a whole, its numerics depend on that"),
        (24, 24, "killed before the summary"),
    ],
)
def test_only_what_is_asked_is_decoded(data: Counting, tmp_path: Path, rows: int, first_opened: int, why: str) -> None:
    run(data, tmp_path / "whole")
    expected = content(tmp_path / "whole")
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / SETTINGS_FILE).write_bytes((tmp_path / "whole" / SETTINGS_FILE).read_bytes())
    lines = (tmp_path / "whole" / RECORDS_FILE).read_bytes().splitlines(keepends=True)
    (cut / RECORDS_FILE).write_bytes(b"".join(lines[:rows]))
    run(data, cut)
    ids = [sample.id for sample in select(data.read(), PLAN)]
    assert data.opened == dict.fromkeys(ids[first_opened:], 2), why
    assert content(cut) == expected


def test_known_rejections_stay_and_cost_their_own_images_only(data: Counting, tmp_path: Path) -> None:
    """Also where a whole batch is rejected; a repaired image is evaluated again, with its batch and those after it."""
    samples = select(data.read(), PLAN)
    broken = [samples[2], *samples[10:15]]
    whole = {sample.id: data.image_path(sample.images[0]).read_bytes() for sample in broken}
    for sample in broken:
        data.image_path(sample.images[0]).write_bytes(whole[sample.id][:50])
    run(data, tmp_path / "out")
    before = content(tmp_path / "out")
    assert [json.loads(row)["id"] for row in before[2].splitlines()] == [sample.id for sample in broken]
    engine = run(data, tmp_path / "out")
    assert not engine.asked and content(tmp_path / "out") == before
    assert data.opened == dict.fromkeys([sample.id for sample in broken], 1)
    data.image_path(samples[12].images[0]).write_bytes(whole[samples[12].id])
    engine = run(data, tmp_path / "out")
    assert [len(batch) for batch in engine.asked] == [1, 5, 4] and engine.asked[0] == [samples[12].id]


def test_rows_of_a_damaged_file_are_no_rows(data: Counting, tmp_path: Path) -> None:
    run(data, tmp_path / "out")
    before = content(tmp_path / "out")
    file = tmp_path / "out" / RECORDS_FILE
    (tmp_path / "out" / "summary.json").unlink()  # the evaluation has not ended
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:7], '{"id": ["s07"], "key": {}}', *lines[8:]]) + "\n")
    engine = run(data, tmp_path / "out")
    assert len(engine.asked) == 4 and content(tmp_path / "out") == before

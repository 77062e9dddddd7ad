"""Rows with a known truth in every spelling that people report: none is misread, hardly one is refused."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from fakes.spelled_rows import FRAMES, PICTURES, Maker, Row, Truth
from mirg.data.importers.match_refusals import kind_of
from mirg.data.importers.raw import ImportOptions
from mirg.data.importers.run import import_dataset
from mirg.samples import DatasetFolder, Sample

Table = dict[str, Counter[str]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name, size in PICTURES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", size, (120, 90, 60)).save(folder / name)
    return folder


def written(path: Path, rows: Sequence[Row]) -> Path:
    talks = [
        {
            "id": str(k),
            "messages": [{"role": "user", "content": row.question}, {"role": "assistant", "content": row.answer}],
            "images": list(row.truth.images),
        }
        for k, row in enumerate(rows)
    ]
    path.write_text(json.dumps(talks, ensure_ascii=False), "utf-8")
    return path


def right(sample: Sample, truth: Truth, frame: str) -> bool:
    """Whether every target is in its image and at most one quantisation step off."""
    if len(sample.targets) != len(truth.targets):
        return False
    found = [(target.image, target.box) for target in sample.targets]
    for (image, box), (wanted, expected) in zip(found, truth.targets, strict=True):
        dx, dy = truth.step(frame, wanted)
        if image != wanted or any(
            abs(a - b) > 1.001 * step for a, b, step in zip(box, expected, (dx, dy, dx, dy), strict=True)
        ):
            return False
    return True


def judged(table: Table, rows: Sequence[Row], out: Path, frame: str) -> list[str]:
    """Count the rows of one import into ``table``; what went wrong, in words."""
    folder = DatasetFolder.open(out)
    samples = {int(sample.id.rsplit("-", 1)[0]): sample for sample in folder.read(images="none")}
    reasons = {
        int(line["id"].rsplit("-", 1)[0]): line["reason"] for line in map(json.loads, (out / "rejected.jsonl").open())
    }
    wrong = []
    for k, row in enumerate(rows):
        count = table[row.spelling]
        count["rows"] += 1
        sample = samples.get(k)
        if sample is None:
            if k not in reasons or kind_of(reasons[k]) is None:
                wrong.append(f"{row.spelling}: refused without a reason of the table: {row.answer!r}")
            elif not row.refused:
                count["lost"] += 1
                table["lost"][f"{row.spelling}: {reasons[k]}: {row.answer[:120]!r} {row.question[-80:]!r}"] += 1
        elif row.refused or not right(sample, row.truth, frame):
            got = [(target.image, target.box) for target in sample.targets]
            wrong.append(f"{row.spelling}: {row.question!r} {row.answer!r} gave {got}, not {row.truth.targets}")
    return wrong


def trial(root: Path, tmp_path: Path, per_file: int) -> None:
    table: Table = defaultdict(Counter)
    wrong: list[str] = []
    for first in (0, 1):
        for frame in FRAMES:
            rows = Maker(random.Random(f"{first} {frame}"), first, frame).rows(per_file)
            file, out = tmp_path / f"{first}-{frame}.json", tmp_path / f"out-{first}-{frame}"
            options = ImportOptions(root=str(root), frame=frame, look="header")
            report = import_dataset("sharegpt", written(file, rows), out, options, listed=0)
            assert report.image_index_from == (0 if first == 0 else None), "a single 0 settles it for the whole file"
            wrong += judged(table, rows, out, frame)
    lost = table.pop("lost", Counter())
    total = {key: sum(count[key] for count in table.values()) for key in ("rows", "lost")}
    clear = total["rows"] - sum(count["rows"] for name, count in table.items() if name.startswith("ambiguous"))
    assert not wrong, "\n".join(wrong[:10])
    assert len(table) >= 60 and total["lost"] <= 0.03 * clear, lost.most_common(12)


def test_no_row_is_misread(root: Path, tmp_path: Path) -> None:
    """A sample of the spellings that takes seconds; the whole oracle is slow."""
    trial(root, tmp_path, 300)


@pytest.mark.slow
def test_no_row_of_ten_thousand_is_misread(root: Path, tmp_path: Path) -> None:
    trial(root, tmp_path, 1800)

"""Imports in tests: pictures on disk, a whole import with everything that must hold of it, and rows gone wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from PIL import Image

from mirg.data.importers.finish import Job, finish
from mirg.data.importers.formats import source_of
from mirg.data.importers.raw import ImportOptions, Outcome, RawSample, Refusal, Row
from mirg.data.importers.run import ImportReport, import_dataset
from mirg.samples import DatasetFolder, Rejection, Sample
from mirg.storage import BadLine
from mirg.trajectories.checks import failures, verify
from mirg.trajectories.writer import build

NO_FILES = ImportOptions(root="/nowhere", look="none")


def pictures(root: Path, names: Sequence[str], size: tuple[int, int] = (100, 80)) -> Path:
    """A picture of another colour for every name below ``root``."""
    for k, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (37 * k % 256, 91 * k % 256, 200)).save(path)
    return root


def write_rows(path: Path, rows: Sequence[object], *, lines: bool = False) -> Path:
    text = "".join(f"{json.dumps(row)}\n" for row in rows) if lines else json.dumps(list(rows))
    path.write_text(text, encoding="utf-8")
    return path


def imported(
    kind: str, path: Path, out: Path, root: Path, *, copy: bool = False, **settings: Any
) -> tuple[ImportReport, list[Sample]]:
    """Import ``path``: every sample is accepted when it is read, and its reasoning can be written from it."""
    options = ImportOptions(**{"root": str(root), **settings})
    report = import_dataset(kind, path, out, options, copy=copy)
    folder = DatasetFolder.open(out)
    rejected: list[Rejection] = []
    samples = list(folder.read(rejected.append, images="decode"))
    assert not rejected and len(samples) == report.samples
    assert folder.verify() == []
    for sample in samples:
        trajectory = build(sample)
        assert not failures(verify(sample, trajectory)), f"{sample.id}: {trajectory.thinking}"
        assert "nothing" not in trajectory.thinking, f"{sample.id}: what is not annotated is not known to be absent"
    return report, samples


def only(kind: str, value: object, options: ImportOptions = NO_FILES) -> RawSample:
    """The one sample of a row."""
    (outcome,) = source_of(kind).convert(value, options)
    assert isinstance(outcome, RawSample), outcome
    return outcome


def refused(kind: str, value: object, options: ImportOptions = NO_FILES) -> Refusal:
    """The one refusal of a row."""
    (outcome,) = source_of(kind).convert(value, options)
    assert isinstance(outcome, Refusal), outcome
    return outcome


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["\ud800", "Image-9: (1,2),(3,4)", "<image>", "", "\0", "in the ninth image", "<bbox>", "../x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def spoiled(draw: st.DrawFn, rows: Sequence[object]) -> object:
    """A good row with one to three of its parts replaced, left out or cut, or any value in its place."""
    row = copy.deepcopy(draw(st.sampled_from(list(rows))))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(row))
        if not places or draw(st.integers(0, 20)) == 0:
            return draw(JSON_VALUES | st.just(BadLine("not JSON", "{")))
        holder, key = draw(st.sampled_from(places))
        how = draw(st.sampled_from(["replace", "drop", "cut"]))
        if how == "drop":
            del holder[key]
        elif how == "cut" and isinstance(holder[key], str):
            at = draw(st.integers(0, len(holder[key])))
            holder[key] = holder[key][:at] + draw(st.sampled_from(["", "(1,2),(3,4)", "Image-2: ", "\ud800"]))
        else:
            holder[key] = draw(JSON_VALUES)
    return row


def _places(value: object) -> Any:
    """(container, key) of everything inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)


def survives(kind: str, value: object, options: ImportOptions = NO_FILES) -> list[Outcome]:
    """Convert and finish a row of any kind: nothing is raised, refusals say why and can be written down."""
    outcomes = source_of(kind).convert(value, options)
    for outcome in outcomes:
        assert isinstance(outcome, RawSample | Refusal)
    done = finish(Job(kind, options, "relative_1000", "images"), Row("rows.json", 1, value))
    assert len(done.written) + len(done.refused) == len(outcomes)
    for refusal in done.refused:
        assert refusal.field and refusal.reason
        Rejection(
            file="rows.json", row=1, id=refusal.id, field=refusal.field, reason=refusal.reason, hint=refusal.hint
        ).model_dump_json()
    for row in done.written:
        Sample.model_validate_json(row.line)
    return outcomes

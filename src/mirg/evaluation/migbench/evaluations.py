"""Scoring what is on the disk: a file of responses, or the folder of an evaluation with its own frame."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mirg.data.importers.migbench import Annotations
from mirg.errors import EvaluationError, MirgError
from mirg.evaluation.migbench.responses import Responses, indices_of, load_responses
from mirg.evaluation.migbench.summary import Frame, Protocol, Score, compare_scores, score_all
from mirg.evaluation.store import SETTINGS_FILE, SUMMARY_FILE
from mirg.families import FAMILIES, PixelLimits, family
from mirg.frames import Size
from mirg.samples import REJECTED_FILE, DatasetFolder
from mirg.storage import read_json, read_jsonl

DATA = "data"  # folder of an evaluation of the benchmark: its items as samples


class Scored(NamedTuple):
    """The items that were asked, with their responses and scores."""

    truth: Annotations
    responses: Responses
    scores: list[Score]


def score_file(truth: Annotations, path: Path, chosen: Sequence[Protocol], frame: Frame | None = None) -> Scored:
    """Score the responses in a file, or those of an evaluation (a folder).

    Without ``frame`` an evaluation is read in the frame of its model, and a file in the 0-1000 frame. All items of the
    benchmark count, unless an evaluation says that it is one of some items: then those that it asked.
    """
    responses = load_responses(path, len(truth.items), revised=truth.revised, items=truth.items)
    scores = score_all(truth, responses, chosen, frame or frame_of(path, truth))
    asked = _asked(path, truth, responses)
    if asked is None:
        return Scored(truth, responses, scores)
    items = tuple(item for item in truth.items if item.index in asked)
    defects = tuple(defect for defect in truth.defects if defect.index in asked)
    return Scored(replace(truth, items=items, defects=defects), responses, [s for s in scores if s.item.index in asked])


def difference(path: Path, other: Sequence[Score], scores: Sequence[Score]) -> dict[str, Any]:
    """How ``scores`` differ from the ``other`` ones, which are those of ``path``, on the items of both."""
    both = {score.item.index for score in other} & {score.item.index for score in scores}
    a, b = ([score for score in side if score.item.index in both] for side in (other, scores))
    if not both:
        raise EvaluationError(f"{path} has no item in common with these responses", hint="compare the same tasks")
    return {"responses": str(path), "items": len(both), **compare_scores(a, b)}


def frame_of(path: Path, truth: Annotations) -> Frame:
    """The frame of an evaluation: family, pixel limits, and image sizes if its samples are in the folder."""
    settings = _object(path / SETTINGS_FILE) if path.is_dir() else {}
    name, limits = settings.get("family"), settings.get("limits")
    if name is None:
        return Frame(FAMILIES["qwen3-vl"])
    with suppress(TypeError):
        limits = PixelLimits(**limits) if isinstance(limits, dict) else None
    found = family(str(name))
    sizes = image_sizes_in(path / DATA, truth) if found.box_frame == "resized_pixels" else []
    return Frame(found, limits, sizes)


def image_sizes_in(data: Path, truth: Annotations) -> list[list[Size]]:
    """(width, height) of the images of each item as the samples of a dataset folder have them.

    An item without a sample has no sizes; [] if there is no such folder, or it is one of other items.
    """
    sizes: list[list[Size]] = [[] for _ in truth.items]
    try:
        for sample in DatasetFolder.open(data).read():
            for index in indices_of(sample.id, revised=truth.revised) or ():
                if index < len(sizes):
                    sizes[index] = sample.sizes
    except MirgError:
        return []
    return sizes if any(sizes) else []


def _asked(path: Path, truth: Annotations, responses: Responses) -> set[int] | None:
    """The items that a partial evaluation asked, None for all items."""
    summary = _object(path / SUMMARY_FILE) if path.is_dir() else {}
    settings = summary.get("settings")
    if not isinstance(settings, dict) or not (settings.get("limit") or settings.get("tasks")):
        return None
    asked = set(responses.texts)
    for _, row in read_jsonl(path / REJECTED_FILE):
        if isinstance(row, dict):
            asked.update(indices_of(str(row.get("id")), revised=truth.revised) or ())
    return asked


def _object(path: Path) -> dict[str, Any]:
    with suppress(MirgError):
        value = read_json(path)
        return value if isinstance(value, dict) else {}
    return {}

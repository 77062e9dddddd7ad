"""The rollouts of a GRPO run on its page: for each prompt its group, rewards by part with reasons, and advantages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from mirg.answers.markup import cited
from mirg.errors import MirgError
from mirg.evaluation.page_answers import Gallery, readable
from mirg.geometry import box_problem
from mirg.report.data import Completion, Mark, PartLine, RolloutGroup, Rollouts
from mirg.samples import DatasetFolder
from mirg.storage import read_jsonl
from mirg.text_files import parse_yaml

ROLLOUTS_FILE = "rollouts.jsonl"
STEPS, GROUPS = 12, 96  # shown at most
_NOT_REWARDS = frozenset({"step", "id", "completion", "reasons", "boxes", "total"})
_EPSILON = 1e-4  # TRL adds it to the standard deviation that it divides by

Row = Mapping[str, Any]


def rollouts_section(name: str, folder: Path, run: Path, data: Path | None, notes: list[str]) -> Rollouts | None:
    """What ``rollouts.jsonl`` of the training run ``folder`` shows; None if it has no such file, or an empty one.

    ``data`` is a dataset folder to look into besides the one of the run's recipe. What cannot be shown is added to
    ``notes``.
    """
    path = folder / ROLLOUTS_FILE
    if not path.is_file():
        return None
    steps, total = _chosen_steps(path)
    if not steps:
        return None
    recipe = _recipe(folder)
    groups = [group for step in steps.values() for group in _groups(step, _value(recipe, "group_size", 0))]
    kept = [group for number in range(GROUPS) for group in _nth(steps, recipe, number)][:GROUPS]
    wanted = {row["id"] for group in kept for row in group}
    gallery = _gallery(recipe, folder, run, data, wanted)
    if gallery.dataset is None:
        missing = Path(_value(recipe, "data", "")).name
        notes.append(f"{name}: the dataset {missing} was not found, so its rollouts have no images.")
    kept.sort(key=lambda group: group[0]["step"])
    shown = tuple(_group(group, steps[group[0]["step"]], recipe, gallery) for group in kept)
    note = (
        f"{len(shown):,} of the {len(groups):,} groups of {len(steps):,} steps, out of {total:,} steps that are "
        f"recorded (log_rollouts_every). {_advantages_said(recipe)}"
    )
    return Rollouts(name, note, shown)


def _chosen_steps(path: Path) -> tuple[dict[int, list[Row]], int]:
    """The rows of up to ``STEPS`` steps from the first to the last, and the number of all steps; one pass."""
    kept: dict[int, list[Row]] = {}
    last: dict[int, list[Row]] = {}
    every, total = 1, 0
    rows = (row for _, row in read_jsonl(path) if isinstance(row, dict) and _whole(row))
    for number, (step, of_step) in enumerate(groupby(rows, key=lambda row: row["step"])):
        total = number + 1
        last = {step: list(of_step)}
        if number % every == 0:
            kept |= last
        if len(kept) >= 2 * STEPS:
            every *= 2
            kept = dict(list(kept.items())[::2])
    kept |= last
    numbers = sorted(kept)
    if len(numbers) > STEPS:
        numbers = sorted({numbers[round(k * (len(numbers) - 1) / (STEPS - 1))] for k in range(STEPS)})
    return {number: kept[number] for number in numbers}, total


def _whole(row: Row) -> bool:
    types = {"step": int, "id": str, "completion": str, "total": int | float, "reasons": dict}
    return all(isinstance(row.get(key), kind) for key, kind in types.items()) and math.isfinite(row["total"])


def _recipe(folder: Path) -> dict[str, Any]:
    try:
        found = parse_yaml((folder / "config.yaml").read_text(encoding="utf-8"))
    except (MirgError, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _groups(rows: Sequence[Row], size: int) -> Iterator[list[Row]]:
    """Neighbours of one prompt, cut into groups of ``size`` if the recipe says it: a prompt may come twice."""
    for _, neighbours in groupby(rows, key=lambda row: row["id"]):
        group = list(neighbours)
        yield from (group[k : k + (size or len(group))] for k in range(0, len(group), size or len(group)))


def _nth(steps: Mapping[int, Sequence[Row]], recipe: Row, number: int) -> Iterator[list[Row]]:
    """The group ``number`` of every step that has as many: the steps take turns until there are enough."""
    for rows in steps.values():
        groups = list(_groups(rows, _value(recipe, "group_size", 0)))
        yield from groups[number : number + 1]


def _gallery(recipe: Row, folder: Path, run: Path, data: Path | None, wanted: set[str]) -> Gallery:
    """The dataset of the run with the samples of ``wanted``: where the recipe says, else beside or above the run."""
    named = Path(_value(recipe, "data", "data"))
    names = (named.name, f"data/{named.name}")
    near = (place / name for place in (run, *folder.resolve().parents[:3]) for name in names)
    for place in (named, *([data] if data else []), *near):
        try:
            dataset = DatasetFolder.open(place)
        except MirgError:
            continue
        samples = {sample.id: sample for sample in dataset.read(lambda rejection: None) if sample.id in wanted}
        if samples:
            return Gallery((), dataset, samples)
    return Gallery((), None, {})


def _group(rows: Sequence[Row], of_step: Sequence[Row], recipe: Row, gallery: Gallery) -> RolloutGroup:
    sample = gallery.samples.get(rows[0]["id"])
    advantages = group_advantages(rows, [float(row["total"]) for row in of_step], recipe)
    equal = len({row["total"] for row in rows}) == 1
    first = rows[0]
    different = {row["completion"]: (row, advantage) for row, advantage in zip(rows, advantages, strict=True)}
    times = Counter(row["completion"] for row in rows)
    return RolloutGroup(
        step=first["step"],
        sample_id=first["id"],
        task=sample.task if sample else "",
        signal="no signal" if equal or set(advantages) == {0.0} else "learned from",
        question=readable(sample.question) if sample else "",
        pictures=gallery.pictures(sample) if sample else (),
        true=tuple(Mark(target.image, target.box, target.label) for target in sample.targets) if sample else (),
        given=tuple(Mark(image, box) for image, box in cited(sample.question)) if sample else (),
        completions=tuple(
            Completion(text, _parts(row), advantage, _boxes(row), times[text])
            for text, (row, advantage) in different.items()
        ),
    )


def group_advantages(rows: Sequence[Row], of_step: Sequence[float], recipe: Row) -> list[float | None]:
    """Advantages of the completions of a group, as TRL computes them from their totals, and ``admission`` changes them.

    The mean of the group is subtracted, and the result divided by the standard deviation of the group, or of all
    totals ``of_step`` (``scale_rewards: batch``), or by nothing. A group whose spread does not pass the gate has none.
    If parts are normalised before they are added, totals do not determine the advantages.

    >>> group_advantages([{"step": 1, "total": 1.0}, {"step": 1, "total": 0.0}], [1.0, 0.0], {"scale_rewards": "none"})
    [0.5, -0.5]
    """
    if _value(recipe, "aggregation", "sum_then_normalize") != "sum_then_normalize":
        return [None] * len(rows)
    totals = [float(row["total"]) for row in rows]
    spread, scale = _spread(totals), _value(recipe, "scale_rewards", "group")
    gate = _value(recipe, "admission.gate", 0.0) * _value(recipe, "admission.gate_decay", 1.0) ** (rows[0]["step"] - 1)
    if _value(recipe, "admission.policy", "skip") != "off" and spread <= gate:
        return [0.0] * len(rows)
    divisor = 1.0 if scale == "none" else (_spread(of_step) if scale == "batch" else spread) + _EPSILON
    found = [part for row in rows if isinstance(part := row.get("object"), int | float)]
    weight = 1.0
    if _value(recipe, "admission.difficulty_weight", False) and len(found) == len(rows):
        weight = math.exp(1.0 - fmean(found))
    mean = fmean(totals)
    return [weight * (total - mean) / divisor for total in totals]


def _spread(totals: Sequence[float]) -> float:
    return stdev(totals) if len(totals) > 1 else 0.0


def _value(recipe: Any, name: str, default: Any) -> Any:
    """The key ``name`` of a recipe; ``default`` if it is missing or of another type."""
    for key in name.split("."):
        recipe = recipe.get(key) if isinstance(recipe, dict) else None
    kinds = (int, float) if isinstance(default, float) else type(default)
    return recipe if isinstance(recipe, kinds) else default


def _advantages_said(recipe: Row) -> str:
    if _value(recipe, "aggregation", "sum_then_normalize") != "sum_then_normalize":
        return "The advantages of this recipe cannot be computed from the total rewards."
    scaled = {"batch": ", divided by the standard deviation of the step", "none": ""}
    how = scaled.get(_value(recipe, "scale_rewards", "group"), ", divided by its standard deviation")
    return f"The advantage of a completion is its total reward minus the mean of its group{how}."


def _parts(row: Row) -> tuple[PartLine, ...]:
    reasons = row["reasons"]
    own = [(name, value) for name, value in row.items() if name not in _NOT_REWARDS and isinstance(value, int | float)]
    lines = [PartLine(name, float(value), str(reasons[name]) if name in reasons else None) for name, value in own]
    return (PartLine("total", float(row["total"])), *lines)


def _boxes(row: Row) -> tuple[Mark, ...]:
    found = row.get("boxes")
    boxes: Iterable[Any] = found if isinstance(found, list) else ()
    marks = []
    for box in boxes:
        if isinstance(box, list) and len(box) == 5 and all(isinstance(value, int | float) for value in box):
            x1, y1, x2, y2 = (float(value) for value in box[1:])
            if not box_problem((x1, y1, x2, y2)):
                marks.append(Mark(int(box[0]), (x1, y1, x2, y2)))
    return tuple(marks)

"""The tables of a multiple-choice evaluation, and its paired difference to another one, as plain data.

``accuracy`` counts items. ``score`` is what the authors of the benchmark report for a task: accuracy; for true or false
the share of pairs of which both questions are answered right; for counts the mean of
:func:`mirg.evaluation.choices.records.count_score`. All values are fractions in [0, 1], with 95 % intervals by image
set; the two questions of a pair are one image set.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np

from mirg.errors import EvaluationError
from mirg.evaluation.choices.records import ChoiceRecord, Outcome, chance_of
from mirg.evaluation.choices.sets import ChoiceSet
from mirg.evaluation.intervals import contributions, mean_interval, mean_intervals, paired_difference

Records = Sequence[ChoiceRecord]


class Unit(NamedTuple):
    """What the score of a task is the mean of: an item, or a pair of items."""

    name: str
    task: str
    image_set: str
    score: float
    chance: float


def units(records: Records) -> list[Unit]:
    """The units of the score, in the order of the records; a pair of which an item is missing is left out."""
    found = []
    for group in _groups(record for record in records if record.truth.kind == "truth").values():
        if len(group) > 1:
            found.append(_pair(group))
    found += [
        Unit(record.id, record.task, record.image_set, record.score, chance_of(record)["score"])
        for record in records
        if record.truth.kind != "truth"
    ]
    order = {record.task: place for place, record in reversed(list(enumerate(records)))}
    return sorted(found, key=lambda unit: order[unit.task])


def summarise(records: Records, choice_set: ChoiceSet) -> dict[str, Any]:
    """Every number of one evaluation.

    ``overall`` (of items), ``mean_of_tasks`` (of the scores of the tasks, with equal weights), ``tasks``, ``sides``
    (answerable and unanswerable items, or true and false ones), ``pairs`` (both items right), the count of each outcome
    and of each reason why an answer is unreadable. ``chance`` is what random answers reach. ``headline`` names the mean
    that the authors report.
    """
    scored = units(records)
    outcomes = Counter(record.outcome for record in records)
    return {
        "headline": choice_set.headline,
        "overall": block(records),
        "mean_of_tasks": mean_of_tasks(scored),
        "tasks": {task: _task(rows, scored) for task, rows in _by(records, "task").items()},
        "sides": {side: block(rows) for side, rows in _by(records, "side").items() if side},
        "pairs": _pairs(records),
        "outcomes": {outcome: outcomes[outcome] for outcome in get_args(Outcome)},
        "unreadable": dict(Counter(record.failure.partition(":")[0] for record in records if record.failure)),
    }


def block(records: Records) -> dict[str, Any]:
    """``n``, ``n_sets``, ``accuracy`` and ``unreadable`` with intervals, and the ``chance`` level of the accuracy."""
    values = np.array([[record.correct, record.failure is not None] for record in records], dtype=np.float64)
    accuracy, unreadable = mean_intervals(values, [record.image_set for record in records])
    levels = [chance_of(record)["accuracy"] for record in records]
    return {
        "n": accuracy.n,
        "n_sets": accuracy.n_sets,
        "accuracy": accuracy.cell(),
        "unreadable": unreadable.cell(),
        "chance": sum(levels) / len(levels),
    }


def mean_of_tasks(scored: Sequence[Unit]) -> dict[str, Any]:
    """The unweighted mean of the scores of the tasks; empty without units."""
    if not scored:
        return {}
    tasks = [unit.task for unit in scored]
    values = contributions(np.array([unit.score for unit in scored]), tasks)
    found = mean_interval(values, [unit.image_set for unit in scored])
    levels = contributions(np.array([unit.chance for unit in scored]), tasks)
    return {"n_tasks": len(set(tasks)), "score": found.cell(), "chance": float(levels.mean())}


def difference(before: Records, after: Records) -> dict[str, Any]:
    """Paired differences, ``after`` minus ``before``, on the items that both answered.

    ``overall`` is of the accuracy, ``mean_of_tasks`` and ``tasks`` of the scores; each cell has ``mean``, ``low``,
    ``high`` and ``p``. EvaluationError if there is no common item, or an item is not the same in both.
    """
    others = {record.id: record for record in before}
    second = [record for record in after if record.id in others]
    first = [others[record.id] for record in second]
    if not first:
        hint = "evaluate both models on the same benchmark"
        raise EvaluationError("the evaluations have no item in common", hint=hint)
    for one, other in zip(first, second, strict=True):
        if (one.truth, one.image_set, one.task) != (other.truth, other.image_set, other.task):
            hint = "evaluate both models on the same copy of the benchmark: --root OTHER/data"
            raise EvaluationError(f"item {one.id} is not the same in both evaluations", hint=hint)
    sets = [record.image_set for record in first]
    a, b = units(first), units(second)
    tasks = [unit.task for unit in a]
    before_N, after_N = (np.array([unit.score for unit in side]) for side in (a, b))
    unit_sets = [unit.image_set for unit in a]
    right_before, right_after = ([float(record.correct) for record in side] for side in (first, second))
    by_task = {task: [k for k, name in enumerate(tasks) if name == task] for task in dict.fromkeys(tasks)}
    return {
        "n": len(first),
        "only_before": len(before) - len(first),
        "only_after": len(after) - len(first),
        "overall": paired_difference(right_before, right_after, sets).cell(),
        "mean_of_tasks": paired_difference(
            contributions(before_N, tasks), contributions(after_N, tasks), unit_sets
        ).cell()
        if a
        else {},
        "tasks": {
            task: paired_difference(before_N[where], after_N[where], [unit_sets[k] for k in where]).cell()
            for task, where in by_task.items()
        },
    }


def verdict(cell: Mapping[str, float]) -> str:
    """A paired difference in words, in points.

    >>> verdict({"mean": -0.004, "low": -0.021, "high": 0.013})
    'no difference is shown; a loss of more than 2.1 points is excluded'
    """
    if cell["high"] < 0:
        return f"lower by {-100 * cell['mean']:.1f} points"
    if cell["low"] > 0:
        return f"higher by {100 * cell['mean']:.1f} points"
    if cell["low"] == 0.0:
        return "no difference is shown"
    return f"no difference is shown; a loss of more than {-100 * cell['low']:.1f} points is excluded"


def _task(records: Records, scored: Sequence[Unit]) -> dict[str, Any]:
    mine = [unit for unit in scored if unit.task == records[0].task]
    found = block(records) | {"n_units": len(mine)}
    if mine:
        found["score"] = mean_interval([unit.score for unit in mine], [unit.image_set for unit in mine]).cell()
        found["score_chance"] = sum(unit.chance for unit in mine) / len(mine)
    return found


def _pairs(records: Records) -> dict[str, Any]:
    """Pairs of which both items are right, for benchmarks that have pairs."""
    groups = _groups(records)
    whole = [_pair(group) for group in groups.values() if len(group) > 1]
    if not whole:
        return {}
    both = mean_interval([unit.score for unit in whole], [unit.image_set for unit in whole])
    level = sum(unit.chance for unit in whole) / len(whole)
    return {"n": len(whole), "incomplete": len(groups) - len(whole), "both_right": both.cell(), "chance": level}


def _groups(records: Any) -> dict[str, list[ChoiceRecord]]:
    groups: dict[str, list[ChoiceRecord]] = defaultdict(list)
    for record in records:
        if record.pair:
            groups[record.pair].append(record)
    return groups


def _pair(group: Records) -> Unit:
    """Both right, which a random answer reaches with the product of the levels."""
    level = float(np.prod([chance_of(record)["accuracy"] for record in group]))
    both = float(all(record.correct for record in group))
    return Unit(group[0].pair, group[0].task, group[0].image_set, both, level)


def _by(records: Records, name: str) -> dict[str, list[ChoiceRecord]]:
    found = {value: [r for r in records if getattr(r, name) == value] for value in {getattr(r, name) for r in records}}
    return dict(sorted(found.items()))

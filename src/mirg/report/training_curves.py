"""From the rows of a metrics.jsonl to the charts of a training stage.

A row is ``{"step": …, "time": …, "stage": …, name: value, …}``. Metrics that belong together share a chart (the reward
parts; shortest, mean and longest completion), the rest get one each, the less important ones folded away.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mirg.console import one_line
from mirg.report.data import Chart, Fact, Series, Stage

_NOT_METRICS = frozenset({"step", "time", "stage", "epoch", "seconds", "eta", "global_step", "samples"})
_ORDER = ("total", "image", "object", "format", "mean length", "length", "min length", "max length")
MAX_SERIES = 200  # metric names per stage; a page for people ends somewhere


@dataclass(frozen=True)
class _Group:
    """Metrics that share a chart: ``pattern`` must match the whole name; a named group ``name`` labels the line."""

    title: str
    pattern: re.Pattern[str]
    help: str = ""
    unit_axis: bool = False  # the axis runs from 0 to 1 if all values are between them


_GROUPS = (
    _Group("Loss", re.compile(r"(?:train[_/])?(?P<name>loss)"), "training loss per step"),
    _Group(
        "Reward",
        re.compile(r"rewards?(?:/(?P<name>[^/]+?)(?:_reward)?(?:/mean)?)?"),
        "mean over the completions of a step: the total and its parts",
        unit_axis=True,
    ),
    _Group(
        "Completion length",
        re.compile(r"(?:completions?[/_])?(?P<name>(?:mean|min|max)?_?length)"),
        "tokens per completion",
    ),
    _Group(
        "Validation",
        re.compile(r"eval/(?P<name>joint_accuracy|image_accuracy|acc_50|mean_iou|reward)"),
        "on the held-out dataset, during training",
        unit_axis=True,
    ),
    _Group(
        "Accuracy",
        re.compile(r"(?:eval/)?(?P<name>.*(?:accuracy|acc|joint|iou).*)", re.IGNORECASE),
        "shares of correct items or tokens, and IoU",
        unit_axis=True,
    ),
    _Group(
        "Groups without signal",
        re.compile(r"(?P<name>frac_reward_zero_std|.*zero_(?:variance|std).*)"),
        "share of groups whose completions all got the same reward",
        unit_axis=True,
    ),
)


def stages_from_rows(name: str, rows: Iterable[Mapping[str, object]]) -> tuple[Stage, ...]:
    """The stage called ``name``, or one ``name: part`` for each value of ``stage`` where the rows have several.

    After a resumed run a step may appear twice: the later row counts.
    """
    values: dict[str, dict[str, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
    times: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        step = _number(row.get("step"))
        if step is None:
            continue
        stage = one_line(str(row.get("stage") or name), 60)
        time = _number(row.get("time"))
        if time is not None:
            times[stage].append(time)
        for key, raw in row.items():
            value = _number(raw)
            if key not in _NOT_METRICS and value is not None:
                values[stage][key][step] = value
    several = len(values) > 1
    return tuple(
        _stage(f"{name}: {stage}" if several and stage != name else name, metrics, times[stage])
        for stage, metrics in values.items()
    )


def _stage(name: str, metrics: dict[str, dict[float, float]], times: list[float]) -> Stage:
    grouped: dict[str, list[Series]] = defaultdict(list)
    more = []
    for key, points in list(metrics.items())[:MAX_SERIES]:
        steps = tuple(sorted(points))
        group, label = _group_of(key)
        series = Series(label, steps, tuple(points[s] for s in steps))
        if group is None:
            more.append(Chart(key, (series,)))
        else:
            grouped[group.title].append(series)
    charts = tuple(_chart(group, grouped[group.title]) for group in _GROUPS if grouped[group.title])
    if not charts:
        charts, more = tuple(more[:6]), more[6:]
    return Stage(name, charts, tuple(more), _facts(metrics, times))


def _group_of(key: str) -> tuple[_Group | None, str]:
    if key.endswith("/std") or (key.endswith("_std") and key != "frac_reward_zero_std"):
        return None, key
    for group in _GROUPS:
        found = group.pattern.fullmatch(key)
        if found:
            return group, (found["name"] or "total").replace("_", " ")
    return None, key


def _chart(group: _Group, series: list[Series]) -> Chart:
    unit = group.unit_axis and all(0.0 <= v <= 1.0 for s in series for v in s.values)
    # The same order, and so the same colour and dash, in every report; it does not depend on the file.
    ordered = tuple(sorted(series, key=lambda s: _ORDER.index(s.name) if s.name in _ORDER else len(_ORDER)))
    return Chart(group.title, ordered, 0.0 if unit else None, 1.0 if unit else None, group.help)


def _facts(metrics: dict[str, dict[float, float]], times: list[float]) -> tuple[Fact, ...]:
    steps = [step for points in metrics.values() for step in points]
    facts = [("steps", f"{max(steps):g}")] if steps else []
    if len(times) > 1 and max(times) > min(times):
        facts.append(("time", duration(max(times) - min(times))))
    return tuple(facts)


def duration(seconds: float) -> str:
    """Seconds for people: ``42 s``, ``6 min 30 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None

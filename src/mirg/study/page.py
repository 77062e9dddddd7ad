"""The page of a study, out of its results and the metrics of its runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mirg.report.data import Chart, Interval, Series
from mirg.report.pages import ArmRow, Claim, StudyData, write_study
from mirg.storage import read_jsonl
from mirg.study.contrasts import ABLATIONS, CLAIMS
from mirg.study.plan import ARMS
from mirg.training.run import METRICS as METRICS_FILE

COLUMNS = {
    "joint_accuracy:all": "joint Acc@0.5",
    "image_accuracy:all": "image accuracy",
    "image_accuracy:image_hidden": "image accuracy, hidden",
    "mean_iou:all": "mean IoU",
    "joint_iou:all": "joint IoU",
}
CURVES = {
    "reward": "reward (each arm has another)",
    "rewards/image/mean": "image reward",
    "rewards/object/mean": "object reward",
    "frac_reward_zero_std": "groups without signal",
    "entropy": "entropy",
}
_RL_SHOWN = ("object_only", "gated", "dual", "dual_orders", "dual_without_sft")


def page(results: Mapping[str, Any], out: Path) -> Path:
    """Write ``out/report.html`` about the study in ``out`` and return its path; ``results`` is its ``study.json``."""
    plan, benchmark = results["plan"], results["benchmark"]
    arms = _arms(results["arms"])
    seeds = len({row["seed"] for row in results["arms"]})
    return write_study(
        out / "report.html",
        StudyData(
            title="What each part of the method contributes",
            subtitle=f"{len(arms)} arms from {plan['model']}, {seeds} {'seed' if seeds == 1 else 'seeds'}, "
            f"{benchmark['items']} items of {benchmark['name']}; "
            f"{100 * benchmark['image_hidden']:.0f} % of the questions do not name the image.",
            claims=[_claim(results["contrasts"], row) for row in plan["expect"]],
            forests=_forests(results["contrasts"]),
            columns=COLUMNS | {f"joint_accuracy:{level}": f"joint, {level}" for level in benchmark["levels"]},
            families=benchmark["families"],
            arms=arms,
            chance=_chance(benchmark["chance"]),
            charts=_charts(out, sorted({row["seed"] for row in results["arms"]})),
            facts={
                "command": "mirg study",
                "samples": ", ".join(f"{role} {count}" for role, count in results["datasets"].items()),
                "steps": f"SFT {plan['sft_steps']}, SFT continued {plan['more_sft_steps']}, GRPO {plan['rl_steps']}",
                "Python": results["python"],
                "packages": ", ".join(f"{name} {version}" for name, version in results["versions"].items()),
            },
        ),
    )


def _claim(contrasts: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> Claim:
    wanted = (row[key] for key in ("a", "b", "metric", "subset"))
    return Claim(row["text"], row["least"], _found(contrasts, *wanted))


def _found(contrasts: Sequence[Mapping[str, Any]], *wanted: str) -> Interval | None:
    for row in contrasts:
        if (row["a"], row["b"], row["metric"], row["subset"]) == wanted:
            return Interval(row["delta"], row["low"], row["high"])
    return None


def _forests(contrasts: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[str, Interval]]]:
    shown = {
        "Joint Acc@0.5, all items": ("joint_accuracy", "all"),
        "Image accuracy, items whose question hides the image": ("image_accuracy", "image_hidden"),
        "Mean IoU, all items, in any image": ("mean_iou", "all"),
        "Joint IoU, all items: 0 in a wrong image": ("joint_iou", "all"),
    }
    found: dict[str, list[tuple[str, Interval]]] = {}
    for title, (metric, subset) in shown.items():
        pairs = ((a, b, _found(contrasts, a, b, metric, subset)) for a, b in (*CLAIMS, *ABLATIONS))
        found[title] = [(f"{b} \N{MINUS SIGN} {a}", value) for a, b, value in pairs if value is not None]
    return found


def _arms(rows: Sequence[Mapping[str, Any]]) -> list[ArmRow]:
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    tokens: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
    for row in rows:
        values[row["arm"]][f"{row['metric']}:{row['subset']}"].append(row["value"])
        if row["metric"] == "joint_accuracy":
            values[row["arm"]][f"family:{row['subset']}"].append(row["value"])
        tokens[row["arm"]][row["seed"]] = (row["tokens_generated"], row["tokens_trained"])
    return [
        ArmRow(
            name,
            ARMS[name].title,
            len(tokens[name]),
            {key: (sum(v) / len(v), min(v), max(v)) for key, v in cells.items()},
            *(sum(column) / len(column) for column in zip(*tokens[name].values(), strict=True)),
        )
        for name, cells in values.items()
    ]


def _chance(levels: Mapping[str, Any]) -> dict[str, float]:
    found = {f"{metric}:all": value for metric, value in levels["overall"].items()}
    found |= {f"family:{task}": row["joint_accuracy"] for task, row in levels["tasks"].items()}
    return {key: float(value) for key, value in found.items() if isinstance(value, int | float)}


def _charts(out: Path, seeds: Sequence[int]) -> list[Chart]:
    charts = []
    for key, title in CURVES.items():
        lines = [line for name in _RL_SHOWN if (line := _line(out, name, seeds, key))]
        charts.append(Chart(title, tuple(lines)))
    return charts


def _line(out: Path, name: str, seeds: Sequence[int], key: str) -> Series | None:
    """The mean of one metric over the seeds, at the steps that were logged."""
    points: dict[int, list[float]] = defaultdict(list)
    for seed in seeds:
        file = out / "runs" / f"{name}-{seed}" / METRICS_FILE
        for _, row in read_jsonl(file) if file.is_file() else ():
            if isinstance(row, dict) and isinstance(row.get(key), int | float):
                points[row["step"]].append(row[key])
    steps = sorted(points)
    return Series(name, tuple(steps), tuple(sum(points[s]) / len(points[s]) for s in steps)) if steps else None

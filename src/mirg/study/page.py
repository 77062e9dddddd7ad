"""The page of a study, out of its results and the metrics of its runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mirg.report.charts import forest
from mirg.report.data import Chart, Interval, Series
from mirg.report.pages import markup, render_page
from mirg.storage import read_jsonl, write_atomic
from mirg.study.plan import ARMS
from mirg.study.results import ABLATIONS, CLAIMS
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
FORESTS = {
    "Joint Acc@0.5, all items": ("joint_accuracy", "all"),
    "Image accuracy, items whose question hides the image": ("image_accuracy", "image_hidden"),
    "Mean IoU, all items, in any image": ("mean_iou", "all"),
    "Joint IoU, all items: 0 in a wrong image": ("joint_iou", "all"),
}
_RL_SHOWN = ("object_only", "gated", "dual", "dual_orders", "dual_from_fresh")


class Claim(NamedTuple):
    """What the method promises in one comparison, and what was measured."""

    text: str
    least: float
    found: Interval | None

    @property
    def verdict(self) -> str:
        """In one word: "holds" where the mean is large enough and the interval excludes 0, else what is missing."""
        if self.found is None:
            return "not measured"
        if (self.found.low or 0.0) <= 0.0:
            return "not shown"
        return "holds" if self.found.mean >= self.least else "smaller"


class Spent(NamedTuple):
    """What the last stage of an arm cost, as means over its seeds; ``share`` of the compute of the reference."""

    steps: float
    passes: float
    hours: float
    share: float | None


class ArmRow(NamedTuple):
    """One arm: its cells (mean, least and largest of the seeds) by metric and subset, and its tokens per seed."""

    name: str
    title: str
    seeds: int
    cells: Mapping[str, tuple[float, float, float]]
    generated: float
    trained: float
    cost: Spent | None = None


def page(results: Mapping[str, Any], out: Path) -> Path:
    """Write ``out/report.html`` about the study in ``out`` and return its path; ``results`` is its ``study.json``."""
    plan, benchmark = results["plan"], results["benchmark"]
    spent = _spent(results.get("costs", ()), plan)
    arms = [row._replace(cost=spent.get(row.name)) for row in _arms(results["arms"])]
    seeds = sorted({row["seed"] for row in results["arms"]})
    found = {
        (row["a"], row["b"], row["metric"], row["subset"]): Interval(row["delta"], row["low"], row["high"])
        for row in results["contrasts"]
    }
    forests = {
        title: [
            (f"{b} \N{MINUS SIGN} {a}", found[a, b, metric, subset])
            for a, b in (*CLAIMS, *ABLATIONS)
            if (a, b, metric, subset) in found
        ]
        for title, (metric, subset) in FORESTS.items()
    }
    data = {
        "title": "What each part of the method contributes",
        "subtitle": f"{len(arms)} arms from {plan['model']}, {len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}, "
        f"{benchmark['items']} items of {benchmark['name']}; "
        f"{100 * benchmark['image_hidden']:.0f} % of the questions do not name the image.",
        "claims": [
            Claim(row["text"], row["least"], found.get((row["a"], row["b"], row["metric"], row["subset"])))
            for row in plan["expect"]
        ],
        "columns": COLUMNS | {f"joint_accuracy:{level}": f"joint, {level}" for level in benchmark["levels"]},
        "families": benchmark["families"],
        "arms": arms,
        "equal": _equal(plan) if spent else "",
        "chance": _chance(benchmark["chance"]),
        "charts": [
            Chart(title, tuple(line for name in _RL_SHOWN if (line := _line(out, name, seeds, key))))
            for key, title in CURVES.items()
        ],
        "facts": {
            "command": "mirg study",
            "samples": ", ".join(f"{role} {count}" for role, count in results["datasets"].items()),
            "steps": f"SFT {plan['sft_steps']}, SFT continued {plan['more_sft_steps'] or 'by compute'},"
            f" GRPO {plan['rl_steps']}",
            "Python": results["python"],
            "packages": ", ".join(f"{name} {version}" for name, version in results["versions"].items()),
        },
    }
    drawn = {title: markup(forest(rows)) for title, rows in forests.items()}
    return write_atomic(out / "report.html", render_page("study.html.j2", data=data, forests=drawn, wide=True))


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
            *_mean_pair(tokens[name].values()),
        )
        for name, cells in values.items()
    ]


def _mean_pair(pairs: Collection[tuple[int, int]]) -> tuple[float, float]:
    return sum(a for a, _ in pairs) / len(pairs), sum(b for _, b in pairs) / len(pairs)


def _spent(rows: Sequence[Mapping[str, Any]], plan: Mapping[str, Any]) -> dict[str, Spent]:
    """By arm; empty if nothing was trained in the folder."""
    by_arm: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_arm[row["arm"]].append(row)
    means = {
        name: {key: sum(row[key] for row in own) / len(own) for key in ("steps", "passes", "seconds")}
        for name, own in by_arm.items()
    }
    reference = means.get(_reference(plan), {}).get("passes")
    return {
        name: Spent(
            row["steps"], row["passes"], row["seconds"] / 3600, row["passes"] / reference if reference else None
        )
        for name, row in means.items()
    }


def _reference(plan: Mapping[str, Any]) -> str:
    arms = plan["arms"] or ARMS
    return "dual" if "dual" in arms else next((name for name in arms if ARMS[name].rated), "")


def _equal(plan: Mapping[str, Any]) -> str:
    """What is held equal between the arms, in a sentence."""
    told = "Arms of GRPO take equally many steps of equally many completions."
    if any(ARMS[name].looks for name in plan["arms"] or ARMS) and plan.get("looks"):
        told = "Arms of GRPO take equally many completions in a step; those with looks have another number of steps."
    by = {"flops": "FLOPs", "tokens": "tokens trained on", "seconds": "time"}[plan.get("equal", "flops")]
    continued = any(ARMS[name].steps == "more_sft_steps" for name in plan["arms"] or ARMS)
    if not continued:
        return told
    if plan["more_sft_steps"]:
        return f"{told} Continued SFT takes the number of steps that the recipe gives ({plan['more_sft_steps']})."
    return f"{told} Continued SFT takes as many steps as cost what {_reference(plan)} of the same seed cost, in {by}."


def _chance(levels: Mapping[str, Any]) -> dict[str, float]:
    found = {f"{metric}:all": value for metric, value in levels["overall"].items()}
    found |= {f"family:{task}": row["joint_accuracy"] for task, row in levels["tasks"].items()}
    return {key: float(value) for key, value in found.items() if isinstance(value, int | float)}


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

"""Publish the results of a study: ``python -m research.study.keep RUN [NAME]``.

It writes docs/results/NAME.json, and its table between the two marks of NAME in docs/results/README.md. NAME is
``study`` (the default), ``study-photo``, ``study-fresh`` or ``look``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from mirg.config import load_recipe
from mirg.study.plan import PATHS
from research.study.recipe import RECIPE, MiniStudyRecipe

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = {
    ("joint_accuracy", "all"): "joint Acc@0.5",
    ("image_accuracy", "all"): "image accuracy",
    ("image_accuracy", "image_hidden"): "image accuracy, image hidden",
    ("mean_iou", "all"): "mean IoU",
}
PAIRED = {
    ("joint_accuracy", "all"): "joint Acc@0.5",
    ("image_accuracy", "image_hidden"): "image accuracy, image hidden",
    ("joint_accuracy", "image_hidden"): "joint Acc@0.5, image hidden",
    ("mean_iou", "all"): "mean IoU",
}


def main(run: Path, name: str = "study", docs: Path = ROOT / "docs" / "results") -> None:
    """Write both files in ``docs`` from ``run``, the folder of a study."""
    found = json.loads((run / "study.json").read_text())
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    kept = {"command": command(found["plan"]), "commit": commit.stdout.strip(), **found, "plan": _named(found["plan"])}
    (docs / f"{name}.json").write_text(dumped(kept))
    first, last, page = f"<!-- {name} -->\n", f"<!-- end of {name} -->", docs / "README.md"
    before, mark, rest = page.read_text().partition(first)
    _, end, after = rest.partition(last)
    if not (mark and end):
        raise SystemExit(f"{page} has no place for the table: the lines {first.strip()} and {last}")
    page.write_text(before + mark + table(found) + end + after)


def command(plan: dict[str, Any]) -> str:
    """The command that runs such a study: the recipe, and the keys of ``plan`` that differ from it."""
    recipe = RECIPE.with_name("photo.yaml" if plan.get("photos") else "look.yaml" if plan.get("looks") else RECIPE.name)
    usual = _named(load_recipe(MiniStudyRecipe, recipe).model_dump(mode="json") | {"photos": None})
    named = _named(plan)
    other = [key for key in named if key in usual.keys() - PATHS and named[key] != usual[key]]
    given = [f"-s '{key}={json.dumps(named[key])}'" for key in other]
    return " ".join(["python -m research.study --out RUN", f"--recipe {recipe.relative_to(ROOT)}", *given])


def _named(plan: dict[str, Any]) -> dict[str, Any]:
    """``plan`` with the names of its folders instead of the paths of this machine; PHOTOS with its parent's name."""
    parts = dict.fromkeys(PATHS | {"model"}, 1) | {"photos": 2}
    return {
        key: "/".join(Path(value).parts[-parts[key] :]) if value and key in parts else value
        for key, value in plan.items()
    }


def dumped(found: dict[str, Any]) -> str:
    """JSON with one line for each row of the long lists."""
    rows = {key: found[key] for key in ("arms", "contrasts", "further", "further_contrasts", "looks") if key in found}
    head = json.dumps({key: value for key, value in found.items() if key not in rows}, indent=1)[:-2]
    for key, values in rows.items():
        lines = ",\n  ".join(json.dumps(_rounded(row)) for row in values)
        head += f',\n "{key}": [\n  {lines}\n ]'
    return head + "\n}\n"


def table(found: dict[str, Any]) -> str:
    """The table of the arms, and the differences by which the method is judged."""
    cells: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    spent: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in found.get("costs", ()):
        spent[row["arm"]].append((row["passes"] / 1e6, row["seconds"] / 60))
    for row in found["arms"]:
        cells[row["arm"]][row["metric"], row["subset"]].append(row["value"])
    lines = [
        f"| percent, mean of seeds | {' | '.join(COLUMNS.values())} | million passes of a token | minutes | seeds |"
    ]
    lines.append("|---" * (len(COLUMNS) + 4) + "|")
    for arm, values in cells.items():
        means = [f"{100 * sum(values[key]) / len(values[key]):.1f}" for key in COLUMNS]
        means += [f"{sum(part) / len(part):.1f}" for part in zip(*spent[arm], strict=True)] or ["–", "–"]
        lines.append(f"| `{arm}` | {' | '.join(means)} | {len(values['joint_accuracy', 'all'])} |")
    lines += ["", f"| paired difference, points | {' | '.join(PAIRED.values())} |", "|---" * (len(PAIRED) + 1) + "|"]
    pairs: dict[tuple[str, str], dict[tuple[str, str], str]] = defaultdict(dict)
    for row in found["contrasts"]:
        pairs[row["b"], row["a"]][row["metric"], row["subset"]] = _interval(row)
    for (b, a), values in pairs.items():
        lines.append(f"| `{b}` − `{a}` | {' | '.join(values[key] for key in PAIRED)} |")
    note = "With 95 % intervals over seeds and items; bold if they exclude 0. Compute is that of an arm's last stage."
    return "\n".join(lines) + f"\n\n{note}\n" + _further(found)


def _further(found: dict[str, Any]) -> str:
    """The joint accuracy of each arm in each further evaluation of a study with looks; "" for another study."""
    cells: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in found.get("further", ()):
        if (row["metric"], row["subset"]) == ("joint_accuracy", "all"):
            cells[row["on"], row["arm"]].append(row["value"])
    if not cells:
        return ""
    lines = ["", "| joint Acc@0.5 | arm | percent, mean of seeds |", "|---|---|---|"]
    lines += [f"| {on} | `{arm}` | {100 * sum(v) / len(v):.1f} |" for (on, arm), v in cells.items()]
    lines += ["", "| joint Acc@0.5 | paired difference | points |", "|---|---|---|"]
    for row in found["further_contrasts"]:
        if (row["metric"], row["subset"]) == ("joint_accuracy", "all"):
            lines.append(f"| {row['on']} | `{row['b']}` − `{row['a']}` | {_interval(row)} |")
    return "\n".join([*lines, *_by_task(found)]) + "\n"


def _by_task(found: dict[str, Any]) -> list[str]:
    """A table of the differences that the study is expected to show, for each task."""
    pairs = [(row["b"], row["a"]) for row in found["plan"]["expect"]]
    rows = {
        (row["subset"], row["b"], row["a"]): _interval(row)
        for row in found["contrasts"]
        if row["metric"] == "joint_accuracy"
    }
    lines = ["", f"| joint Acc@0.5 by task, points | {' | '.join(f'`{b}` − `{a}`' for b, a in pairs)} |"]
    lines.append("|---" * (len(pairs) + 1) + "|")
    for task in found["plan"]["families"]:
        cells = [rows.get((task, *pair), "–") for pair in pairs]
        if any((task, *pair) in rows for pair in pairs):
            lines.append(f"| {task} | {' | '.join(cells)} |")
    return lines


def _interval(row: dict[str, Any]) -> str:
    delta, low, high = (100 * row[key] for key in ("delta", "low", "high"))
    words = f"{delta:+.1f} [{low:+.1f}, {high:+.1f}]".replace("-", "−")
    return f"**{words}**" if low > 0 or high < 0 else words


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 5) if isinstance(value, float) else value for key, value in row.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "study")

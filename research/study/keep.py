"""Publish the results of a study: ``python -m research.study.keep RUN``.

It writes docs/results/study.json, and its table between two marks in docs/results/README.md.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MARKS = ("<!-- study -->\n", "<!-- end of study -->")
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


def main(run: Path) -> None:
    """Write both files from ``run``, the folder of a study."""
    found = json.loads((run / "study.json").read_text())
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    kept = {"command": command(found["plan"]), "commit": commit.stdout.strip(), **found}
    (ROOT / "docs" / "results" / "study.json").write_text(dumped(kept))
    page = ROOT / "docs" / "results" / "README.md"
    pattern = re.compile(re.escape(MARKS[0]) + ".*?" + re.escape(MARKS[1]), re.DOTALL)
    page.write_text(pattern.sub(lambda _: MARKS[0] + table(found) + MARKS[1], page.read_text()))


def command(plan: dict[str, Any]) -> str:
    """The command that runs such a study, or the same part of it."""
    part = [f"{key}=[{','.join(map(str, plan[key]))}]" for key in ("seeds", "arms") if plan.get(key)]
    return "python -m research.study --out RUN " + " ".join(f"-s '{override}'" for override in part)


def dumped(found: dict[str, Any]) -> str:
    """JSON with one line for each row of the two long lists."""
    rows = {key: found[key] for key in ("arms", "contrasts")}
    head = json.dumps({key: value for key, value in found.items() if key not in rows}, indent=1)[:-2]
    for key, values in rows.items():
        lines = ",\n  ".join(json.dumps(_rounded(row)) for row in values)
        head += f',\n "{key}": [\n  {lines}\n ]'
    return head + "\n}\n"


def table(found: dict[str, Any]) -> str:
    """The table of the arms, and the differences by which the method is judged."""
    cells: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in found["arms"]:
        cells[row["arm"]][row["metric"], row["subset"]].append(row["value"])
    lines = [f"| percent, mean of seeds | {' | '.join(COLUMNS.values())} | seeds |", "|---" * (len(COLUMNS) + 2) + "|"]
    for arm, values in cells.items():
        means = [f"{100 * sum(values[key]) / len(values[key]):.1f}" for key in COLUMNS]
        lines.append(f"| `{arm}` | {' | '.join(means)} | {len(values['joint_accuracy', 'all'])} |")
    lines += ["", f"| paired difference, points | {' | '.join(PAIRED.values())} |", "|---" * (len(PAIRED) + 1) + "|"]
    pairs: dict[tuple[str, str], dict[tuple[str, str], str]] = defaultdict(dict)
    for row in found["contrasts"]:
        delta, low, high = (100 * row[key] for key in ("delta", "low", "high"))
        words = f"{delta:+.1f} [{low:+.1f}, {high:+.1f}]".replace("-", "−")
        clear = low > 0 or high < 0
        pairs[row["b"], row["a"]][row["metric"], row["subset"]] = f"**{words}**" if clear else words
    for (b, a), values in pairs.items():
        lines.append(f"| `{b}` − `{a}` | {' | '.join(values[key] for key in PAIRED)} |")
    return "\n".join(lines) + "\n\nWith 95 % intervals over seeds and items; bold if they exclude 0.\n"


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 5) if isinstance(value, float) else value for key, value in row.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))

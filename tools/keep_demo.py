"""Keep what a demo measured: ``python tools/keep_demo.py RUN [NAME]`` writes docs/results/NAME.json and its table.

NAME is "demo", or for a demo on photographs "demo_photos_" and what the folder of photographs is called. The table is
between two marks in docs/results/README.md, so that the page shows the numbers of the file.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ROWS = {
    "image_accuracy": "image accuracy",
    "acc_50": "Acc@0.5",
    "mean_iou": "mean IoU",
    "joint_accuracy": "joint Acc@0.5",
}


def main(run: Path, name: str = "demo") -> None:
    """Write both files from ``run``, the folder of a finished ``make demo``."""
    comparison = json.loads((run / "comparison.json").read_text())
    environment = json.loads((run / "grpo" / "environment.json").read_text())
    notes = json.loads((run / "demo.json").read_text())
    commit = subprocess.run(["git", "-C", str(run), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    plan, photos = notes["plan"], name.removeprefix("demo_photos_")
    if plan.get("photos"):  # without the folders of this machine
        plan = plan | {"photos": photos}
    result = {
        "command": f"make demo PHOTOS={photos}" if plan.get("photos") else "make demo",
        "commit": commit.stdout.strip(),
        **{key: environment[key] for key in ("versions", "python", "cpus")},
        "seconds": notes["seconds"],
        "plan": plan,
        "systems": [
            {
                "name": system["name"],
                "n": system["n"],
                "overall": system["overall"],
                "joint_by_task": {task: row["joint_accuracy"] for task, row in system["tasks"].items()},
            }
            for system in comparison["systems"]
        ],
        "chance": comparison["chance"]["overall"],
        "differences": [{key: pair[key] for key in ("a", "b", "overall")} for pair in comparison["differences"]],
    }
    (ROOT / "docs" / "results" / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    page = ROOT / "docs" / "results" / "README.md"
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    page.write_text(pattern.sub(lambda _: start + table(result) + end, page.read_text()))


def table(result: dict[str, Any]) -> str:
    """The table of the systems and the paired differences below it."""
    names = [system["name"] for system in result["systems"]]
    lines = [f"| percent, 95 % interval | {' | '.join(names)} | chance |", "|---" * (len(names) + 2) + "|"]
    for key, title in ROWS.items():
        cells = [interval(system["overall"][key], 100) for system in result["systems"]]
        lines.append(f"| {title} | {' | '.join(cells)} | {100 * result['chance'][key]:.1f} |")
    pairs = [
        f"{pair['b']} − {pair['a']}: joint {interval(pair['overall']['joint_accuracy'], 100, '+')}, "
        f"image {interval(pair['overall']['image_accuracy'], 100, '+')}"
        for pair in result["differences"]
    ]
    return "\n".join(lines) + "\n\nPaired differences in points: " + "; ".join(pairs) + ".\n"


def interval(value: dict[str, float], scale: float, sign: str = "") -> str:
    """``51.0 [47.9, 54.1]``."""
    mean, low, high = (f"{scale * value[key]:{sign}.1f}" for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

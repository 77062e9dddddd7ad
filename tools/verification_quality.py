"""How good the checks of trajectories are: ``python tools/verification_quality.py`` prints a table, defect by defect.

It reads and verifies a planted set (``tests/fakes/planted_defects.py``) and keeps the table in
docs/results/verification.json. ``--seed`` draws another set, ``--dry`` keeps nothing.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "verification.json"
SEED = 2026
KEPT = "univg_r1"  # the part of the file that tools/univg_chains.py writes


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--dry", action="store_true", help="write no file")
    parser.add_argument("--show", action="store_true", help="print what was missed or wrongly refused")
    chosen = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    found = measure(chosen.seed, chosen.show)
    print(table(found))
    if not chosen.dry:
        before = json.loads(RESULT.read_text(encoding="utf-8"))
        RESULT.write_text(dumped(found | {KEPT: before[KEPT]}), encoding="utf-8")
        print(f"\nwritten to {RESULT.relative_to(ROOT)}")


def measure(seed: int, show: bool = False) -> dict[str, Any]:
    """The planted set of ``seed``, read and verified."""
    import pydantic

    import mirg
    from fakes.planted_defects import planted_set  # pyright: ignore[reportMissingImports]
    from fakes.planted_score import score  # pyright: ignore[reportMissingImports]

    planted = planted_set(seed)
    start = time.process_time()
    scored = score(planted)
    seconds = time.process_time() - start
    for row in (*scored.missed, *scored.refused) if show else ():
        print(row)
    rows = [
        {"defect": name, "n": row.n, "recall": row.found / row.n, "recall_by_its_check": row.by_meant / row.n}
        for name, row in scored.defects.items()
    ]
    correct = [
        {"correct": f"harmless sentences {group}", "n": row.n, "false_rejections": row.found / row.n}
        for group, row in scored.correct.items()
    ]
    return {
        "command": "python tools/verification_quality.py" + (f" --seed {seed}" if seed != SEED else ""),
        "versions": {"mirg": mirg.__version__, "python": platform.python_version(), "pydantic": pydantic.VERSION},
        "seed": seed,
        "n": len(planted),
        "tasks": len({row.sample.task for row in planted}),
        "recall": scored.recall,
        "recall_with_held_out": scored.recall_with_held_out,
        "precision": scored.precision,
        "false_rejections": scored.false_rejections,
        "milliseconds_per_reply": round(1000 * seconds / len(planted), 1),
        "note": "wordings held out, from which nothing was learnt, are in recall_with_held_out and in no other sum",
        "defects": rows,
        "correct": correct,
    }


def table(found: dict[str, Any]) -> str:
    """What people read."""
    lines = ["| planted | n | found | by the check meant for it |", "|---|---|---|---|"]
    lines += [
        f"| {row['defect']} | {row['n']} | {row['recall']:.3f} | {row['recall_by_its_check']:.3f} |"
        for row in found["defects"]
    ]
    lines += [f"| none, {row['correct']} | {row['n']} | {row['false_rejections']:.3f} | |" for row in found["correct"]]
    lines.append(
        f"\nof {found['n']} replies: recall {found['recall']:.4f} "
        f"({found['recall_with_held_out']:.4f} with wordings held out), precision {found['precision']:.4f}, "
        f"false rejections {found['false_rejections']:.4f}, {found['milliseconds_per_reply']} ms per reply"
    )
    return "\n".join(lines)


def dumped(found: dict[str, Any]) -> str:
    """JSON with one line for each row."""
    rows = {key: found[key] for key in ("defects", "correct")}
    head = json.dumps({key: _rounded(value) for key, value in found.items() if key not in rows}, indent=1)[:-2]
    for key, values in rows.items():
        lines = ",\n  ".join(json.dumps({k: _rounded(v) for k, v in row.items()}) for row in values)
        head += f',\n "{key}": [\n  {lines}\n ]'
    return head + "\n}\n"


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()

"""The RL stage of `mirg study` or `mirg demo`: freed memory kept for the next pass, against glibc's defaults."""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from case import command, peak, show, versions
from demo_rl import DEMO, Stages, policy, run

STAGES = {"study": Stages("study/world", "study/sft", "study/grpo"), "demo": DEMO}
# A setting of glibc's malloc that changes nothing here; where there is one, mirg leaves malloc alone.
SIDES: dict[str, dict[str, str]] = {"ours": {}, "theirs": {"MALLOC_ARENA_TEST": "8"}}


def measured(stages: Stages, folder: Path, number: int, steps: int, prompts: int) -> dict[str, float]:
    """Seconds of a step, and what the run took of the processor and of memory."""
    rows = run(folder, folder / "sft", True, number, steps, prompts, stages)
    shutil.rmtree(folder / f"ours-{number}")  # both sides take the same seed, and so the same folder
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "step": statistics.median(row["step_time"] for row in rows),
        "processor": used.ru_utime + used.ru_stime,
        "system": used.ru_stime,
        "page_faults": used.ru_minflt,
        "peak_mib": peak(),
    }


def in_a_process_of_its_own(side: str, *told: object) -> dict[str, float]:
    """What :func:`measured` says there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | SIDES[side]
    parts = [sys.executable, __file__, "--one", *map(str, told)]
    done = subprocess.run(parts, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--of", choices=STAGES, default="study", help="whose recipes")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each side, in turn")
    parser.add_argument("--steps", type=int, default=12, help="measured steps of a run")
    parser.add_argument("--sft-steps", type=int, default=60)
    parser.add_argument("--prompts", type=int, default=16, help="prompts of a step")
    parser.add_argument("--quick", action="store_true", help="one round of two steps of 4 prompts, after 10 of SFT")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.one:
        of, folder, *numbers = told.one
        print(json.dumps(measured(STAGES[of], Path(folder), *map(int, numbers))))
        return
    if told.quick:
        told.rounds, told.steps, told.sft_steps, told.prompts = 1, 2, 10, 4
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        policy(folder, told.sft_steps, 32 * told.prompts, STAGES[told.of])
        sides: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for number in range(told.rounds):
            # Who goes first changes: a machine is not as fast in one minute as in the next.
            for side in sorted(sides, reverse=number % 2 == 1):
                sides[side].append(in_a_process_of_its_own(side, told.of, folder, number, told.steps, told.prompts))
    ours, theirs = ([one["step"] for one in sides[side]] for side in SIDES)
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    result = {
        "ratio": statistics.median(theirs) / statistics.median(ours),
        "unit": f"step of the RL stage of mirg {told.of}, seconds, glibc's defaults / kept",
        "ours": statistics.median(ours),
        "theirs": statistics.median(theirs),
        "n": len(ours),
        "spread": [min(ratios), max(ratios)],
        "work": {
            side: {key: statistics.median(one[key] for one in found) for key in found[0]}
            for side, found in sides.items()
        },
        "settings": {key: getattr(told, key) for key in ("of", "rounds", "steps", "sft_steps", "prompts")},
        "alternative": "the same steps with glibc's defaults",
        "versions": versions(),
        "command": command(),
    }
    show(result, told.json)


if __name__ == "__main__":
    main()

"""A small model as teacher over HTTP, beside the rules: ``python tools/taught_set.py OUT`` (about half an hour).

A mirg-tiny taught on one set of scenes is served by ``mirg serve`` and writes trajectories for other scenes, blind: it
sees images and question, nothing of the annotation, and the checks decide what is kept. Two students are then trained
from mirg-tiny on the same samples and schedule, one on the teacher's chains, one on those of the rules, and compared on
held-out scenes. Writes docs/results/taught.json.
"""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from mirg.cli.demo import DemoRecipe
from mirg.config import load_recipe
from mirg.data.scenes.generate import write_scenes
from mirg.data.scenes.world import load_world
from mirg.evaluation.compare import compare, load_evaluations
from mirg.samples import Carrier, DatasetFolder, DatasetWriter
from mirg.storage import write_json_atomic

ROOT = Path(__file__).resolve().parent.parent
TEACHER_SET, ASKED, TEST = 2000, 1200, 1000
STEPS = 200
COMMAND = [sys.executable, "-m", "mirg.cli.main"]


def main(out: Path) -> None:
    """Make what is missing in ``out``, compare, and write the result."""
    plan = load_recipe(DemoRecipe, "tiny/demo")
    world = load_world(plan.world) if isinstance(plan.world, str) else plan.world
    for name, count, split, seed in (
        ("first", TEACHER_SET, "train", 0),
        ("asked", ASKED, "train", 1),
        ("test", TEST, "test", 0),
    ):
        if not (out / name).exists():
            write_scenes(out / name, count, split=split, seed=seed, tasks=plan.tasks, config=world)
    rules(out / "first", out / "first-rules")
    train(out / "first-rules", out / "teacher")
    taught(out)
    # The rules write for the samples of which the teacher's chain was kept: same samples, same number.
    kept = {sample.id for sample in DatasetFolder.open(out / "taught")}
    if not (out / "same").exists():
        subset(out / "asked", out / "same", kept)
    rules(out / "same", out / "same-rules")
    for name in ("taught", "same-rules"):
        train(out / name, out / f"student-{name}")
    evaluations = []
    for name in ("teacher", "student-taught", "student-same-rules"):
        evaluations.append(out / "eval" / name)
        if not (evaluations[-1] / "summary.json").exists():
            run("evaluate", out / name, out / "test", "--out", evaluations[-1], "--max-new-tokens", 96)
    keep(out, compare(load_evaluations(evaluations)))


def run(*words: object) -> None:
    """One mirg command."""
    subprocess.run([*COMMAND, *map(str, words)], check=True)


def rules(source: Path, out: Path) -> None:
    """Trajectories by rule, verified in the tiny model's frame."""
    from mirg.trajectories.build import build_dataset

    if not out.exists():
        build_dataset(DatasetFolder.open(source), out, family="mirg-tiny")


def train(data: Path, out: Path) -> None:
    """SFT of mirg-tiny; an interrupted run resumes."""
    run("sft", "tiny/sft", "-s", f"data={data}", "-s", f"steps={STEPS}", "-o", out)


def subset(source: Path, out: Path, wanted: set[str]) -> None:
    """The samples of ``source`` with the ids ``wanted``."""
    dataset = DatasetFolder.open(source)
    with DatasetWriter(out, name="same") as writer:
        carrier = Carrier(dataset, writer)
        for sample in dataset:
            if sample.id in wanted:
                writer.add(carrier.carry(sample))


def taught(out: Path) -> None:
    """The teacher's chains for the scenes of ``asked``, asked for over HTTP."""
    if (out / "taught").exists():
        return
    child = subprocess.Popen(
        [*COMMAND, "serve", str(out / "teacher"), "--port", "0", "--batch-size", "32"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        name, _, address = child.stdout.readline().strip().partition(" at ")
        settings = {
            "model": name, "url": address, "family": "mirg-tiny", "templates": "blind", "draws": 1, "repair": "false",
            "sampling.temperature": 0, "sampling.max_tokens": 96, "limits.concurrency": 32,
        }  # fmt: skip
        words = [word for key, value in settings.items() for word in ("-s", f"{key}={value}")]
        run("trajectories", "build", out / "asked", out / "taught", "--writer", "teacher", "--recipe", "teacher/local",
            *words)  # fmt: skip
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(60)


def keep(out: Path, found: dict[str, Any]) -> None:
    """docs/results/taught.json."""
    rejected = [json.loads(line) for line in (out / "taught" / "rejected.jsonl").read_text().splitlines()]
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    result = {
        "command": "python tools/taught_set.py OUT",
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "asked": ASKED,
        "kept": len(DatasetFolder.open(out / "taught")),
        "refused_by_check": dict(Counter(row["check"] for row in rejected).most_common()),
        "kept_by_task": DatasetFolder.open(out / "taught").card.tasks,
        "systems": [{key: system[key] for key in ("name", "n", "overall")} for system in found["systems"]],
        "differences": [{key: pair[key] for key in ("a", "b", "overall")} for pair in found["differences"]],
    }
    write_json_atomic(ROOT / "docs" / "results" / "taught.json", result, indent=1)
    for system in result["systems"]:
        joint = system["overall"]["joint_accuracy"]
        sys.stdout.write(f"{system['name']}: joint {100 * joint['mean']:.1f}\n")


if __name__ == "__main__":
    if len(sys.argv) != 2 or re.match(r"-", sys.argv[1]):
        sys.exit(__doc__)
    main(Path(sys.argv[1]))

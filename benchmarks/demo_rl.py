"""The RL stage of `mirg demo`, step by step: as it runs, and with TRL's own rollouts and update (`packed: false`)."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from case import command, show, versions

from mirg.config import load_recipe
from mirg.data.scenes.generate import write_scenes
from mirg.data.scenes.world import load_world
from mirg.samples import DatasetFolder
from mirg.training import quiet_libraries
from mirg.training.recipe import GrpoRecipe, SftRecipe
from mirg.trajectories.build import build_dataset

SKIPPED = 1  # steps of a run that are no measure: everything happens for the first time


def policy(folder: Path, steps: int, samples: int) -> Path:
    """A short SFT of the demo's, after which most answers end as they do in its RL stage; ``rl`` holds RL's scenes."""
    world = load_world("tiny/world")
    for name, count in (("plain", 16 * steps), ("rl", samples)):
        write_scenes(folder / name, count, split="train", seed=len(name), config=world)
    build_dataset(DatasetFolder.open(folder / "plain"), folder / "train", family="mirg-tiny")
    from mirg.training.sft import train_sft

    told = ["model=mirg-tiny", f"data={folder / 'train'}", f"steps={steps}", f"save_every={steps}"]
    train_sft(load_recipe(SftRecipe, "tiny/sft", told), folder / "sft")
    return folder / "sft"


def run(folder: Path, start: Path, packed: bool, number: int, steps: int, prompts: int) -> list[dict[str, Any]]:
    """Metrics of the measured steps of a short run."""
    from mirg.training.grpo import train_grpo

    told = [
        f"model={start}", f"data={folder / 'rl'}", f"steps={steps + SKIPPED}", f"packed={str(packed).lower()}",
        f"prompts_per_step={prompts}",
        "save_every=1000", "log_every=1", f"seed={number}",
    ]  # fmt: skip
    out = folder / f"{'ours' if packed else 'theirs'}-{number}"
    train_grpo(load_recipe(GrpoRecipe, "tiny/grpo", told), out)
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()][SKIPPED:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each side, alternating")
    parser.add_argument("--steps", type=int, default=2, help="measured steps of a run")
    parser.add_argument("--sft-steps", type=int, default=60)
    parser.add_argument("--prompts", type=int, default=16, help="prompts of a step")
    parser.add_argument("--quick", action="store_true", help="one round of one step of 4 prompts, after 10 of SFT")
    parser.add_argument("--json", type=Path, default=None)
    told = parser.parse_args()
    if told.quick:
        told.rounds, told.steps, told.sft_steps, told.prompts = 1, 1, 10, 4
    quiet_libraries()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = policy(folder, told.sft_steps, 32 * told.prompts)
        sides: dict[bool, list[list[dict[str, Any]]]] = {True: [], False: []}
        for number in range(told.rounds):
            for packed in sides:
                sides[packed].append(run(folder, start, packed, number, told.steps, told.prompts))
    ours, theirs = ([statistics.mean(row["step_time"] for row in rows) for rows in sides[side]] for side in sides)
    # Mean tokens of a completion: what both sides generate and train on.
    lengths = {
        side: statistics.mean(row["completions/mean_length"] for rows in sides[packed] for row in rows)
        for side, packed in (("ours", True), ("theirs", False))
    }
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    result = {
        "ratio": statistics.median(theirs) / statistics.median(ours),
        "unit": "step of the demo's RL stage, seconds, theirs / ours",
        "ours": statistics.median(ours),
        "theirs": statistics.median(theirs),
        "n": len(ours),
        "spread": [min(ratios), max(ratios)],
        "tokens": lengths,
        "settings": {key: getattr(told, key) for key in ("rounds", "steps", "sft_steps", "prompts")},
        "alternative": "packed: false, TRL's own rollouts and update",
        "versions": versions(),
        "command": command(),
    }
    show(result, told.json)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()

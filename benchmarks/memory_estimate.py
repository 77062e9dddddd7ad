"""The memory of a GRPO step, rollouts and update: what ``--dry-run`` says against what a process really takes.

On a CPU the process hands every large block back when it is freed (a fixed threshold of glibc's malloc), as torch's
counter on a GPU has it. What it takes with glibc's defaults, which keep freed memory for later, is measured as well.
"""

from __future__ import annotations

import copy
import os
import statistics
import subprocess
import sys
from typing import Any

import torch
from case import IMAGES, Settings, make_model, make_prompts, make_rows, parse, peak_while, show, summary, trainers

from mirg.training.data import Length
from mirg.training.memory import Estimate, estimate_of
from mirg.training.recipe import GrpoRecipe

HELD = "weights"  # what is there before the step
HAND_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**17)}


def estimated(settings: Settings) -> Estimate:
    """The estimate for the benchmark's rows."""
    loaded = make_model(settings)
    processor: Any = loaded.processor
    (prompt, *_) = make_prompts(loaded, make_rows(settings))
    visual = list(prompt.ids).count(processor.image_token_id)
    length = Length("row", len(prompt.ids) - visual, (visual // IMAGES,) * IMAGES)
    recipe = GrpoRecipe.model_validate(
        {
            "model": "benchmark", "data": "benchmark", "dtype": settings.dtype, "max_new_tokens": settings.completion,
            "prompts_per_step": settings.prompts, "group_size": settings.group, "processes": 1,
        }
    )  # fmt: skip
    return estimate_of(recipe, loaded, [length] * settings.prompts, loaded.model.device.type)


def measured(settings: Settings) -> float:
    """MiB that the second of two steps, with AdamW's averages from the first, peaks above the weights."""
    ours, theirs, _, rows = trainers(settings)
    del theirs
    repeated = [row for row in rows for _ in range(settings.group)]
    optimizer = torch.optim.AdamW(ours.model.parameters(), fused=True)

    def step() -> None:
        ours._step, ours._buffered_inputs = 0, None
        batch = ours._prepare_inputs(copy.copy(repeated))
        ours.compute_loss(ours.model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

    return peak_while(lambda: (step(), step()))


def in_a_process_of_its_own(allocator: dict[str, str]) -> float:
    """What :func:`measured` says there."""
    command = [sys.executable, *sys.argv, "--peak-of", "ours"]
    environment = {name: value for name, value in os.environ.items() if name not in HAND_BACK} | allocator
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout.split()[-1])


def main() -> None:
    told, settings = parse(__doc__ or "")
    if told.peak_of:
        print(measured(settings))
        return
    found = estimated(settings)
    ours = (found.peak - found.moments[found.moment][HELD]) / 2**20
    repeat = 2 if told.quick else settings.repeat  # of seconds each: most of one is torch's start
    theirs = [in_a_process_of_its_own(HAND_BACK) for _ in range(repeat)]
    result = summary(
        "peak memory above the weights, MiB, estimate / measured", theirs, [ours] * len(theirs), settings,
        parameters=found.weights.base,
        tokens={"prompt": found.longest[0].tokens, "completions": settings.group * settings.completion},
        peak_mib={name: size / 2**20 for name, size in found.moments[found.moment].items()} | {"at": found.moment},
    )  # fmt: skip
    result |= {
        "ours": ours,
        "theirs": statistics.median(theirs),
        "alternative": "measured in separate processes",
        "with_defaults_of_malloc": in_a_process_of_its_own({}),
    }
    show(result, told.json)


if __name__ == "__main__":
    main()

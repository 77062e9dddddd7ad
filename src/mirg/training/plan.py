"""What ``--dry-run`` says about a run before it starts: its size, its memory, its hours, and how to launch it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from mirg.config import load_recipe
from mirg.errors import ConfigError, MirgError
from mirg.training.launch import steps_of
from mirg.training.memory import Estimate, estimate
from mirg.training.recipe import GrpoRecipe, RunConfig, SftRecipe
from mirg.training.run import METRICS, read_rows

Recipe = SftRecipe | GrpoRecipe
ROOM = 0.9  # share of a GPU that a run may fill: CUDA's context and the fragments of torch's allocator need the rest
PORT = 29500
FIRST_NODE = "FIRST_NODE"  # in commands: host name or address of the first machine


def plan(
    recipe: Recipe, name: str, output: Path | None, overrides: Sequence[str] = (), speed_from: Path | None = None
) -> list[str]:
    """Lines about the run of a recipe, which was read from ``name`` with ``overrides``.

    If its model or its data cannot be read, a line says so and the others are there: the model of a later stage may not
    have been trained yet. ConfigError if ``speed_from`` is no run that says how fast a step is.
    """
    speed = _speed(recipe, output, speed_from)
    try:
        found = estimate(recipe)
        steps = steps_of(recipe, len(found.lengths), recipe.processes or 1)
        about = [*_size_of_run(recipe, found, steps), *_memory(recipe, found)]
    except (MirgError, ImportError) as error:
        about, steps = [f"memory is not known: {error}"], recipe.steps
    return [
        *about,
        _hours(steps, speed),
        *(f"launch: {line}" for line in launch_commands(recipe, name, output, overrides)),
    ]


def rows_per_step(recipe: Recipe) -> int:
    """Samples (SFT) or completions (GRPO) of a step, of all processes together."""
    if isinstance(recipe, SftRecipe):
        return recipe.batch_size * recipe.accumulation * (recipe.processes or 1)
    return recipe.prompts_per_step * recipe.group_size * recipe.admission.candidates


def launch_commands(recipe: RunConfig, name: str, output: Path | None, overrides: Sequence[str] = ()) -> list[str]:
    """The command that starts the run, or one for each node."""
    given = [part for override in overrides for part in ("-s", override)]
    arguments = [getattr(recipe, "stage", "sft"), name, "--output", str(output or "RUN"), *given]
    processes, nodes = recipe.processes or 1, recipe.nodes or 1
    if processes == 1:
        return [shlex.join(["mirg", *arguments])]
    of_a_node = ["--nproc_per_node", str(processes // nodes)]
    begin = [["--standalone"]]
    if nodes > 1:
        meet = ["--master_addr", FIRST_NODE, "--master_port", str(PORT)]
        begin = [["--nnodes", str(nodes), "--node_rank", str(rank), *meet] for rank in range(nodes)]
    return [shlex.join(["torchrun", *words, *of_a_node, "-m", "mirg.cli.main", *arguments]) for words in begin]


# How large the run is.


def _size_of_run(recipe: Recipe, found: Estimate, steps: int) -> list[str]:
    weights, first = found.weights, found.longest[0]
    total, mean = weights.base + weights.adapters, sum(one.tokens for one in found.lengths) / len(found.lengths)
    rows = rows_per_step(recipe)
    if isinstance(recipe, SftRecipe):
        step = f"{rows} samples, {rows * mean:,.0f} tokens on average"
    else:
        prompts = rows // recipe.group_size
        step = (
            f"{prompts} prompts x {recipe.group_size} completions, {prompts * mean:,.0f} tokens of prompts on average"
        )
        step += f" and up to {rows * recipe.max_new_tokens:,} of completions"
    return [
        f"parameters: {_count(total)}, {_count(weights.trained)} of them trained",
        f"samples: {len(found.lengths):,}, {mean:,.0f} tokens on average",
        f"longest of the data: {first.tokens} tokens, {sum(first.images)} of them visual, sample {first.id}",
        *_looks(recipe, found),
        f"a step: {step}",
        f"steps: {steps:,}",
    ]


def _looks(recipe: Recipe, found: Estimate) -> list[str]:
    """How much looks add to a completion of GRPO."""
    if isinstance(recipe, SftRecipe) or not recipe.look.max_looks:
        return []
    most = max(len(one.images) for one in found.lengths)
    room, crops = found.looks, sum(found.looks.crops)
    return [
        f"looks: up to {recipe.look.max_looks} in a completion of up to {recipe.look.turns} turns, which add up to"
        f" {room.tokens:,} tokens, {crops:,} of them visual; a sample then has up to {recipe.look.images(most)} images"
    ]


def _count(number: int) -> str:
    return next(
        (f"{number / size:.2f} {unit}" for size, unit in ((1e9, "B"), (1e6, "M")) if number >= size), f"{number:,}"
    )


def _memory(recipe: Recipe, found: Estimate) -> list[str]:
    """The peak, the parts of it, the other moments, and whether it fits."""
    moments = {name: sum(parts.values()) for name, parts in found.moments.items()}
    shares = f", sharded by {recipe.sharding}" if recipe.sharding else ""
    lines = [
        f"memory of one process on {found.device}{shares}: {_size(found.peak)} at its peak ({found.moment}), estimated"
    ]
    lines += [f"  {name:<18}{_size(size):>10}" for name, size in found.moments[found.moment].items()]
    others = [f"{name} {_size(size)}" for name, size in moments.items() if name != found.moment]
    if "update" not in moments:
        lines.append("without activations: they are known for Qwen2-VL to Qwen3.5")
    if others:
        lines.append(f"at other moments: {'; '.join(others)}")
    return lines + _fits(recipe.gpu_gb, found.peak)


def _fits(gpu: float | None, peak: int) -> list[str]:
    if gpu is None:
        return []
    share = peak / 2**30 / gpu
    advice = "lower batch_size, micro_batch, prompts_per_step or prompt.max_pixels (docs/how-to/memory.md)"
    verdict = (
        "it fits" if share <= ROOM else f"it may not fit; {advice}" if share <= 1 else f"it does not fit; {advice}"
    )
    return [f"GPU of {gpu:g} GB: {share:.0%} of it, {verdict}"]


def _size(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


# How long it takes.


def _speed(recipe: Recipe, output: Path | None, speed_from: Path | None) -> tuple[float, str] | None:
    """Seconds of a step of ``recipe`` and the run that they were measured in; None if nothing was."""
    for folder in (speed_from, output):
        measured = seconds_per_step(folder) if folder is not None else None
        if measured is None:
            if folder is not None and folder == speed_from:
                raise ConfigError(
                    f"{folder} does not say how long a step takes",
                    hint="give the folder of a run whose metrics.jsonl has at least two steps",
                )
            continue
        before = load_recipe(type(recipe), Path(str(folder)) / "config.yaml")
        seconds, steps = measured
        ratio = _rows_of_a_process(recipe) / _rows_of_a_process(before)
        scaled = "" if ratio == 1 else f", for {ratio:.3g} times as many samples of a process and step"
        return seconds * ratio, f"measured in {folder} over {steps} steps{scaled}"
    return None


def _rows_of_a_process(recipe: Recipe) -> float:
    return rows_per_step(recipe) / (recipe.processes or 1)


def seconds_per_step(run: Path) -> tuple[float, int] | None:
    """Seconds of a step by the metrics of a run folder, and of how many: all after the first logged one, a warm-up."""
    file = run / METRICS
    rows = read_rows(file)[0] if file.is_file() else []
    times = [(row["step"], row["time"]) for row in rows if isinstance(row.get("time"), int | float) and "step" in row]
    if len(times) < 2 or times[-1][0] <= times[0][0]:
        return None
    steps = times[-1][0] - times[0][0]
    return (times[-1][1] - times[0][1]) / steps, steps


def _hours(steps: int | None, speed: tuple[float, str] | None) -> str:
    if speed is None:
        return "hours: not known; run it with -s steps=3 into another folder, and give that as --speed-from"
    seconds, where = speed
    told = f"{seconds:.3g} s a step, {where}"
    return f"hours: {steps * seconds / 3600:.3g} at {told}" if steps else f"hours: not known; {told}"

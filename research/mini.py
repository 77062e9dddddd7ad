"""``mirg-mini``: the benchmark of the study, small enough for a laptop.

    python -m research.mini OUT [--per-cell N]       write it as a dataset folder

It has fifteen families with fifty items each at two levels, 1,500 items, and is a pure function of its version and
seed. Ten families correspond to the ten tasks of MIG-Bench (arXiv 2501.05767). In three more every image shows the
object, and another object in the same image identifies the one that is meant. The last two have several targets or no
target. In most families the question does not name the image of the answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mirg.console import fail, say
from mirg.data.scenes.generate import add_scene, keys
from mirg.data.scenes.world import WorldConfig
from mirg.errors import MirgError
from mirg.samples import DatasetFolder, DatasetWriter

# Part of the name. Raise it with every change that changes an item or a chance level.
MINI_VERSION = 4
MINI_NAME = f"mirg-mini-{MINI_VERSION}"
PER_CELL = 50
_SEED = 20_000  # training scenes must not use the seeds from here on

# The task of each family, and the task of MIG-Bench that it corresponds to or a description.
FAMILIES: dict[str, str] = {
    "difference": "Static Difference",
    "view_difference": "Robust Difference",
    "common_object": "Common Object",
    "object_tracking": "Object Tracking",
    "multi_view": "Multi-View",
    "region": "Region",
    "refer": "Referring",
    "group_grounding": "Group Grounding",
    "reasoning": "Reasoning",
    "correspondence": "Co-Reference",
    "companion": "the image identified by another object",
    "companion_pair": "the image identified by two objects",
    "companion_twice": "the image identified by a number",
    "multi_target": "several targets",
    "none": "no target",
}
# Hard items also ask for the sixteen pairs of colour and shape that mirg-tiny has not seen in training.
LEVELS: dict[str, WorldConfig] = {
    "easy": WorldConfig(
        images=(2, 4), frames=(3, 4), objects=(1, 2), object_side=(0.25, 0.6), similar=0.2, same_place=0.5, clutter=2,
        shapes="all", pairs="seen", backgrounds=("plain", "gradient", "noise", "checks", "patch"),
    ),
    "hard": WorldConfig(
        images=(4, 6), frames=(4, 6), objects=(2, 3), object_side=(0.16, 0.45), similar=0.7, same_place=0.9, clutter=6,
        shapes="all", pairs="all", backgrounds=("plain", "gradient", "noise", "checks", "patch", "patch"),
        change_background=True,
    ),
}  # fmt: skip


def write_mini(out: str | Path, per_cell: int = PER_CELL, *, overwrite: bool = False) -> DatasetFolder:
    """Write the benchmark as a dataset folder; ``meta["level"]`` of each sample is its difficulty.

    There are ``per_cell`` items of each family and level, the first ones of the benchmark. Errors are those of
    :func:`write_scenes`.
    """
    writer = DatasetWriter(
        out,
        name=MINI_NAME,
        description=f"{MINI_NAME}: {len(FAMILIES)} families, {' and '.join(LEVELS)}, {per_cell} items each.",
        created_by="mirg.scenes.mini",
        seed=_SEED,
        overwrite=overwrite,
    )
    with writer:
        for number, (level, config) in enumerate(LEVELS.items()):
            for key in keys(list(FAMILIES), per_cell * len(FAMILIES), split="test", seed=_SEED + number):
                sample = add_scene(writer, key, config)
                writer.add(sample.model_copy(update={"meta": {**sample.meta, "level": level}}))
    return DatasetFolder.open(out)


def main(
    out: Annotated[Path, typer.Argument(help="The dataset folder to write.")],
    per_cell: Annotated[
        int, typer.Option(min=1, max=PER_CELL, help="Items of each family and level; 50 is the benchmark.")
    ] = PER_CELL,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
) -> None:
    """Write mirg-mini: 1,500 items of fifteen families at two levels."""
    try:
        say(f"{MINI_NAME}: {len(write_mini(out, per_cell, overwrite=overwrite))} items in {out}")
    except MirgError as error:
        raise typer.Exit(fail(error)) from error


if __name__ == "__main__":
    typer.run(main)

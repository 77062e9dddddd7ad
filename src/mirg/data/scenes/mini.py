"""``mirg-mini``: the benchmark that mirg measures itself by, small enough for a laptop.

Fifteen families, fifty items each at two difficulties, fixed by seed and version: 1,500 items. Ten families stand for
the ten tasks of MIG-Bench (arXiv 2501.05767). In three more every image shows the object, and what stands beside it
tells which one is meant. The last two ask for several targets and for what is in no image. In most of them the question
does not say which image holds the answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mirg.data.scenes.generate import add_scene, keys
from mirg.data.scenes.world import WorldConfig

if TYPE_CHECKING:
    from mirg.samples.folder import DatasetFolder

# Part of the name: raise it with every change that gives another item, or another chance level.
MINI_VERSION = 4
MINI_NAME = f"mirg-mini-{MINI_VERSION}"
PER_CELL = 50
_SEED = 20_000  # the first of the seeds that no training split is given

# The task of each family, and the task of MIG-Bench that it stands for.
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
    "companion": "the image told by another object",
    "companion_pair": "the image told by two objects",
    "companion_twice": "the image told by a number",
    "multi_target": "several targets",
    "none": "no target",
}
# In hard items names are asked for that perception never saw together: sixteen of the pairs of colour and shape.
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

    ``per_cell`` items of each family and level, the first of the whole; errors as :func:`write_scenes`.
    """
    from mirg.samples.folder import DatasetFolder, DatasetWriter

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

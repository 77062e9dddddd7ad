"""The datasets of the study on mirg-mini, each made when an arm needs it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from mirg.console import logger
from mirg.data.scenes.generate import write_scenes
from mirg.data.scenes.world import load_world
from mirg.families import MIRG_TINY
from mirg.samples import DatasetFolder
from mirg.study.plan import Arm
from mirg.training.recipe import SftRecipe
from mirg.trajectories.build import build_dataset
from mirg.trajectories.checks import VerifyConfig
from research.mini import write_mini
from research.study.recipe import MiniStudyRecipe

FOLDERS = {"train": "light", "object_level": "object_level", "fresh": "fresh", "rl": "rl", "test": "mini"}


def located(plan: MiniStudyRecipe, out: Path) -> MiniStudyRecipe:
    """``plan`` with the paths of the datasets of the study in ``out``."""
    return plan.model_copy(update={role: str(out / "data" / folder) for role, folder in FOLDERS.items()})


def make_data(plan: MiniStudyRecipe, out: Path, arms: Collection[Arm]) -> None:
    """Write the benchmark and the training sets that ``arms`` need, unless they are in ``out`` already.

    ``light`` and ``object_level`` are the same samples with two kinds of trajectories. ``fresh`` has as many samples as
    the longest SFT takes, so that none is seen twice. ``rl`` has other samples, without trajectories.
    """
    data = out / "data"
    world = load_world(plan.world)

    def missing(name: str) -> bool:
        return not (data / name / "card.json").is_file()

    def scenes(name: str, count: int, split: str, seed: int) -> Path:
        if missing(name):
            write_scenes(data / name, count, split=split, seed=seed, tasks=plan.tasks, config=world, overwrite=True)
        return data / name

    def trajectories(name: str, source: Path, writer: str = "rules", *, image_level: bool = True) -> None:
        if missing(name):
            report = build_dataset(
                DatasetFolder.open(source), data / name, writer=writer, overwrite=True, family=MIRG_TINY.name,
                config=VerifyConfig(image_level=image_level),
            )  # fmt: skip
            logger.info("%s: %d trajectories verified, %d rejected", name, report.n_kept, report.n_rejected)

    if missing("mini"):
        write_mini(data / "mini", plan.per_cell, overwrite=True)
    needed = {arm.data for arm in arms if arm.stage}
    if needed & {"train", "object_level"}:
        annotated = scenes("annotated", plan.train_samples, "train", plan.data_seed)
        if "train" in needed:
            trajectories("light", annotated)
        if "object_level" in needed:
            trajectories("object_level", annotated, "object-level", image_level=False)
    if "fresh" in needed:
        sft = plan.stage_recipe("sft")
        assert isinstance(sft, SftRecipe)
        assert plan.more_sft_steps is not None
        count = plan.more_sft_steps * sft.batch_size * sft.accumulation
        trajectories("fresh", scenes("more", count, "train", plan.data_seed + 1))
    if "rl" in needed:
        scenes("rl", plan.rl_samples, "rl", plan.data_seed)

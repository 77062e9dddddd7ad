"""The datasets of the study on scenes or photographs, each made when an arm needs it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from mirg.console import logger
from mirg.data.scenes.generate import add_scene, keys, write_scenes
from mirg.data.scenes.world import load_world
from mirg.errors import ConfigError
from mirg.families import MIRG_TINY
from mirg.samples import DatasetFolder, DatasetWriter
from mirg.study.outlook import per_step
from mirg.study.plan import Arm
from mirg.trajectories.build import Writer, build_dataset
from mirg.trajectories.checks import VerifyConfig
from research.mini import write_mini
from research.mini_small import SMALL_SEED, SMALL_TASKS, looking, small_sample, write_small
from research.photo_mini import write_part, write_photo_mini
from research.study.look_model import write_look_model
from research.study.recipe import MiniStudyRecipe

FOLDERS = {"train": "light", "test": "mini"}
FOLDERS |= {role: role for role in ("object_level", "fresh", "more_fresh", "looks", "rl")}
SMALL = "small"  # the test set of a study with looks
FRESH = ("fresh", "more_fresh")


def located(plan: MiniStudyRecipe, out: Path) -> MiniStudyRecipe:
    """``plan`` with the paths of the datasets of the study in ``out``."""
    folders = {role: folder for role, folder in FOLDERS.items() if role != "looks"}
    if plan.looks:
        folders = FOLDERS | {"test": SMALL, "model": "model"}
    return plan.model_copy(update={role: str(out / "data" / folder) for role, folder in folders.items()})


def make_data(plan: MiniStudyRecipe, out: Path, arms: Collection[Arm]) -> None:
    """Write the benchmark and the training sets that ``arms`` need, unless they are in ``out`` already.

    ``light`` and ``object_level`` are the same samples with two kinds of trajectories. ``fresh`` and
    ``more_fresh`` have as many samples as the longest SFT takes, so that none is seen twice. ``rl`` has other samples,
    without trajectories. In a study with looks, half of the samples have small targets, and ``looks`` are those of
    ``light`` with looks in their trajectories. ConfigError if the number of fresh samples is not known.
    """
    data = out / "data"

    def missing(name: str) -> bool:
        return not (data / name / "card.json").is_file()

    def samples(name: str, count: int, part: Any, seed: int) -> Path:
        if missing(name) and plan.photos:
            write_part(plan.photos, data / name, part, count, seed, plan.tasks)
        elif missing(name) and plan.looks:
            _write_mixed(plan, data / name, part, count, seed)
        elif missing(name):
            world = load_world(plan.world)
            write_scenes(data / name, count, split=part, seed=seed, tasks=plan.tasks, config=world, overwrite=True)
        return data / name

    def trajectories(name: str, source: Path, writer: str | Writer = "rules", *, image_level: bool = True) -> None:
        if missing(name):
            report = build_dataset(
                DatasetFolder.open(source), data / name, writer=writer, overwrite=True, family=MIRG_TINY.name,
                config=VerifyConfig(image_level=image_level),
            )  # fmt: skip
            logger.info("%s: %d trajectories verified, %d rejected", name, report.n_kept, report.n_rejected)

    if missing("mini") and plan.photos:
        write_photo_mini(plan.photos, data / "mini", plan.per_cell)
    elif missing("mini"):
        write_mini(data / "mini", plan.per_cell, overwrite=True)
    if plan.looks and missing(SMALL):
        write_small(data / SMALL, plan.per_task, overwrite=True)
    if plan.looks and arms and not Path(plan.model).is_dir():
        write_look_model(Path(plan.model))
    needed = {arm.data for arm in arms if arm.stage}
    if needed & {"train", "object_level", "looks"}:
        annotated = samples("annotated", plan.train_samples, "train", plan.data_seed)
        if "train" in needed:
            trajectories("light", annotated)
        if "looks" in needed:
            trajectories("looks", annotated, looking)
        if "object_level" in needed:
            trajectories("object_level", annotated, "object-level", image_level=False)
    for number, name in enumerate(FRESH, 1):
        if name in needed:
            if plan.more_sft_steps is None:
                raise ConfigError("the number of fresh samples is not known", hint="-s more_sft_steps=N decides it")
            count = plan.more_sft_steps * per_step(plan.stage_recipe("sft"))
            trajectories(name, samples(f"annotated-{name}", count, "train", plan.data_seed + number))
    if "rl" in needed:
        samples("rl", plan.rl_samples, "rl", plan.data_seed)


def _write_mixed(plan: MiniStudyRecipe, out: Path, split: str, count: int, seed: int) -> None:
    """Scenes of ``plan.world`` and scenes with small targets, half of each."""
    world, about = load_world(plan.world), f"Scenes of {plan.world}, and as many with small targets."
    with DatasetWriter(
        out, name=f"scenes-{split}", description=about, created_by="research.study", overwrite=True
    ) as to:
        for key in keys(plan.tasks, count // 2, split=split, seed=seed):
            to.add(add_scene(to, key, world))
        for key in keys(list(SMALL_TASKS), count - count // 2, split=split, seed=SMALL_SEED + seed):
            to.add(small_sample(to, key))

"""The datasets of a study before anything is trained: the split of a single one, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from mirg.console import logger
from mirg.data.checks.leakage import shared_images
from mirg.data.split import write_split
from mirg.errors import ConfigError, DataError
from mirg.samples import DatasetFolder
from mirg.storage import read_json, write_json_atomic
from mirg.study.plan import Arm, Role, StudyRecipe

# SFT and GRPO learn from different samples, so that GRPO does not only repeat what SFT has seen.
PARTS = {"train": 0.4, "rl": 0.4, "test": 0.2}
_NO_TRAJECTORIES = "`mirg trajectories build {0} {0}-reasoned` writes them by rules; then give {0}-reasoned instead"
SPLIT = "split"


def split_dataset(data: Path, out: Path) -> dict[Role | str, str]:
    """The paths of ``train``, ``rl`` and ``test``: parts of ``data`` that share no image, in ``out/data/split``.

    The parts of a study that is continued are used again. DataError if the dataset has no trajectories or is too small;
    ConfigError if the folder holds parts of another dataset.
    """
    source, folder = DatasetFolder.open(data), out / "data" / SPLIT
    note = folder.with_name(f"{SPLIT}.json")
    if not note.is_file():
        _require_trajectories(source, "data")
        report = write_split(source, folder, PARTS, overwrite=True)
        wanted = {name: share * report.n_kept for name, share in PARTS.items()}
        if any(3 * report.kept[name] < count for name, count in wanted.items()):
            shutil.rmtree(folder)
            raise DataError(
                f"{data} cannot be split 40 : 40 : 20: the parts would have "
                + ", ".join(f"{report.kept[name]} ({name})" for name in PARTS)
                + " samples, because samples that share an image stay together",
                hint="split the images first (`mirg data split`), make the tasks of each part from its images, and give"
                " --train, --rl and --test",
            )
        write_json_atomic(note, {"digest": source.card.digest, **report.kept})
        logger.info("%s is split: %s", data, ", ".join(f"{name} {count}" for name, count in report.kept.items()))
    held = read_json(note)
    if not isinstance(held, dict) or held.get("digest") != source.card.digest:
        raise ConfigError(f"{folder} holds the parts of another dataset than {data}", hint="choose another --out")
    return {name: str(folder / name) for name in PARTS}


def check_datasets(plan: StudyRecipe, wanted: Sequence[tuple[Arm, int]]) -> None:
    """DataError if a training set of SFT has no trajectories, or shares images with the test set.

    ``wanted`` are the arms that will be trained. With ``allow_leakage`` shared images are a warning.
    """
    test = DatasetFolder.open(plan.test)
    roles: dict[Role, None] = dict.fromkeys(arm.data for arm, _ in wanted if arm.stage)
    for role in roles:
        folder = DatasetFolder.open(str(plan.dataset(role)))
        if any(arm.stage == "sft" and arm.data == role for arm, _ in wanted):
            _require_trajectories(folder, role)
        shared = shared_images(folder, test)
        if not shared:
            continue
        words = f"the datasets {role} and test share {len(shared)} images; the first: {shared[0]}"
        if not plan.allow_leakage:
            raise DataError(
                words,
                hint="`mirg study --data DATASET` splits a dataset without shared images, `mirg data filter` leaves out"
                " what a test set holds; -s allow_leakage=true trains nevertheless",
            )
        logger.warning("%s", words)


def _require_trajectories(folder: DatasetFolder, role: str) -> None:
    having = [sample.trajectory is not None for sample in folder.read(lambda rejection: None)]
    if not any(having):
        raise DataError(
            f"{folder.root} ({role}) has no trajectories, which SFT learns from",
            hint=_NO_TRAJECTORIES.format(folder.root),
        )
    if not all(having):
        logger.warning("%s: %d of %d samples have no trajectory", folder.root, having.count(False), len(having))

"""``photo-mini``: the benchmark of the study on photographs, and samples to train on, from any folder of photographs.

    python -m research.photo_mini PHOTOS OUT [--per-task N] [--train N] [--rl N] [--seed N]

It writes ``OUT/test`` (``photo-mini``), ``OUT/train`` and ``OUT/rl``. A photograph belongs to one of the three, decided
by a digest of its pixels, so that no photograph of the test has been trained on, and RL has other photographs than SFT.
The same photographs, sizes and seed give the same files.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import typer

from mirg.config import checked
from mirg.console import fail, logger, say
from mirg.data.compose.photos.build import write_photo_samples
from mirg.data.compose.photos.pool import PHOTO_TASKS, Photo, PhotoConfig, find_photos, of_split
from mirg.errors import DataError, MirgError
from mirg.samples import DatasetFolder
from mirg.samples.card import CARD_FILE, README_FILE, readme_text
from mirg.storage import write_atomic, write_json_atomic

Part = Literal["train", "rl", "test"]
# Raise it with every change that changes an item.
PHOTO_MINI_NAME = "photo-mini-1"
PER_TASK = 90
SIDE = 256  # long edge of the stored photographs, pixels
TEST_SHARE, RL_SHARE = 0.4, 0.5  # of all photographs, and of those that are not for the test
_SEEDS = 1000  # the seeds of the parts are that far apart, so that no two samples have one id


def write_part(
    photos: str | Path, out: str | Path, part: Part, n: int, seed: int = 0, tasks: Collection[str] | None = None
) -> DatasetFolder:
    """Write ``n`` samples of the photographs of ``part`` as a dataset folder; tasks take turns, None: all of them.

    A sample that cannot be composed is left out. Files that cannot be read are named on the console.
    Errors are those of :func:`write_photo_samples`.
    """
    found = find_photos(photos, PhotoConfig(split="test", test_share=1))
    for rejection in found.rejected:
        logger.warning("photograph not used: %s: %s", rejection.file, rejection.reason)
    own = photos_of(part, found.photos)
    if len(own) < 2:
        raise DataError(f"{photos} has too few photographs: {len(found.photos)}", hint="photo-mini needs 60 or more")
    split = {"split": "test", "test_share": 1} if part == "test" else {"split": "train", "test_share": 0}
    sizes = {"n": n, "side": SIDE, "tasks": tuple(tasks or PHOTO_TASKS), "seed": seed + _SEEDS * (part == "rl")}
    config = checked(PhotoConfig, split | sizes, None)
    with TemporaryDirectory() as folder:
        for photo in own:
            (Path(folder) / f"{photo.digest}{photo.path.suffix}").symlink_to(photo.path.resolve())
        write_photo_samples(folder, out, config, overwrite=True)
    return DatasetFolder.open(out)


def photos_of(part: Part, photos: list[Photo]) -> list[Photo]:
    """The photographs of ``part``: 40 % for the test, 30 % each for SFT and RL."""
    if part == "test":
        return of_split(photos, "test", TEST_SHARE)
    # The rest is cut at the middle of the digests that it has.
    rest = of_split(photos, "train", TEST_SHARE)
    return rest[: len(rest) // 2] if part == "rl" else rest[len(rest) // 2 :]


def write_photo_mini(photos: str | Path, out: str | Path, per_task: int = PER_TASK, seed: int = 0) -> DatasetFolder:
    """Write the benchmark, ``per_task`` items of each task of photographs. Errors are those of :func:`write_part`."""
    folder = write_part(photos, out, "test", per_task * len(PHOTO_TASKS), seed)
    card = folder.card.model_copy(update={"name": PHOTO_MINI_NAME, "created_by": "research.photo_mini"})
    write_json_atomic(folder.root / CARD_FILE, card.model_dump(mode="json"))
    write_atomic(folder.root / README_FILE, readme_text(card))
    return DatasetFolder.open(out)


def main(
    photos: Annotated[Path, typer.Argument(help="A folder of photographs.")],
    out: Annotated[Path, typer.Argument(help="The folder of the three datasets, which are replaced if they exist.")],
    per_task: Annotated[int, typer.Option(min=1, help="Test items of each task.")] = PER_TASK,
    train: Annotated[int, typer.Option(min=1, help="Samples for SFT.")] = 1000,
    rl: Annotated[int, typer.Option(min=1, help="Samples for RL.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, max=_SEEDS - 1, help="Seed of the samples; not of the split.")] = 0,
) -> None:
    """Write photo-mini and samples for SFT and RL, of photographs that no two of them share."""
    try:
        made = {
            "test": write_photo_mini(photos, out / "test", per_task, seed),
            "train": write_part(photos, out / "train", "train", train, seed),
            "rl": write_part(photos, out / "rl", "rl", rl, seed),
        }
    except MirgError as error:
        raise typer.Exit(fail(error)) from error
    say(", ".join(f"{name}: {len(folder)} samples" for name, folder in made.items()) + f" in {out}")


if __name__ == "__main__":
    typer.run(main)

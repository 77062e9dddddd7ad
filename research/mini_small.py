"""``mirg-mini-small``: targets that the model cannot recognise before it has looked again.

    python -m research.mini_small OUT [--per-task N]       write it as a dataset folder

Images have 500 pixels a side, and every target covers less than 1 % of its image. mirg-tiny sees 96 pixels of a side,
in which an object is a spot of 4 to 8 pixels; a look shows it from the original pixels at five times that size. Boxes
lie on the steps of mirg-tiny's coordinates, a twenty-fifth of the side, so that it can write each of them exactly. The
benchmark has eight tasks with 104 items each and is a pure function of its version.
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Annotated

import typer

from mirg.answers.markup import box_markup, cited
from mirg.console import fail, say
from mirg.data.scenes.generate import Key, keys, make_draft, to_sample
from mirg.data.scenes.render import render
from mirg.data.scenes.world import WorldConfig
from mirg.errors import MirgError
from mirg.geometry import Box, share_inside
from mirg.samples import DatasetFolder, DatasetWriter, Sample, Trajectory
from mirg.study.plan import LOOKS
from mirg.trajectories.looks import ODD, Place, is_small, shown, sought, with_looks
from mirg.trajectories.writer import build

# Raise it with every change that changes an item.
SMALL_NAME = "mirg-mini-small-3"
PER_TASK = 104
SIDE, CELLS = 500, 25  # pixels of a side, and the steps of coordinates in it
SMALL_SEED = 31_000  # of the benchmark; added to the seeds of training scenes, so that no id is used twice

# The first six do not name the image of the answer.
SMALL_TASKS: dict[str, str] = {
    "group_grounding": "Group Grounding",
    "refer": "Referring",
    "odd_one_out": "the image with another object",
    "counting": "the image with the most objects",
    "companion": "the image identified by another object",
    "multi_target": "several targets",
    "common_object": "Common Object",
    "object_tracking": "Object Tracking",
}
SMALL = WorldConfig(
    side=SIDE, images=(2, 3), frames=(2, 3), objects=(1, 2), object_side=(0.04, 0.06), similar=0.8, same_place=1.0,
    clutter=3, shapes="all", pairs="seen", backgrounds=("plain", "gradient", "checks", "patch"),
)  # fmt: skip

# A look shows one of 64 squares that overlap, so that each object lies inside one of them as a whole.
ALL = 0.999  # share of an object that is inside a look as a whole, within rounding
LOOK_SIDE, LOOK_STARTS = 0.2, (0.0, 0.12, 0.24, 0.36, 0.48, 0.6, 0.72, 0.8)


def small_sample(writer: DatasetWriter, key: Key) -> Sample:
    """One sample whose images ``writer`` has taken; to be given to it as well."""
    # Drawn up in steps of coordinates, rendered in pixels.
    draft = make_draft(key, SMALL.model_copy(update={"side": CELLS}))
    images = [render(picture.scene, (SIDE, SIDE)) for picture in draft.pictures]
    refs = [writer.add_image(image, f"{key.sample_id}-{k}") for k, image in enumerate(images, 1)]
    return to_sample(key, draft, refs)


def looking(sample: Sample) -> Trajectory:
    """The trajectory of the rules in their terse voice, with up to :data:`LOOKS` looks at small objects.

    What is read off the crops takes the place of the lists of what each image shows and of the boxes at the end.
    """
    told = with_looks(build(sample), sample, LOOKS, plain=False, places=_places, words=_read_off)
    thinking = told.thinking
    if sample.task == ODD:
        others = [image.objects[0].label for k, image in enumerate(sample.images, 1) if k not in sample.target_images]
        thinking = _LIST.sub("", thinking).replace("Odd: ", f"Same: {others[0]}. Odd: ")
    read_off = {said[1] for said in _CITED.finditer(thinking)}
    thinking = _BOX.sub(lambda said: "" if said[1] in read_off else said[0], thinking)
    return told.model_copy(update={"thinking": thinking.rstrip()})


_LIST = re.compile(r"\bImage-\d+: [^.]*\. ")
_CITED = re.compile(r"Image-\d+ (<box [^<]*</box>)[.,]")  # in the sentence after a look
_BOX = re.compile(r"Box: [^<]*(<box [^<]*</box>)\. ?")


def _read_off(sample: Sample, image: int, name: str, look: Box) -> str:
    """What a crop shows: each object with its box in the crop, in thousandths, and with that in the whole image.

    ``Image-2a: 400,600,600,800 red square Image-2 <box ...>.`` mirg-tiny reads the first box off the crop as off any
    image. The second one is that of the look, plus a fifth of the first. What follows a name is written in the order in
    which the chain repeats it later.
    """
    boxes = {t.label: t.box for t in sample.targets if t.image == image and share_inside(t.box, look) > ALL}
    notes = sample.images[image - 1].objects
    boxes |= {note.label: note.box for note in notes if note.label and share_inside(note.box, look) > ALL}
    told = []
    for label in shown(sample, image, look):
        if label in boxes:
            box = boxes[label]
            inner = [round(1000 * (box[k] - look[k % 2]) / LOOK_SIDE) for k in range(4)]
            told.append(f"{','.join(map(str, inner))} {label} Image-{image} {box_markup(image, box)}")
        else:
            told.append(label)
    return f"{name}: {', '.join(told) or 'nothing'}."


def _places(sample: Sample, max_looks: int, rng: random.Random) -> tuple[list[Place], list[Place], list[Place]]:
    """Where a chain looks: once into every image in which the target may be, at what is nearest to its place there.

    mirg-tiny does not learn when to stop (docs/design/0008-study.md), so that it looks at all images. If the image is
    known, it looks at all objects there that have the colour of the target. At the end it looks at the targets that it
    has not seen. Nothing is left to ``rng``.
    """
    small = [(target.image, target.box) for target in sample.targets if is_small(target.box)]
    if not small:
        return [], [], []
    looks: list[Place] = []

    def added(places: list[Place]) -> list[Place]:
        fresh = [*dict.fromkeys((k, square_around(box)) for k, box in places)]
        before = len(looks)
        looks.extend([place for place in fresh if place not in looks][: max_looks - before])
        return looks[before:]

    asked = [(k, box) for k, box in cited(sample.question) if is_small(box)]
    return added(asked), added(_objects(sample)), added(small)


def _objects(sample: Sample) -> list[Place]:
    """The objects that a chain looks at, each with its image."""
    found: list[Place] = []
    target, name = sample.targets[0], sought(sample)
    for k, image in enumerate(sample.images, 1):
        notes = sorted((note.box, note.label) for note in image.objects if is_small(note.box))
        right = [box for box, label in notes if label == name and k in sample.target_images]
        # If a companion is sought, all images show an object like the target, which tells nothing.
        others = [box for box, label in notes if name == target.label or label != target.label]
        if not sample.image_hidden or sample.task == "counting":
            same_colour = [box for box, label in notes if label.split()[0] == name.split()[0]]
            found += [(k, box) for box in same_colour if k in sample.target_images]
        elif image.role != "reference" and (right or others):
            found += [(k, box) for box in right or [min(others, key=lambda box: _distance(box, target.box))]]
    return found


def _distance(box: Box, other: Box) -> float:
    return abs(box[0] + box[2] - other[0] - other[2]) + abs(box[1] + box[3] - other[1] - other[3])


def square_around(box: Box) -> Box:
    """The square of a look at ``box``: of those that show the whole box, the one with the box nearest to its middle."""
    x, y = _start(box[0], box[2]), _start(box[1], box[3])
    return (x, y, round(x + LOOK_SIDE, 6), round(y + LOOK_SIDE, 6))


def _start(low: float, high: float) -> float:
    return min(LOOK_STARTS, key=lambda start: abs(low + high - 2 * start - LOOK_SIDE))


def write_small(out: str | Path, per_task: int = PER_TASK, *, overwrite: bool = False) -> DatasetFolder:
    """Write the benchmark as a dataset folder, ``per_task`` items of each task. Errors are those of the writer."""
    about = f"{SIDE} x {SIDE} pixels, targets of less than 1 % of an image. Settings: {SMALL.model_dump_json()}"
    writer = DatasetWriter(
        out, name=SMALL_NAME, description=about, created_by="research.mini_small", seed=SMALL_SEED, overwrite=overwrite
    )
    with writer:
        for key in keys(list(SMALL_TASKS), per_task * len(SMALL_TASKS), split="test", seed=SMALL_SEED):
            writer.add(small_sample(writer, key))
    return DatasetFolder.open(out)


def main(
    out: Annotated[Path, typer.Argument(help="The dataset folder to write.")],
    per_task: Annotated[int, typer.Option(min=1, max=PER_TASK, help="Items of each task.")] = PER_TASK,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
) -> None:
    """Write mirg-mini-small: 832 items of eight tasks whose targets are small."""
    try:
        say(f"{SMALL_NAME}: {len(write_small(out, per_task, overwrite=overwrite))} items in {out}")
    except MirgError as error:
        raise typer.Exit(fail(error)) from error


if __name__ == "__main__":
    typer.run(main)

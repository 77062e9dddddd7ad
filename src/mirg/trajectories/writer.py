"""The rule-based writer: reasoning from a sample's annotation, images first, then objects, terse.

Each task has its own image-level part (a line in ``IMAGE_LEVEL``); the object-level part says where every target is, or
that there is none. Tasks without a line of their own say which images hold the target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from mirg.answers.markup import box_markup
from mirg.errors import DataError
from mirg.samples.schema import ObjectNote, Sample, Target, Trajectory

WRITER, OBJECT_WRITER = "rules/2", "object-level/1"
LONGEST_RUN = 6  # objects of one label side by side that a list names one by one


def build(sample: Sample) -> Trajectory:
    """The rule-based trajectory of ``sample``: its thinking, and the truth as the answer. Errors as below."""
    return Trajectory(thinking=write_thinking(sample), answer=ordered(sample.targets), writer=WRITER)


def build_object_level(sample: Sample) -> Trajectory:
    """The trajectory of ``sample`` without its image-level part: what is looked for, and where it is.

    It shows what reasoning about images is worth (``mirg study``); for training, :func:`build` is the better one.
    """
    thinking = " ".join([*_target(sample), *_object_level(sample)])
    return Trajectory(thinking=thinking, answer=ordered(sample.targets), writer=OBJECT_WRITER)


def write_thinking(sample: Sample) -> str:
    """The reasoning of ``sample``, with box markup; a pure function of its annotation.

    DataError where the annotation lacks what the task's reasoning is made of (e.g. the objects of an image).
    """
    image_level = IMAGE_LEVEL.get(sample.task, _search)
    return " ".join([*image_level(sample), *_object_level(sample)])


def ordered(targets: Sequence[Target]) -> tuple[Target, ...]:
    """Targets in the order in which they are written: by image, then from left to right."""
    return tuple(sorted(targets, key=lambda target: (target.image, target.box)))


def subject(sample: Sample) -> str:
    """What is looked for: ``meta["subject"]``, else the label of the targets, else "object"."""
    named = sample.meta.get("subject")
    if isinstance(named, str) and named:
        return named
    return next((target.label for target in sample.targets if target.label), "object")


def _object_level(sample: Sample) -> list[str]:
    name = subject(sample)
    return [
        f"Box: Image-{target.image} {target.label or name} {box_markup(target.image, target.box)}."
        for target in ordered(sample.targets)
    ]


def _target(sample: Sample) -> list[str]:
    return [f"Target: {subject(sample)}."]


def _found(sample: Sample) -> list[str]:
    """Which images hold what is looked for. Name and image stand side by side: that is the form of a look-up."""
    where = ", ".join(f"Image-{number}" for number in sorted(sample.target_images))
    return [f"Found: {subject(sample)} {where or 'in none of the images'}."]


def _lists(sample: Sample, numbers: Sequence[int]) -> list[str]:
    """The objects of every image of ``numbers``, from left to right: an order that the image itself gives."""
    return [f"Image-{number}: {_listed(sample, number)}." for number in numbers]


def _listed(sample: Sample, number: int) -> str:
    notes = sorted(sample.images[number - 1].objects, key=lambda note: note.box)
    runs = [(label, len(list(run))) for label, run in groupby(note.label for note in notes)]
    # A long row of one word would be refused as a repetition, and nobody reads it as a count.
    return ", ".join(f"{label} ({n})" if n > LONGEST_RUN else ", ".join([label] * n) for label, n in runs) or "nothing"


def _all(sample: Sample) -> range:
    return range(1, len(sample.images) + 1)


def _search(sample: Sample) -> list[str]:
    return [*_target(sample), *_found(sample)]


def _common_object(sample: Sample) -> list[str]:
    """What the image that is asked about shows, and which of it the others show too.

    Lists of all images are longer, and image and name no longer stand side by side where the box is written.
    """
    asked = sorted(sample.target_images)
    if not all(sample.images[number - 1].objects for number in asked):  # not annotated: "nothing" would be wrong
        return _search(sample)
    return [*_lists(sample, asked), f"Common: {subject(sample)}."]


def _difference(sample: Sample) -> list[str]:
    """What all images show, then what one of them lacks: two lists, and their difference, would be read off text."""
    if not any(image.objects for image in sample.images):  # photographs: there is nothing to list
        return _search(sample)
    return [*_same(sample), f"Different: {subject(sample)}.", *_found(sample)]


def _same(sample: Sample) -> list[str]:
    """The names that every image shows, from left to right as in the first."""
    others = [{note.label for note in image.objects} for image in sample.images[1:]]
    notes = sorted(sample.images[0].objects, key=lambda note: note.box)
    names = dict.fromkeys(note.label for note in notes if all(note.label in labels for labels in others))
    return [f"Same: {', '.join(names) or 'nothing'}."]


def _refer(sample: Sample) -> list[str]:
    number = _with_role(sample, "reference")
    if not sample.images[number - 1].objects:
        return _search(sample)
    return [*_lists(sample, [number]), *_target(sample), *_found(sample)]


def _region(sample: Sample) -> list[str]:
    number = _with_role(sample, "reference")
    if not sample.images[number - 1].objects:
        return [*_target(sample), *_found(sample)]
    return [*_lists(sample, [number]), *_target(sample)]


def _object_tracking(sample: Sample) -> list[str]:
    """The object is shown in the frame with the role ``reference``, the first image where none has it."""
    number = next((k for k, image in enumerate(sample.images, 1) if image.role == "reference"), 1)
    return [f"Image-{number}: {subject(sample)}.", *_target(sample)]


def _odd_one_out(sample: Sample) -> list[str]:
    return [*_lists(sample, _all(sample)), f"Odd: {subject(sample)}.", *_found(sample)]


def _counting(sample: Sample) -> list[str]:
    """Of the objects called ``meta["counted"]``, or of all objects."""
    counted = sample.meta.get("counted")
    counts = [
        sum(_called(note, counted) if isinstance(counted, str) else 1 for note in image.objects)
        for image in sample.images
    ]
    said = [f"Image-{number}: {value}." for number, value in enumerate(counts, 1)]
    return [*said, f"Most: Image-{1 + counts.index(max(counts))}.", *_target(sample)]


def _marked(sample: Sample) -> list[str]:
    """What the box of the question is around, unless it has another name than what is looked for.

    A name that stands in the chain is copied: one that is close to the target's does harm (docs/design/0008-study.md).
    """
    if sample.meta.get("reference", subject(sample)) != subject(sample):
        return _search(sample)
    return [f"Image-1: {subject(sample)}.", *_target(sample), *_found(sample)]


def _reasoning(sample: Sample) -> list[str]:
    """What is compared: all objects, or how large one kind is. What references show has another name, as above."""
    compared = sample.meta.get("compared")
    if isinstance(compared, str):
        return [*_shares(sample, compared), *_target(sample), *_found(sample)]
    if any(image.role == "reference" for image in sample.images):
        return _search(sample)
    return [*_lists(sample, _all(sample)), *_target(sample), *_found(sample)]


def _shares(sample: Sample, label: str) -> list[str]:
    """How much of each image the largest object of this label takes, in percent."""
    said = []
    for number, image in enumerate(sample.images, 1):
        areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (n.box for n in image.objects if _called(n, label))]
        said.append(f"Image-{number}: {label} {100 * max(areas):.0f} %." if areas else f"Image-{number}: no {label}.")
    return said


def _called(note: ObjectNote, label: str) -> bool:
    return note.label.casefold().split() == label.casefold().split()


def _with_role(sample: Sample, role: str) -> int:
    """The number of the first image with ``role``; errors as of :func:`_having_role`."""
    return _having_role(sample, role)[0]


def _having_role(sample: Sample, role: str) -> list[int]:
    """The numbers of the images with ``role``; DataError where there is none."""
    numbers = [number for number, image in enumerate(sample.images, 1) if image.role == role]
    if not numbers:
        raise DataError(
            f"sample {sample.id}: no image has the role {role!r}, from which the reasoning of {sample.task} starts",
            hint=f"give one image the role {role!r}",
        )
    return numbers


IMAGE_LEVEL: dict[str, Callable[[Sample], list[str]]] = {
    "common_object": _common_object,
    "difference": _difference,
    "group_grounding": _search,
    "refer": _refer,
    "region": _region,
    "object_tracking": _object_tracking,
    "odd_one_out": _odd_one_out,
    "counting": _counting,
    "multi_target": _search,
    "none": _search,
    "view_difference": _difference,
    "multi_view": _marked,
    "reasoning": _reasoning,
    "correspondence": _marked,
}

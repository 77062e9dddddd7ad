"""The rule-based writer: reasoning from a sample's annotation, images first, then objects, terse.

Each task has its own image-level part (a line in ``IMAGE_LEVEL``); the object-level part says where every target is, or
that there is none. Tasks without a line of their own say which images hold the target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mirg.answers.markup import box_markup
from mirg.errors import DataError
from mirg.samples.schema import Sample, Target, Trajectory

WRITER, OBJECT_WRITER = "rules/1", "object-level/1"


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
    return ", ".join(note.label for note in notes) or "nothing"


def _all(sample: Sample) -> range:
    return range(1, len(sample.images) + 1)


def _search(sample: Sample) -> list[str]:
    return [*_target(sample), *_found(sample)]


def _common_object(sample: Sample) -> list[str]:
    return [*_lists(sample, _all(sample)), f"Common: {subject(sample)}."]


def _difference(sample: Sample) -> list[str]:
    if not any(image.objects for image in sample.images):  # photographs: there is nothing to list
        return _search(sample)
    return [*_lists(sample, _all(sample)), f"Different: {subject(sample)}.", *_found(sample)]


def _refer(sample: Sample) -> list[str]:
    number = _with_role(sample, "reference")
    return [*_lists(sample, [number]), *_target(sample), *_found(sample)]


def _region(sample: Sample) -> list[str]:
    number = _with_role(sample, "reference")
    if not sample.images[number - 1].objects:
        return [*_target(sample), *_found(sample)]
    return [*_lists(sample, [number]), *_target(sample)]


def _object_tracking(sample: Sample) -> list[str]:
    return [f"Image-1: {subject(sample)}.", *_target(sample)]


def _odd_one_out(sample: Sample) -> list[str]:
    return [*_lists(sample, _all(sample)), f"Odd: {subject(sample)}.", *_found(sample)]


def _counting(sample: Sample) -> list[str]:
    counts = [len(image.objects) for image in sample.images]
    said = [f"Image-{number}: {value}." for number, value in enumerate(counts, 1)]
    return [*said, f"Most: Image-{1 + counts.index(max(counts))}.", *_target(sample)]


def _marked(sample: Sample) -> list[str]:
    """What the box of the question is around may have another name than what is looked for."""
    return [f"Image-1: {sample.meta.get('reference', subject(sample))}.", *_target(sample), *_found(sample)]


def _reasoning(sample: Sample) -> list[str]:
    return [*_lists(sample, _having_role(sample, "reference")), *_target(sample), *_found(sample)]


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

"""The rule-based writer: reasoning from a sample's annotation, images first, then objects, terse.

The image-level part names the subject and the images that show it, in one form for every task: what one task teaches
serves the others. A line in ``IMAGE_LEVEL`` says more where images are compared or counted.
The object-level part says where every target is. How the forms were chosen: docs/design/0008-study.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from mirg.answers.markup import box_markup
from mirg.samples.coverage import label_key
from mirg.samples.schema import ImageRef, ObjectNote, Sample, Target, Trajectory
from mirg.trajectories.chain import mentioned, prose_of

WRITER, OBJECT_WRITER = "rules/4", "object-level/1"
LONGEST_RUN = 6  # objects of one label side by side that a list names one by one


def build(sample: Sample) -> Trajectory:
    """The rule-based trajectory of ``sample``: its thinking, and the truth as the answer."""
    return Trajectory(thinking=write_thinking(sample), answer=ordered(sample.targets), writer=WRITER)


def build_object_level(sample: Sample) -> Trajectory:
    """The trajectory of ``sample`` without its image-level part: the subject and its place.

    ``mirg study`` uses it to measure the effect of reasoning about images; for training, :func:`build` is better.
    """
    thinking = " ".join([f"Target: {subject(sample)}.", *_object_level(sample)])
    return Trajectory(thinking=thinking, answer=ordered(sample.targets), writer=OBJECT_WRITER)


def write_thinking(sample: Sample) -> str:
    """The reasoning of ``sample``, with box markup; a pure function of its annotation."""
    return " ".join([*IMAGE_LEVEL.get(sample.task, _search)(sample), *_object_level(sample)])


def ordered(targets: Sequence[Target]) -> tuple[Target, ...]:
    """Targets in the order in which they are written: by image, then from left to right."""
    return tuple(sorted(targets, key=lambda target: (target.image, target.box)))


def subject(sample: Sample) -> str:
    """The subject of the question: ``meta["subject"]``, else the label of the targets, else "object"."""
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


def _search(sample: Sample) -> list[str]:
    """The subject, and which images show it. Name and image are next to each other, which is the form of a look-up.

    An image that the question names is not found by looking, and others may hold the same: it is only said again.
    """
    name, places = subject(sample), _places(sample)
    known = sample.targets and sample.target_images <= set(mentioned(prose_of(sample.question)))
    return [f"Target: {name}.", f"Where: {places}." if known else f"Found: {name} {places}."]


def _places(sample: Sample) -> str:
    return ", ".join(f"Image-{number}" for number in sorted(sample.target_images)) or "in none of the images"


def _lists(sample: Sample) -> list[str]:
    """The objects of every image, from left to right."""
    said = []
    for number, image in enumerate(sample.images, 1):
        labels = (note.label for note in sorted(image.objects, key=lambda note: note.box))
        runs = [(label, len(list(run))) for label, run in groupby(labels)]
        # A long row of one word would be refused as a repetition, and does not show a number.
        listed = [f"{label} ({n})" if n > LONGEST_RUN else ", ".join([label] * n) for label, n in runs]
        said.append(f"Image-{number}: {', '.join(listed) or 'nothing'}.")
    return said


def _difference(sample: Sample) -> list[str]:
    """For differences: the names that every image shows come first, from left to right as in the first image."""
    if not any(image.objects for image in sample.images):  # photographs: there is nothing to list
        return _search(sample)
    others = [{note.label for note in image.objects} for image in sample.images[1:]]
    notes = sorted(sample.images[0].objects, key=lambda note: note.box)
    names = dict.fromkeys(note.label for note in notes if all(note.label in labels for labels in others))
    return [f"Same: {', '.join(names) or 'nothing'}.", *_search(sample)]


def _odd_one_out(sample: Sample) -> list[str]:
    if subject(sample) == "patch":  # photographs without annotation: there is nothing to list
        return _search(sample)
    return [*_lists(sample), f"Odd: {subject(sample)}.", *_search(sample)[1:]]


def _counting(sample: Sample) -> list[str]:
    """The number of objects called ``meta["counted"]``, or of all objects, in every image."""
    counted = sample.meta.get("counted")
    counts = [len(_called(image, counted) if isinstance(counted, str) else image.objects) for image in sample.images]
    said = [f"Image-{number}: {value}." for number, value in enumerate(counts, 1)]
    return [*said, f"Most: Image-{1 + counts.index(max(counts))}.", f"Target: {subject(sample)}."]


def _reasoning(sample: Sample) -> list[str]:
    """What is compared: all objects, or how much of each image the largest object of one kind takes, in percent.

    What references show has another name and is not said: a name in the chain is copied, and one that is close to the
    target's does harm.
    """
    compared = sample.meta.get("compared")
    if not isinstance(compared, str):
        return (
            _search(sample) if any(i.role == "reference" for i in sample.images) else _lists(sample) + _search(sample)
        )
    said = []
    for number, image in enumerate(sample.images, 1):
        areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (note.box for note in _called(image, compared))]
        share = f"{compared} {100 * max(areas):.0f} %" if areas else f"no {compared}"
        said.append(f"Image-{number}: {share}.")
    return said + _search(sample)


def _called(image: ImageRef, label: str) -> list[ObjectNote]:
    return [note for note in image.objects if label_key(note.label) == label_key(label)]


def _same_instance(sample: Sample) -> list[str]:
    """The images that show objects of this name come first, since the target is in one of them."""
    target, found = _search(sample)
    alike = [f"Image-{k}" for k, image in enumerate(sample.images[1:], 2) if _called(image, subject(sample))]
    return [target, f"Alike: {', '.join(alike)}.", found] if alike else [target, found]


def _companion(sample: Sample) -> list[str]:
    """Every image may show the target: the right one is known by another object that it shows, ``meta["mark"]``."""
    mark = sample.meta.get("mark")
    if not isinstance(mark, str):  # a task of a user's own by the same name
        return _search(sample)
    return [f"Found: {mark} {_places(sample)}.", f"Target: {subject(sample)}."]


IMAGE_LEVEL: dict[str, Callable[[Sample], list[str]]] = {
    "companion": _companion,
    "companion_pair": _companion,
    "companion_twice": _companion,
    "counting": _counting,
    "difference": _difference,
    "odd_one_out": _odd_one_out,
    "reasoning": _reasoning,
    "same_instance": _same_instance,
    "view_difference": _difference,
}

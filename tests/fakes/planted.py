"""Correct replies of a teacher in many styles, as pure functions of a seed: the ground for planted defects.

A reply is kept in parts (:class:`Reply`), so that a defect can change one of them and nothing else. Labels are those
of the procedural world, in half of the samples under everyday names; boxes are a little off, as a teacher's are.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fakes.wordings import HONEST
from mirg.data.scenes.generate import generate, to_sample
from mirg.data.scenes.tasks import TASKS
from mirg.families import QWEN3_VL, Family
from mirg.frames import to_frame
from mirg.geometry import Box
from mirg.samples.schema import ImageRef, ObjectNote, Sample

FAMILY = QWEN3_VL
SIDE = 96
RANKS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
RANGE = ("erste", "zweite", "dritte", "vierte", "fünfte", "sechste", "siebte", "achte", "neunte", "zehnte")
# The procedural world's shapes and colours under the names of things in photographs.
THINGS = {
    "ring": "mug", "cross": "chair", "star": "dog", "heart": "bicycle", "moon": "car", "arrow": "bottle",
    "circle": "lamp", "square": "book", "diamond": "bird", "triangle": "umbrella",
}  # fmt: skip


@dataclass
class Reply:
    """The parts of a reply: sentences of either level, (image, box) pairs of the answer, and how they are joined."""

    image_level: list[str]
    object_level: list[str]
    answer: list[tuple[int, Box]]
    joint: str = " "
    boxes_as_json: bool = True
    before: str = "<think>"
    between: str = "</think>\n<answer>"
    after: str = "</answer>"
    honest: tuple[str, ...] = field(default=())

    @property
    def thinking(self) -> str:
        return self.joint.join([*self.image_level, *self.object_level])

    def text(self, family: Family = FAMILY) -> str:
        """What the teacher sends, in numbers of ``family``."""
        return f"{self.before}{self.thinking}{self.between}{self._answer(family)}{self.after}"

    def _answer(self, family: Family) -> str:
        numbers = [(image, to_frame(box, (SIDE, SIDE), family)) for image, box in self.answer]
        if self.boxes_as_json:
            return json.dumps([{"image": image, "bbox_2d": list(box)} for image, box in numbers])
        lines = [f"Image-{image}: ({a},{b}),({c},{d})" for image, (a, b, c, d) in numbers]
        return "\n".join(lines) or "none"


# --- samples ---------------------------------------------------------------------------------------------------------


def samples(seed: int, n: int) -> Iterator[Sample]:
    """``n`` samples that alternate between all tasks, every second round of tasks under everyday names."""
    for k, (key, draft) in enumerate(generate(None, n, split="validation", seed=seed)):
        refs = [ImageRef(path=f"{key.sample_id}-{i}.png", width=SIDE, height=SIDE) for i in range(len(draft.pictures))]
        sample = to_sample(key, draft, refs)
        yield everyday(sample) if k // len(TASKS) % 2 else sample


def everyday(sample: Sample) -> Sample:
    """The sample with its shapes called like things of everyday life."""
    text = sample.model_dump_json()
    for shape, thing in THINGS.items():
        text = text.replace(f" {shape}", f" {thing}")
    return Sample.model_validate_json(text)


def label(sample: Sample) -> str:
    """The label of the target."""
    return str(sample.meta["subject"])


def notes(sample: Sample, image: int) -> tuple[ObjectNote, ...]:
    """The objects of an image, from left to right."""
    return tuple(sorted(sample.images[image - 1].objects, key=lambda note: note.box))


def a_little_off(rng: random.Random, box: Box) -> Box:
    """The box as somebody reads it off: each side up to 4 % of the box's length away."""
    x1, y1, x2, y2 = box
    dx, dy = 0.04 * (x2 - x1), 0.04 * (y2 - y1)
    moved = [v + rng.uniform(-d, d) for v, d in zip(box, (dx, dy, dx, dy), strict=True)]
    a, b, c, d = (min(max(v, 0.0), 1.0) for v in moved)
    return (a, b, c, d)


def spelled(rng: random.Random, box: Box, form: int | None = None) -> str:
    """A box in one of the spellings that models use."""
    a, b, c, d = to_frame(box, (SIDE, SIDE), FAMILY)
    forms = (
        f"({a},{b}),({c},{d})",
        f"({a}, {b}), ({c}, {d})",
        f"[{a}, {b}, {c}, {d}]",
        f"<|box_start|>({a},{b}),({c},{d})<|box_end|>",
    )
    return forms[rng.choice((0, 0, 0, 1, 2, 3)) if form is None else form]


# --- styles: each gives the image-level and the object-level sentences -----------------------------------------------

Style = Callable[[random.Random, Sample, list[tuple[int, Box]]], Reply]


def listing(words: list[str], last: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def shown(sample: Sample, image: int) -> str:
    """The objects of an image in words, at most six."""
    return listing([f"a {note.label}" for note in notes(sample, image)[:6]] or ["nothing of interest"])


def numbers(sample: Sample) -> range:
    return range(1, len(sample.images) + 1)


def where(sample: Sample) -> str:
    return listing([f"Image-{n}" for n in sorted(sample.target_images)])


def decided(rng: random.Random, sample: Sample) -> str:
    """What follows at image level."""
    name = label(sample)
    if not sample.targets:
        return rng.choice((f"None of the images shows a {name}.", f"So a {name} is in no image.",
                           f"A {name} is missing everywhere, so nothing is to be pointed out."))  # fmt: skip
    return rng.choice(
        (
            f"So what is asked for is a {name}, and it is to be pointed out in {where(sample)}.",
            f"That makes it the {name}, and {where(sample)} the place to look.",
            f"This leaves the {name} of {where(sample)}.",
            f"Comparing them, the {name} in {where(sample)} is the one that fits.",
            f"Therefore the target is the {name} in {where(sample)}.",
        )
    )


def rules(rng: random.Random, sample: Sample, boxes: list[tuple[int, Box]]) -> Reply:
    """The terse form of the rule writer."""
    name = label(sample)
    first = [
        f"Image-{n}: {', '.join(note.label for note in notes(sample, n)[:6]) or 'nothing'}." for n in numbers(sample)
    ]
    found = where(sample).replace(" and ", ", ") if boxes else "in none of the images"
    start = first if rng.random() < 0.5 else [f"Target: {name}."]
    return Reply(
        [*start, f"Found: {name} {found}."], [f"Box: Image-{n} {name} {spelled(rng, b)}." for n, b in boxes], boxes
    )


def prose(rng: random.Random, sample: Sample, boxes: list[tuple[int, Box]]) -> Reply:
    """Flowing prose that ranks the images."""
    verb = rng.choice(("shows", "contains", "has"))
    first = [f"The {RANKS[n - 1]} image {verb} {shown(sample, n)}." for n in numbers(sample)]
    name = label(sample)
    last = [f"In Image-{n}, the {name} spans {spelled(rng, b)}." for n, b in boxes]
    return Reply([*first, decided(rng, sample)], last, boxes)


def compared(rng: random.Random, sample: Sample, boxes: list[tuple[int, Box]]) -> Reply:
    """Prose that looks at the question first and compares."""
    name = label(sample)
    first = ["Let me look at each image before deciding." if rng.random() < 0.5 else "I compare the images first."]
    first += [f"In image {n} there is {shown(sample, n)}." for n in numbers(sample)]
    last = [f"Looking closer at Image-{n}, I find the {name} at {spelled(rng, b)}, clearly set off." for n, b in boxes]
    return Reply([*first, decided(rng, sample)], last, boxes)


def numbered(rng: random.Random, sample: Sample, boxes: list[tuple[int, Box]]) -> Reply:
    """A numbered list, one line for a step."""
    lines = [f"{n}. Image-{n}: {shown(sample, n)}" for n in numbers(sample)]
    k = len(lines) + 1
    last = [f"{k + 1 + i}. {label(sample)} in Image-{n}: {spelled(rng, b)}" for i, (n, b) in enumerate(boxes)]
    return Reply([*lines, f"{k}. {decided(rng, sample)}"], last, boxes, joint="\n")


def headed(rng: random.Random, sample: Sample, boxes: list[tuple[int, Box]]) -> Reply:
    """Markdown with a heading for each level."""
    first = [
        "**Image level**",
        *(f"- Image-{n} shows {shown(sample, n)}." for n in numbers(sample)),
        decided(rng, sample),
    ]
    last = ["**Object level**", *(f"- Image-{n}, {label(sample)}: {spelled(rng, b)}" for n, b in boxes)]
    return Reply(first, last if boxes else [], boxes, joint="\n")


def verdicts(rng: random.Random, sample: Sample, boxes: list[tuple[int, Box]]) -> Reply:
    """A yes or no for each image."""
    true = sample.target_images
    first = [f"A {label(sample)} is to be pointed out."]
    first += [f"Image-{n}: {'yes' if n in true else 'no'}." for n in numbers(sample)]
    last = [f"The {label(sample)} of Image-{n} is at {spelled(rng, b)}." for n, b in boxes]
    return Reply(first, last, boxes, boxes_as_json=False)


def lists(rng: random.Random, sample: Sample, boxes: list[tuple[int, Box]]) -> Reply:
    """Images named in lists."""
    true = sorted(sample.target_images)
    others = [n for n in numbers(sample) if n not in true]
    name = label(sample)
    first = [f"There are {len(sample.images)} images."]
    if others:
        many = f"Images {listing([str(n) for n in others])}" if len(others) > 1 else f"Image {others[0]}"
        first.append(f"{many}: looked at for comparison, {shown(sample, others[0])} among them.")
    first.append(f"A closer look goes to {where(sample)}." if true else f"All images were searched for a {name}.")
    last = [f"{name} (Image-{n}): {spelled(rng, b, 0)};" for n, b in boxes]
    return Reply(first, last, boxes)


def careful(rng: random.Random, sample: Sample, boxes: list[tuple[int, Box]]) -> Reply:
    """Prose with a second look, and with another object cited if there is one of another name."""
    name = label(sample)
    first = [f"Image {n} shows {shown(sample, n)}." for n in numbers(sample)]
    first += [decided(rng, sample), "Wait, let me check the colours once more."]
    last = []
    for n, b in boxes:
        near = next((note for note in notes(sample, n) if note.label != name), None)
        beside = near and rng.random() < 0.3
        place = (
            f"Next to the {near.label} of Image-{n} it lies at" if near and beside else f"In Image-{n} the {name} takes"
        )
        last.append(f"{place} {spelled(rng, b)}.")
        if near and n == boxes[0][0] and len(last) == 1:
            last.append(
                f"Beside it, Image-{n} has the {near.label} {spelled(rng, a_little_off(rng, near.box))}, another one."
            )
    return Reply([*first, "Yes, this holds for all images."], last, boxes)


def as_json(rng: random.Random, sample: Sample, boxes: list[tuple[int, Box]]) -> Reply:
    """Prose, then JSON objects for the boxes."""
    first = [f"Picture {n}: {shown(sample, n)}." for n in numbers(sample)]
    rows = [
        json.dumps({"image": n, "bbox_2d": list(to_frame(b, (SIDE, SIDE), FAMILY)), "label": label(sample)})
        for n, b in boxes
    ]
    return Reply([*first, decided(rng, sample)], [f"Objects: [{', '.join(rows)}]."] if rows else [], boxes)


def german(rng: random.Random, sample: Sample, boxes: list[tuple[int, Box]]) -> Reply:
    """Prose in German; labels stay unchanged."""
    name = label(sample)
    named = (lambda n: f"Bild {n}") if rng.random() < 0.5 else (lambda n: f"Das {RANGE[n - 1]} Bild")
    first = [
        f"{named(n)} zeigt {listing([note.label for note in notes(sample, n)[:6]] or ['nichts'], 'und')}."
        for n in numbers(sample)
    ]
    if boxes:
        first.append(
            f"Gesucht ist also das Objekt {name}, und es ist in {where(sample).replace(' and ', ' und ')} zu zeigen."
        )
    else:
        first.append(f"Das gesuchte Objekt {name} ist auf keinem der Bilder zu sehen.")
    last = [f"In Image-{n} liegt {name} bei {spelled(rng, b)} und hebt sich vom Grund ab." for n, b in boxes]
    return Reply(first, last, boxes)


STYLES: dict[str, Style] = {
    "rules": rules, "prose": prose, "compared": compared, "numbered": numbered, "headed": headed, "verdicts": verdicts,
    "lists": lists, "careful": careful, "json": as_json,
}  # fmt: skip


def true_boxes(rng: random.Random, sample: Sample) -> list[tuple[int, Box]]:
    """The targets as a teacher sees them, by image and from left to right."""
    ordered = sorted(sample.targets, key=lambda target: (target.image, target.box))
    return [(target.image, a_little_off(rng, target.box)) for target in ordered]


def correct(rng: random.Random, sample: Sample, style: Style, honest: tuple[str, ...] = HONEST) -> Reply:
    """A reply without a defect, often with a sentence or two of harmless words that leaks use too."""
    reply = style(rng, sample, true_boxes(rng, sample))
    picked = rng.sample(honest, rng.choice((0, 1, 1, 2))) if honest else []
    for sentence in picked:
        text = sentence.format(label=label(sample))
        reply.image_level.insert(rng.randint(1, len(reply.image_level)), text)
        reply.honest += (sentence,)
    return reply

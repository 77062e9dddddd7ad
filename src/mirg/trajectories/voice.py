"""The plain voice while it writes one chain: what the annotation holds, and sentences that are drawn for it.

The sentences are in ``plain.yaml``. :mod:`mirg.trajectories.plain` decides which of them a task needs.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from string import Formatter

from mirg.answers import ordinals
from mirg.answers.markup import box_markup
from mirg.geometry import Box
from mirg.samples.coverage import CROWD, IGNORE, INCOMPLETE, label_key
from mirg.samples.schema import ImageRef, ObjectNote, Sample, Target
from mirg.text_files import parse_yaml
from mirg.trajectories.english import Name, listed, number, sentence
from mirg.trajectories.writer import subject

NAMED_ONE_BY_ONE = 3  # images in a list; more are "images 1, 2, 4 and 5"
KINDS_LISTED = 3  # kinds of objects that the description of an image lists
IN_WORDS = 0.3  # share of the chains that say "the second image" instead of "Image-2"
CONCLUDES = 0.7  # share of the chains that say which image is left, if the description tells it already
LARGE, WIDE = 0.55, 0.7  # area and side of a box from which it is in no single part of the image
UNNAMED = ("", "object", "patch", "region")  # labels that say nothing about an object
STAND_INS = {("part_of", "patch"): "part", ("part_of", "object"): "part", ("changed_object", "object"): "difference"}
STEP = 0.05  # of the image, from which an object has moved


@cache
def _sentences() -> dict[str, list[tuple[str, frozenset[str]]]]:
    """The variants of each statement with the names of their slots."""
    table = parse_yaml(Path(__file__).with_name("plain.yaml").read_text(encoding="utf-8"))
    assert isinstance(table, dict)
    return {kind: [(text, _slots(text)) for text in texts] for kind, texts in table.items()}


def _slots(text: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in Formatter().parse(text) if name)


class Voice:
    """The chain of one sample while it is written: :attr:`said` are its sentences."""

    def __init__(self, sample: Sample, seed: int) -> None:
        self.sample, self.said = sample, list[str]()
        self.rng = random.Random(f"{seed} {sample.id}")
        self.label = subject(sample)
        self.is_named = label_key(self.label) not in UNNAMED
        unnamed = self.label if self.label == "patch" else "object"
        self.name = Name(self.label if self.is_named else STAND_INS.get((sample.relation, unnamed), unnamed))
        self.numbers = range(1, len(sample.images) + 1)
        self.in_words = len(self.numbers) <= len(ordinals.WORDS) and self.rng.random() < IN_WORDS
        self._used: Counter[str] = Counter()

    def say(self, *kinds: str, **slots: str) -> None:
        """Add one sentence of ``kinds``: a variant whose slots are known, and that was used least in this chain."""
        self.say_of(self.name, *kinds, **slots)

    def say_of(self, name: Name | None, *kinds: str, **slots: str) -> None:
        """As :meth:`say`, about what is called ``name``; None: about the subject of the question."""
        known = forms(name or self.name) | slots
        fitting = [text for kind in kinds for text, needs in _sentences()[kind] if needs <= known.keys()]
        least = min(self._used[text] for text in fitting)
        text = self.rng.choice([text for text in fitting if self._used[text] == least])
        self._used[text] += 1
        self.said.append(sentence(text.format(**known)))

    def sometimes(self, share: float = CONCLUDES) -> bool:
        """Whether an optional sentence is said."""
        return self.rng.random() < share

    def image(self, k: int) -> str:
        """``Image-2`` or ``the second image``."""
        if len(self.numbers) == 1:
            return "the image"
        return f"the {ordinals.WORDS[k - 1]} image" if self.in_words else f"Image-{k}"

    def images(self, numbers: Sequence[int]) -> dict[str, str]:
        """The slots {images} ("Image-1 and Image-2"), {either} ("… or …") and those of the verbs that agree."""
        if len(numbers) == 1:
            name = self.image(numbers[0])
            return {"images": name, "either": name, "image": name, "show": "shows", "do": "does", "have": "has"}
        short = self.in_words or len(numbers) > NAMED_ONE_BY_ONE
        start, names = ("images ", [str(k) for k in numbers]) if short else ("", [f"Image-{k}" for k in numbers])
        both = {"images": start + listed(names), "either": start + listed(names, "or")}
        return {**both, "show": "show", "do": "do", "have": "have", "each": "each"}

    def ref(self, k: int) -> ImageRef:
        """Image ``k``, from 1."""
        return self.sample.images[k - 1]

    def notes(self, k: int) -> list[ObjectNote]:
        """The single objects of image ``k`` that have a name, from left to right."""
        found = (note for note in self.ref(k).objects if note.label and not Name(note.label).is_long)
        single = (note for note in found if not any(note.attributes.get(mark) for mark in (CROWD, IGNORE)))
        return sorted(single, key=lambda note: note.box)

    def called(self, k: int, label: str) -> list[ObjectNote]:
        """The objects of image ``k`` called ``label``."""
        return [note for note in self.notes(k) if label_key(note.label) == label_key(label)]

    def holds(self, k: int) -> bool:
        """Whether image ``k`` shows the subject, by the truth or by its annotation."""
        return k in self.sample.target_images or bool(self.called(k, self.label))

    def lacks(self, k: int, label: str | None = None) -> bool:
        """Whether image ``k`` is known not to show ``label`` (the subject): its annotation or the truth says so."""
        key, image = label_key(label or self.label), self.ref(k)
        if any(label_key(note.label) == key for note in image.objects) or (label is None and self.holds(k)):
            return False
        noted = bool(image.objects) and not self.sample.meta.get(INCOMPLETE)
        return noted or (label is None and (self.sample.image_hidden or not self.sample.targets))

    def objects(self, k: int, most: int = KINDS_LISTED, *, in_order: bool = False) -> str:
        """What image ``k`` shows: "a red ring, two blue crosses and other objects".

        The subject comes first, or it is listed at its place from left to right (``in_order``).
        """
        counts = Counter(note.label for note in self.notes(k))
        first = sorted(counts, key=lambda label: label_key(label) != label_key(self.label))
        chosen = [label for label in counts if label in first[:most]] if in_order else first[:most]
        return _listing(chosen, counts, more=len(counts) > most)

    def place(self, image: int, targets: list[Target]) -> None:
        """Say where the targets of one image are."""
        # The answer names images by their number, and so does the object level.
        here = {"image": f"Image-{image}" if len(self.numbers) > 1 else "the image"}
        here |= {"of": "of"} if self.is_named else {}
        by_label: dict[str, list[Box]] = {}
        for target in targets:
            by_label.setdefault(target.label or self.label, []).append(target.box)
        for label, boxes in by_label.items():
            name = self.name if label == self.label else Name(label)
            if len(boxes) > 1:
                marks = listed([box_markup(image, box) for box in boxes])
                count = f"{number(len(boxes))} of them" if name.is_long else name.counted(len(boxes))
                self.say_of(name, "boxes", **here, boxes=marks, count=count)
                continue
            (x1, y1, x2, y2), markup = boxes[0], box_markup(image, boxes[0])
            if (x2 - x1) * (y2 - y1) >= LARGE:
                self.say_of(name, "box_large", **here, box=markup)
            elif max(x2 - x1, y2 - y1) >= WIDE:
                self.say_of(name, "box", **here, box=markup)
            else:
                self.say_of(name, "box", **here, box=markup, where=part_of_image(boxes[0]))


def _listing(labels: Iterable[str], counts: Mapping[str, int], *, more: bool = False) -> str:
    words = [Name(label).counted(counts.get(label, 1)) for label in labels]
    return listed([*words, *(["other objects"] if more else [])])


def kinds_of(labels: Iterable[str]) -> str:
    """Labels without their numbers: "a red ring, a blue cross and other objects"."""
    kinds = [*dict.fromkeys(labels)]
    return _listing(kinds[:KINDS_LISTED], {}, more=len(kinds) > KINDS_LISTED)


def forms(name: Name) -> dict[str, str]:
    """The slots of an object's name and of the verbs that agree with it."""
    verbs = {"is": ("is", "are"), "has": ("has", "have")}
    verbs |= {f"{verb}s": (f"{verb}s", verb) for verb in ("take", "fill", "move")}
    forms = {"a": name.a, "any": name.any, "the": name.the, "no": name.no}
    if not (name.is_long or name.determined):
        forms["many"] = name.many
    if not name.is_plural:
        forms["one"] = name.a
    return forms | {slot: pair[name.is_plural] for slot, pair in verbs.items()}


def part_of_image(box: Box) -> str:
    """The part of the image in which the centre of ``box`` lies, on a grid of three by three: "in the upper left"."""
    x, y = (min(int(3 * (a + b) / 2), 2) for a, b in ((box[0], box[2]), (box[1], box[3])))
    if x == 1:
        return ("at the top", "in the middle", "at the bottom")[y]
    side = ("left", "", "right")[x]
    return f"on the {side}" if y == 1 else f"in the {('upper', '', 'lower')[y]} {side}"


def direction(start: Box, end: Box) -> str | None:
    """The direction in which a centre has moved, or None if it has hardly moved."""
    dx, dy = (end[k] + end[k + 2] - start[k] - start[k + 2] for k in (0, 1))  # twice the step of the centre
    if max(abs(dx), abs(dy)) < 2 * STEP:
        return None
    side, height = "right" if dx > 0 else "left", "lower" if dy > 0 else "upper"
    if abs(dx) > 2.5 * abs(dy):
        return f"to the {side}"
    return ("down" if dy > 0 else "up") if abs(dy) > 2.5 * abs(dx) else f"to the {height} {side}"

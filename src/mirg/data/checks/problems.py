"""What may be wrong with a sample, how it is recorded, and the checks of its texts, boxes, rotations and labels.

Errors in texts are tokens that would become images or turns, images that are not there, and bad markup. Each of them
ends a training run or an evaluation, or gives the model one placeholder more than it gets images. Warnings are about
what is allowed and looks wrong: boxes that are tiny, repeated or as large as the image, photographs that EXIF rotates
(nothing in the file says in which orientation their boxes were drawn), and labels that are spelled in two ways.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from mirg.answers.blocks import TAGS
from mirg.answers.markup import cited, markup_problem
from mirg.answers.prompts import messages
from mirg.errors import ImageError, MirgError
from mirg.families import Family
from mirg.geometry import Box
from mirg.images import ORIENTATION_WORDS, Header
from mirg.samples import ImageRef, Sample
from mirg.samples.schema import EXIF_META

_NAMED = re.compile(r"Image-(\d{1,9})")
_MARKUP = "<box image="
# What datasets of other projects write where an image goes.
_FOREIGN = ("<image>", "<video>")

LISTED = 1000  # findings of one kind that are kept with their place; all are counted

# What each kind of warning means, and what to do about it.
HINTS: dict[str, str] = {
    "changed_rows": "copy the dataset again; if it was changed on purpose, mirg.samples.write_card describes it again",
    "tiny_box": "look at the sample: an object this small may not be visible, or the box is in other units",
    "whole_image_box": "look at the sample: such a box says nothing about the place",
    "repeated_box": "keep one of the two: a second equal target costs recall and cannot be answered",
    "long_box": "look at the sample: the sides of the box may be exchanged or in other units",
    "duplicate": "keep one of the two rows",
    "conflicting_targets": "the same question about the same images has two answers: keep the right one",
    "reordered": "keep both only if orders of the images are wanted (image_orders in a GRPO recipe makes them)",
    "copied_file": "name one of the two files in all rows: equal images then share decoding and image sets",
    "label_spelling": "import again with --labels, which merges labels: a question about one of them misses the other",
    "too_long": "lower --max-pixels or raise the limit of the recipe: training rejects a longer sample",
    "rotated_by_exif": "look at the sample (mirg data show): if its boxes are beside the objects, they were drawn in "
    "the stored picture; import it again with --exif ignore, or with --exif apply if they are right",
    "not_for_family": "this model family's processor refuses the image; leave the sample out for it, or pad the image",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to look at. ``row`` counts the lines of the dataset's samples.jsonl from 1."""

    kind: str  # a key of HINTS
    row: int
    id: str | None
    field: str
    reason: str
    level: str = "warning"

    def __str__(self) -> str:
        owner = f" (sample {self.id})" if self.id else ""
        return f"row {self.row}{owner}: {self.field}: {self.reason}"

    @property
    def hint(self) -> str:
        """What to do about it."""
        return HINTS[self.kind]

    def as_dict(self) -> dict[str, object]:
        """The finding as JSON values."""
        return {name: getattr(self, name) for name in ("kind", "level", "row", "id", "field", "reason", "hint")}


T = TypeVar("T")


class Log(Generic[T]):
    """Counts everything by kind and keeps the first of each: memory does not grow with what is wrong."""

    def __init__(self, most: int = LISTED) -> None:
        """``most``: entries of one kind that are kept."""
        self.most = most
        self.counts: Counter[str] = Counter()
        self.kept: list[T] = []

    def add(self, kind: str, entry: T) -> None:
        """Count ``entry``, and keep it if there is room."""
        self.counts[kind] += 1
        if self.counts[kind] <= self.most:
            self.kept.append(entry)

    def join(self, other: Log[T], kind: Callable[[T], str]) -> None:
        """Everything in ``other``, which has room for as many, after what is here; ``kind`` tells that of an entry."""
        more = other.counts.copy()
        for entry in other.kept:
            self.add(kind(entry), entry)
            more[kind(entry)] -= 1
        self.counts.update({name: number for name, number in more.items() if number})

    @property
    def total(self) -> int:
        """Everything that was counted."""
        return self.counts.total()


class Problem(NamedTuple):
    """Why a sample cannot be used: the field, what is wrong with it, and what to do."""

    field: str
    reason: str
    hint: str


def forbidden_tokens(families: Iterable[Family]) -> re.Pattern[str]:
    """What no text of a sample may hold: the families' tokens for images and turns, and ``<image>``."""
    tokens = {token for family in families for token in family.vision_tokens} | set(_FOREIGN)
    return re.compile("|".join(re.escape(token) for token in sorted(tokens, key=lambda token: (-len(token), token))))


def text_problem(sample: Sample, tokens: re.Pattern[str]) -> Problem | None:
    """The first thing that is wrong with a text of ``sample``, or None. ``tokens`` are :func:`forbidden_tokens`."""
    told, answer = sample.trajectory, sample.trajectory.answer if sample.trajectory else ()
    problem = _text_problem("question", sample.question, len(sample.images), tokens)
    if problem is None and told is not None:
        for tag in TAGS:
            if tag in told.thinking:
                hint = "remove it: it would end the thinking early"
                return Problem("trajectory.thinking", f"holds {tag!r}", hint)
        problem = _text_problem("trajectory.thinking", told.thinking, len(sample.images), tokens)
    for where, targets in (("targets", sample.targets), ("trajectory.answer", answer)):  # written into JSON answers
        for number, target in enumerate(targets):
            problem = problem or _token_problem(f"{where}.{number}.label", target.label, tokens)
    return problem


def prompt_problem(sample: Sample, families: Sequence[Family]) -> Problem | None:
    """Whether a prompt of ``sample`` holds as many placeholders as there are images, for each of ``families``.

    A question without ``<`` adds none to the one that each image gets, so only the others are written out.
    """
    if "<" not in sample.question or not all(ref.measured for ref in sample.images):
        return None
    for family in families:
        try:
            shown = placeholders(messages(sample, family), family)
        except ImageError:
            continue  # the family refuses an image, which is reported as such
        except MirgError as error:
            return Problem("question", error.message, error.hint)
        if shown != len(sample.images):
            reason = f"the {family.name} prompt holds {shown} image placeholders for {len(sample.images)} images"
            return Problem("question", reason, f"remove {family.image_token!r} from the question")
    return None


def placeholders(prompt: list[dict[str, list[dict[str, str]]]], family: Family) -> int:
    """Image placeholders in a prompt of :func:`mirg.answers.messages`: its image parts, and image tokens in texts."""
    parts = [part for message in prompt for part in message["content"]]
    return sum(1 if part["type"] == "image" else part["text"].count(family.image_token) for part in parts)


def _text_problem(field: str, text: str, n_images: int, tokens: re.Pattern[str]) -> Problem | None:
    if problem := _token_problem(field, text, tokens):
        return problem
    bad = markup_problem(text, n_images) if _MARKUP in text else None
    if bad:
        return Problem(field, bad, "boxes are fractions of the original image, image numbers count from 1")
    for number in map(int, _NAMED.findall(text)):
        if not 1 <= number <= n_images:
            reason = f"names Image-{number}, the sample has {n_images} images"
            return Problem(field, reason, "image numbers count from 1 in the order of the images")
    return None


def _token_problem(field: str, text: str, tokens: re.Pattern[str]) -> Problem | None:
    found = tokens.search(text) if "<" in text else None
    hint = "remove it: it would be read as a token, not as text"
    return Problem(field, f"holds {found.group()!r}", hint) if found else None


@dataclass(frozen=True)
class BoxLimits:
    """The limits beyond which a box is reported.

    ``min_side`` is a fraction of the image's side, ``min_pixels`` a side in pixels of the original image (if its
    size is known), ``max_area`` a fraction of the image's area, ``max_ratio`` the longer side over the shorter one.
    """

    min_side: float = 0.01
    min_pixels: float = 4.0
    max_area: float = 0.98
    max_ratio: float = 20.0


DEFAULT_BOXES = BoxLimits()


def box_warnings(sample: Sample, limits: BoxLimits = DEFAULT_BOXES) -> Iterator[tuple[str, str, str]]:
    """(kind, field, reason) for every target, and every box that the question gives, beyond ``limits``."""
    seen: set[tuple[int, Box]] = set()
    for number, target in enumerate(sample.targets):
        field = f"targets.{number}.box"
        for kind, reason in _problems(target.box, sample.images[target.image - 1], limits):
            yield kind, field, reason
        key = (target.image, target.box)
        if key in seen:
            yield "repeated_box", field, f"the same box in Image-{target.image} is an earlier target"
        seen.add(key)
    for image, box in _cited(sample):
        if 1 <= image <= len(sample.images):
            for kind, reason in _problems(box, sample.images[image - 1], limits):
                yield kind, "question", reason


def _cited(sample: Sample) -> list[tuple[int, Box]]:
    """The boxes of the question. Most questions have none, which is found fastest without the pattern."""
    return list(cited(sample.question)) if _MARKUP in sample.question else []


def _problems(box: Box, ref: ImageRef, limits: BoxLimits) -> Iterator[tuple[str, str]]:
    width, height = box[2] - box[0], box[3] - box[1]
    across, down = width * (ref.width or 1), height * (ref.height or 1)  # pixels where the size is known
    if width < limits.min_side or height < limits.min_side:
        yield "tiny_box", f"is {width * 100:.2g} % x {height * 100:.2g} % of {ref.path}"
    elif ref.width and (across < limits.min_pixels or down < limits.min_pixels):
        yield "tiny_box", f"is {across:.4g} x {down:.4g} pixels of {ref.path}"
    if width * height > limits.max_area:
        yield "whole_image_box", f"is {width * height * 100:.1f} % of {ref.path}"
    short, long = (across, down) if across < down else (down, across)
    if short > 0 and long > limits.max_ratio * short:
        yield "long_box", f"is {long / short:.0f} times as long as wide in {ref.path}"


def rotated(sample: Sample, header: Callable[[ImageRef], object]) -> Iterator[tuple[int, str]]:
    """(place from 0, what EXIF does) of the images with boxes that are not stored upright.

    ``header`` gives the :class:`mirg.images.Header` of an image, or anything else if it is not known. Nothing is
    yielded for a sample whose ``meta`` says that the question was settled when it was imported.
    """
    told = sample.meta.get(EXIF_META)
    if told and not isinstance(told, list):
        return
    with_boxes = {target.image for target in sample.targets} | {image for image, _ in _cited(sample)}
    for place, ref in enumerate(sample.images):
        settled = isinstance(told, list) and place < len(told) and told[place]
        found = None if settled else header(ref)
        if isinstance(found, Header) and found.orientation != 1 and (ref.objects or place + 1 in with_boxes):
            yield place, f"image {ref.path} is {ORIENTATION_WORDS[found.orientation]} by EXIF"

"""What is wrong with one sample: errors in its texts, and warnings about its boxes, rotations and labels.

Errors in texts are tokens that would become images or turns, images that are not there, and bad markup. Each of them
ends a training run or an evaluation, or gives the model one placeholder more than it gets images. Warnings are about
what is allowed and looks wrong: boxes that are tiny, repeated or as large as the image, photographs that EXIF rotates
(nothing in the file says in which orientation their boxes were drawn), and labels that are spelled in two ways.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mirg.answers.blocks import TAGS
from mirg.answers.markup import cited, markup_problem
from mirg.answers.prompts import messages
from mirg.errors import ImageError, MirgError
from mirg.frames import Family
from mirg.geometry import Box
from mirg.images import ORIENTATION_WORDS, Header
from mirg.samples import ImageRef, Sample
from mirg.samples.labels import LabelCounts
from mirg.samples.schema import EXIF_META

_NAMED = re.compile(r"Image-(\d{1,9})")
_MARKUP = "<box image="
# What datasets of other projects write where an image goes.
_FOREIGN = ("<image>", "<video>")


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
    problem = _text_problem("question", sample.question, len(sample.images), tokens)
    if problem is None and sample.trajectory is not None:
        thinking = sample.trajectory.thinking
        problem = _tag_problem(thinking) or _text_problem("trajectory.thinking", thinking, len(sample.images), tokens)
    return problem or _label_problem(sample, tokens)


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
    if "<" in text:
        found = tokens.search(text)
        if found:
            return Problem(field, f"holds {found.group()!r}", "remove it: it would be read as a token, not as text")
        bad = markup_problem(text, n_images) if _MARKUP in text else None
        if bad:
            return Problem(field, bad, "boxes are fractions of the original image, image numbers count from 1")
    for number in map(int, _NAMED.findall(text)):
        if not 1 <= number <= n_images:
            reason = f"names Image-{number}, the sample has {n_images} images"
            return Problem(field, reason, "image numbers count from 1 in the order of the images")
    return None


def _tag_problem(thinking: str) -> Problem | None:
    if "<" in thinking:
        for tag in TAGS:
            if tag in thinking:
                return Problem("trajectory.thinking", f"holds {tag!r}", "remove it: it would end the thinking early")
    return None


def _label_problem(sample: Sample, tokens: re.Pattern[str]) -> Problem | None:
    """Labels are written into JSON answers."""
    answer = sample.trajectory.answer if sample.trajectory else ()
    for where, targets in (("targets", sample.targets), ("trajectory.answer", answer)):
        for number, target in enumerate(targets):
            if "<" in target.label and (found := tokens.search(target.label)):
                hint = "remove it: it would be read as a token, not as text"
                return Problem(f"{where}.{number}.label", f"holds {found.group()!r}", hint)
    return None


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
    if "<box image=" in sample.question:
        for image, box in cited(sample.question):
            if 1 <= image <= len(sample.images):
                for kind, reason in _problems(box, sample.images[image - 1], limits):
                    yield kind, "question", reason


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
    settled = told if isinstance(told, list) else []
    for place, ref in enumerate(sample.images):
        if place < len(settled) and settled[place]:
            continue
        found = header(ref)
        if isinstance(found, Header) and found.orientation != 1 and _has_boxes(sample, place + 1):
            yield place, f"image {ref.path} is {ORIENTATION_WORDS[found.orientation]} by EXIF"


def _has_boxes(sample: Sample, image: int) -> bool:
    noted = bool(sample.images[image - 1].objects) or any(target.image == image for target in sample.targets)
    return noted or ("<box image=" in sample.question and any(number == image for number, _ in cited(sample.question)))


def count_labels(counts: LabelCounts, row: int, sample: Sample) -> None:
    """Count the labels of the object notes of ``sample``, or of its targets if it has no notes."""
    notes = [note.label for ref in sample.images for note in ref.objects]
    for label in notes or [target.label for target in sample.targets]:
        counts.add(label, row)


def spelling_warnings(counts: LabelCounts) -> Iterator[tuple[str, int, str]]:
    """(kind, row of the first use of the rarest label, reason) for every group of labels that seem to be one."""
    for found in counts.spellings():
        yield "label_spelling", found.uses[-1].row, str(found)

"""Errors in the texts of a sample: tokens that would become images or turns, images that are not there, bad markup.

Each of these ends a training run or an evaluation, or gives the model one placeholder more than it gets images.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mirg.answers.blocks import TAGS
from mirg.answers.markup import markup_problem
from mirg.answers.prompts import messages
from mirg.errors import ImageError, MirgError
from mirg.frames import Family
from mirg.samples import Sample

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

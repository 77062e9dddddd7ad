"""Items of multiple-choice benchmarks: what is asked, what is right, and how both are kept in a sample."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from mirg.answers.blocks import forbid_vision
from mirg.answers.prompts import Instructions
from mirg.data.importers.rows import Refused, short
from mirg.families import Family, PixelLimits
from mirg.samples import Sample

Kind = Literal["option", "truth", "number"]
Side = Literal["", "answerable", "unanswerable", "true", "false"]

IMAGE = "<image>"  # the place of an image in a question; a text without any has its images before it
TRUTH = {"T": "True", "F": "False"}
NO_ANSWER = "None of the choices provided"  # the option of MuirBench
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
META = "choice"  # key of Sample.meta

_OPTION_LINE = re.compile(r"\(([A-Z])\)[ \t]*([^\n(]*)")
REASON = (
    "\nFirst reason about the images. Write the reasoning between <think> and </think>, then only {what} between "
    "<answer> and </answer>."
)
_WHAT = {"option": "the letter of the option", "truth": "T or F", "number": "the number"}


class Key(BaseModel):
    """The truth of an item, kept in ``Sample.meta["choice"]``.

    ``options`` has the text of each option by its letter, "" if the option is an image, and is empty for a number.
    ``answer`` is a letter or a number in digits. Items with one ``pair`` are two versions of one question, told apart
    by their ``side``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    options: dict[str, str]
    answer: str
    pair: str = ""
    side: Side = ""


class Item(NamedTuple):
    """An item as a reader gives it: ``text`` is the whole prompt, ``images`` are paths, bytes, or cells with both."""

    id: str
    task: str
    text: str
    images: Sequence[Any]
    key: Key


def key_of(sample: Sample) -> Key:
    """The truth that is kept in a sample of a multiple-choice benchmark."""
    return Key.model_validate(sample.meta[META])


def lettered(options: Sequence[str]) -> dict[str, str]:
    """Options by their letters, A first. Refused if there are fewer than two, or more than letters."""
    if not 2 <= len(options) <= len(LETTERS):
        raise Refused("options", f"{len(options)} of them", "a question has at least two options")
    return {letter: "" if IMAGE in text else text for letter, text in zip(LETTERS, options, strict=False)}


def options_in(text: str) -> dict[str, str]:
    """The options that a question lists, as in ``(A) two dogs``."""
    return {letter: words.strip() for letter, words in _OPTION_LINE.findall(text)}


def letter_of(answer: str, options: Mapping[str, str]) -> str:
    """The letter of a right answer, such as ``(B)``, ``B`` or ``B) two dogs``. Refused if it is no option."""
    match = re.match(r"\s*\(?([A-Za-z])(?![A-Za-z])", answer)
    letter = match[1].upper() if match else ""
    if letter not in options:
        hint = "the answers of a test split may not be published: use the split with answers"
        raise Refused("answer", f"{short(answer)} is not one of the options {', '.join(options)}", hint)
    return letter


def direct(sample: Sample, family: Family, limits: PixelLimits | None, how: Instructions) -> list[dict[str, Any]]:
    """The prompt as the benchmark words it: one user message with the images at their places in the text."""
    return _message(sample, family, sample.question)


def reasoned(sample: Sample, family: Family, limits: PixelLimits | None, how: Instructions) -> list[dict[str, Any]]:
    """The same, followed by a request to reason first and to answer in tags, as models trained by mirg do."""
    return _message(sample, family, sample.question + REASON.format(what=_WHAT[key_of(sample).kind]))


PROMPTS = {"published": direct, "reasoned": reasoned}


def _message(sample: Sample, family: Family, text: str) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for number, words in enumerate((IMAGE * len(sample.images) + text if IMAGE not in text else text).split(IMAGE)):
        if number:
            parts.append({"type": "image", "text": None})
        if words:
            forbid_vision(words, family, f"the question of sample {sample.id!r}")
            parts.append({"type": "text", "text": words})
    return [{"role": "user", "content": parts}]

"""How long the samples are for each model family: prompt, images and, if there is one, the completion."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from mirg.answers.blocks import LOOK_CLOSE
from mirg.answers.looks import LookBudget, replay
from mirg.answers.prompts import instruction_text, question_text, write_completion
from mirg.errors import ConfigError, MirgError
from mirg.families import FAMILIES, MIRG_TINY, Family, PixelLimits
from mirg.frames import Size
from mirg.samples import Sample
from mirg.samples.tokens import CountText, image_tokens, mark_tokens, template_tokens, text_tokens

LONGEST = 5  # samples that are named
_SIZES_KEPT = 100_000  # sizes of images whose tokens are remembered
BINS = 20
_LOOKS = LookBudget(max_looks=16)  # as many as a recipe can allow


class SampleTokens(NamedTuple):
    """Tokens of one sample: those of its images, and all, with those of its texts and of the chat template."""

    images: int
    total: int


class SampleCounter:
    """Counts the tokens of samples for one family: prompt, images and, if there is a trajectory, the completion.

    Looks of a trajectory count with the turns that show their crops.

    ``count`` counts the tokens of a text. The tokens of a size, and of the words that every prompt with the same number
    of images has in common, are counted once.
    """

    def __init__(self, family: Family, limits: PixelLimits | None = None, count: CountText = text_tokens) -> None:
        self.family = family
        self.limits = limits or family.limits
        self._count = count
        self._image = lru_cache(_SIZES_KEPT)(lambda size: image_tokens(size, family, self.limits))
        self._common: dict[int, int] = {}

    def __call__(self, sample: Sample) -> SampleTokens:
        """The tokens of ``sample``.

        Raises DataError if the size of an image is not known, AnswerError or ImageError if the family can have no such
        prompt or completion.
        """
        sizes = sample.sizes
        visual = sum(map(self._image, sizes))
        text = sum(mark_tokens(size, self.family, self.limits) for size in sizes)
        text += self._in_common(len(sizes)) + self._count(f"\n{question_text(sample, self.family, self.limits)}")
        told = sample.trajectory
        if told is not None:
            said = write_completion(told.thinking, told.answer, sizes, self.family, limits=self.limits)
            crops = self._crops(said, sizes) if LOOK_CLOSE in said else []
            visual += sum(shown for shown, _ in crops)
            text += self._count(said) + sum(reply for _, reply in crops)
        return SampleTokens(visual, visual + text)

    def _crops(self, completion: str, sizes: Sequence[Size]) -> list[tuple[int, int]]:
        """(visual, other) tokens of the turn that shows the crop of each look, as large as it is by default."""
        return [
            (
                self._image(step.shown),
                mark_tokens(step.shown, self.family, self.limits)
                + self._count(f"{step.name}: ")
                + template_tokens(self.family, 1),
            )
            for step in replay(completion, sizes, self.family, _LOOKS, self.limits)
            if step.shown
        ]

    def _in_common(self, n: int) -> int:
        """Tokens of the labels of ``n`` images, of the instructions and of the chat template."""
        if n not in self._common:
            labels = "\n".join(f"Image-{k}: " for k in range(1, n + 1))
            told = f"\n{instruction_text(self.family)}"
            self._common[n] = self._count(labels) + self._count(told) + template_tokens(self.family, n)
        return self._common[n]


def limits_for(family: Family, max_pixels: int | None) -> PixelLimits:
    """The family's limits with another upper limit.

    Raises ConfigError if that is below the lower limit, and for the tiny model, whose patches are set by its recipe.
    """
    if family.name == MIRG_TINY.name:
        known = ", ".join(name for name in FAMILIES if name != MIRG_TINY.name)
        raise ConfigError(f"tokens of {family.name} are not counted: its recipe sets them", hint=f"known: {known}")
    if max_pixels is None:
        return family.limits
    if max_pixels < family.limits.min_pixels:
        raise ConfigError(
            f"--max-pixels {max_pixels} is less than {family.name} makes of any image",
            hint=f"its images have at least {family.limits.min_pixels} pixels",
        )
    return PixelLimits(family.limits.min_pixels, max_pixels)


@dataclass
class LengthCounts:
    """What was counted so far. ``longest`` are (tokens, minus the number of the sample, its id), the longest first."""

    unmeasured: int = 0
    refused: int = 0
    too_long: int = 0
    visual: int = 0
    tokens: array[int] = field(default_factory=lambda: array("I"))
    longest: list[tuple[int, int, str]] = field(default_factory=list)

    def name(self, *found: tuple[int, int, str]) -> None:
        """Keep the longest samples. Of equally long samples the earlier one is named."""
        if len(self.longest) < LONGEST or max(found) > self.longest[-1]:
            self.longest = sorted((*self.longest, *found), reverse=True)[:LONGEST]


class Lengths:
    """Counts the tokens of samples for one family; 4 bytes a sample."""

    def __init__(
        self, family: Family, max_pixels: int | None, count: CountText, text: str, max_tokens: int | None = None
    ) -> None:
        """``count`` counts a text, ``text`` says how; samples of more than ``max_tokens`` are counted as too long."""
        self.family, self.max_tokens, self.text = family, max_tokens, text
        self.limits = limits_for(family, max_pixels)
        self._count = SampleCounter(family, self.limits, count)
        self._so_far = LengthCounts()

    def add(self, sample: Sample) -> int | None:
        """The tokens of one sample, None where the sizes of its images are not known.

        AnswerError or ImageError if the family can have no such prompt; it is counted as refused.
        """
        so_far = self._so_far
        if not all(ref.measured for ref in sample.images):
            so_far.unmeasured += 1
            return None
        try:
            found = self._count(sample)
        except MirgError:
            so_far.refused += 1
            raise
        so_far.visual += found.images
        so_far.tokens.append(found.total)
        so_far.name((found.total, -len(so_far.tokens), sample.id))
        so_far.too_long += self.max_tokens is not None and found.total > self.max_tokens
        return found.total

    def take(self) -> LengthCounts:
        """What was counted; counting starts again."""
        taken, self._so_far = self._so_far, LengthCounts()
        return taken

    def join(self, later: LengthCounts) -> None:
        """Add what was counted of samples that come after all of these."""
        so_far = self._so_far
        if later.longest:
            so_far.name(*((tokens, place - len(so_far.tokens), name) for tokens, place, name in later.longest))
        so_far.tokens += later.tokens
        so_far.unmeasured += later.unmeasured
        so_far.refused += later.refused
        so_far.too_long += later.too_long
        so_far.visual += later.visual

    def summary(self) -> dict[str, Any]:
        """The distribution so far as JSON values.

        ``text`` says how texts were counted, ``image_share`` is that of image tokens among all. ``unmeasured`` are the
        samples whose images have no known size, ``refused`` those that this family's processor or writer refuses.
        """
        so_far = self._so_far
        tokens = np.asarray(so_far.tokens, dtype=np.int64)
        some = tokens.size > 0
        p50, p95 = np.percentile(tokens, (50, 95), method="lower").tolist() if some else (0, 0)
        counts, edges = np.histogram(tokens, bins=BINS) if some else (np.zeros(0, int), np.zeros(0))
        return {
            "family": self.family.name,
            "max_pixels": self.limits.max_pixels,
            "text": self.text,
            "samples": int(tokens.size),
            "unmeasured": so_far.unmeasured,
            "refused": so_far.refused,
            "p50": p50,
            "p95": p95,
            "max": int(tokens.max(initial=0)),
            "image_share": round(so_far.visual / max(1, int(tokens.sum())), 4),
            "too_long": so_far.too_long,
            "longest": [{"tokens": tokens, "id": name} for tokens, _, name in so_far.longest],
            "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
        }

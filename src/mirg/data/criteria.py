"""What a sample must be to pass a filter, and in which words it is dropped."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mirg.data.checks.lengths import SampleCounter
from mirg.errors import MirgError
from mirg.frames import PixelLimits, family
from mirg.samples import Sample


class Criteria(BaseModel):
    """Every criterion that is set must hold. Sizes are areas of targets as shares of their image, 0 to 1.

    A sample without targets has no size and passes ``min_size`` and ``max_size``; one without ``meta["pass_rate"]``
    or ``meta["reward_std"]`` (numbers from 0 to 1) fails the criterion of that name unless ``keep_unrated``. Bounds are
    inclusive.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: tuple[str, ...] = ()
    not_tasks: tuple[str, ...] = ()
    sources: tuple[str, ...] = Field(default=(), description="Patterns of Sample.source, * for anything.")
    min_images: int = Field(default=1, ge=1)
    max_images: int | None = Field(default=None, ge=1)
    min_size: float = Field(default=0.0, ge=0, le=1)
    max_size: float = Field(default=1.0, ge=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    family: str | None = None
    min_pixels: int | None = Field(default=None, ge=1)
    max_pixels: int | None = Field(default=None, ge=1)
    hidden_only: bool = False
    has_trajectory: bool = False
    pass_rate: tuple[float, float] | None = None
    reward_std: tuple[float, float] | None = None
    keep_unrated: bool = False

    @model_validator(mode="after")
    def _bounds(self) -> Criteria:
        pairs = {
            "images": (self.min_images, self.max_images or self.min_images),
            "size": (self.min_size, self.max_size),
            "pass_rate": self.pass_rate or (0, 0),
            "reward_std": self.reward_std or (0, 0),
        }
        for name, (low, high) in pairs.items():
            if low > high:
                raise ValueError(f"{name}: the least ({low}) is more than the most ({high})")
        if self.max_tokens and not self.family:
            raise ValueError("max_tokens needs a family: tokens of one are not those of another")
        if self.family:
            family(self.family)
        return self

    @property
    def limits(self) -> PixelLimits | None:
        """Pixels of a resized image; None for those of the family."""
        if self.family is None or (self.min_pixels is None and self.max_pixels is None):
            return None
        own = family(self.family).limits
        return PixelLimits(self.min_pixels or own.min_pixels, self.max_pixels or own.max_pixels)

    def words(self) -> str:
        """The criteria that are set, as they are spelled here: for the card of what passed."""
        told = self.model_dump(exclude_defaults=True)
        return ", ".join(f"{name} {_spelled(value)}" for name, value in told.items()) or "everything"


def _spelled(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def why_dropped(sample: Sample, criteria: Criteria) -> str | None:
    """The first criterion that ``sample`` fails, in a few words that many samples share; None where it passes."""
    return (
        _by_kind(sample, criteria)
        or _by_images_and_sizes(sample, criteria)
        or _by_measured(sample, criteria)
        or _by_tokens(sample, criteria)
    )


def _by_kind(sample: Sample, criteria: Criteria) -> str | None:
    if (criteria.tasks and sample.task not in criteria.tasks) or sample.task in criteria.not_tasks:
        return "task"
    if criteria.sources and not any(fnmatchcase(sample.source, pattern) for pattern in criteria.sources):
        return "source"
    if criteria.hidden_only and not sample.image_hidden:
        return "image not hidden"
    if criteria.has_trajectory and sample.trajectory is None:
        return "no trajectory"
    return None


def _by_images_and_sizes(sample: Sample, criteria: Criteria) -> str | None:
    count = len(sample.images)
    if count < criteria.min_images:
        return "too few images"
    if criteria.max_images is not None and count > criteria.max_images:
        return "too many images"
    areas = [(t.box[2] - t.box[0]) * (t.box[3] - t.box[1]) for t in sample.targets]
    if any(area < criteria.min_size for area in areas):
        return "target too small"
    if any(area > criteria.max_size for area in areas):
        return "target too large"
    return None


def _by_measured(sample: Sample, criteria: Criteria) -> str | None:
    for key, bounds in (("pass_rate", criteria.pass_rate), ("reward_std", criteria.reward_std)):
        if bounds is None:
            continue
        name, value, (low, high) = key.replace("_", " "), sample.meta.get(key), bounds
        if isinstance(value, bool) or not isinstance(value, int | float):
            if not criteria.keep_unrated:
                return f"no {name}"
        elif not low <= value <= high:
            return name
    return None


@lru_cache(maxsize=8)
def _counter(name: str, limits: PixelLimits | None) -> SampleCounter:
    return SampleCounter(family(name), limits)


def _by_tokens(sample: Sample, criteria: Criteria) -> str | None:
    if criteria.max_tokens is None or criteria.family is None:
        return None
    try:
        tokens = _counter(criteria.family, criteria.limits)(sample).total
    except MirgError:
        return "tokens cannot be counted" if all(ref.measured for ref in sample.images) else "image size not known"
    return "too many tokens" if tokens > criteria.max_tokens else None

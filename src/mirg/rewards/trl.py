"""Rewards as TRL's GRPOTrainer takes them: one function per part, so that each is logged, and their weights.

The dataset needs a column ``record`` with the sample's JSON (``Sample.model_dump_json()``). A completion is scored
once, whichever of the functions asks first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import ValidationError

from mirg.errors import ConfigError, DataError
from mirg.frames import Family, PixelLimits
from mirg.rewards.total import PARTS, RewardConfig, Score, score
from mirg.samples.schema import Sample

RewardFunction = Callable[..., list[float]]

_CACHED_SCORES = 8192  # a few steps' completions
_CACHED_SAMPLES = 1024


class Scorer:
    """Scores (completion, sample's JSON) pairs, each once; shared by the reward functions and whoever logs rollouts."""

    def __init__(self, config: RewardConfig, family: Family, limits: PixelLimits | None = None) -> None:
        self.config = config
        self._sample = lru_cache(_CACHED_SAMPLES)(_sample)
        self._score = lru_cache(_CACHED_SCORES)(
            lambda text, record: score(text, self._sample(record), family, config, limits)
        )

    def __call__(self, completion: object, record: str) -> Score:
        """The score of one completion, a string or a list of messages. Raises :class:`DataError` on a bad record."""
        return self._score(completion_text(completion), record)

    @property
    def scored(self) -> int:
        """How many times a completion was really scored; the other calls were answered from the cache."""
        return self._score.cache_info().misses


class RewardFunctions(NamedTuple):
    """What GRPOTrainer takes as ``reward_funcs`` and ``reward_weights``; ``scorer`` gives the reasons behind them.

    ``sum(weight * part)`` is the total of :func:`mirg.rewards.score`.
    """

    functions: list[RewardFunction]
    weights: list[float]
    scorer: Scorer


def reward_functions(config: RewardConfig, family: Family, limits: PixelLimits | None = None) -> RewardFunctions:
    """Functions named "format", "image" and "object" that return the raw parts, with the weights of ``config``.

    In an arm without an image term, "image" has weight 0 and is only logged.
    """
    scorer = Scorer(config, family, limits)
    functions = [_named(name, _part_getter(name), scorer) for name in PARTS]
    return RewardFunctions(functions, list(config.shares), scorer)


def total_reward(config: RewardConfig, family: Family, limits: PixelLimits | None = None) -> RewardFunction:
    """One function named "total" that returns the weighted total, for trainers that take a single reward."""
    return _named("total", lambda found: found.total, Scorer(config, family, limits))


def _part_getter(name: str) -> Callable[[Score], float]:
    return lambda found: getattr(found, name).value


def _named(name: str, value: Callable[[Score], float], scorer: Scorer) -> RewardFunction:
    def reward(completions: Sequence[object], record: Sequence[str] | None = None, **_: Any) -> list[float]:
        if record is None:
            raise ConfigError("the dataset has no column 'record'", hint="it must hold each sample's JSON")
        return [value(scorer(completion, row)) for completion, row in zip(completions, record, strict=True)]

    reward.__name__ = reward.__qualname__ = name
    reward.__doc__ = f"The {name} reward of each completion, in [0, 1]."
    return reward


def completion_text(completion: object) -> str:
    """The text of a completion: a string, or messages whose content is a string or a list of parts. Never raises."""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, dict):
        return completion_text(completion.get("content") or completion.get("text") or "")
    if isinstance(completion, list | tuple):
        return "".join(completion_text(item) for item in completion)
    return ""


def _sample(record: str) -> Sample:
    try:
        return Sample.model_validate_json(record)
    except ValidationError as error:
        raise DataError(
            f"a 'record' is not a sample: {error}", hint="write it with Sample.model_dump_json()"
        ) from error

"""Rewards as TRL's GRPOTrainer takes them: one function per part, so that each is logged, and their weights.

The dataset needs a column ``sample`` with :class:`mirg.samples.Sample` objects, or a column ``record`` with their JSON
(``Sample.model_dump_json()``), since an Arrow table cannot hold objects. A completion is scored once, whichever of the
functions is called first.

A plug-in reward is a function ``score(text, sample)`` in a file of the user's. It is called with the text of one
completion and the sample of its prompt, and returns a finite number, which should be in [0, 1].
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from operator import attrgetter
from typing import Any, NamedTuple

from pydantic import ValidationError

from mirg.errors import ConfigError, DataError
from mirg.families import Family, PixelLimits
from mirg.plugins import number_plugin
from mirg.rewards.total import PARTS, RewardConfig, Score, score
from mirg.samples.schema import Sample

RewardFunction = Callable[..., list[float]]

_CACHED_SCORES = 8192  # a few steps' completions
_CACHED_SAMPLES = 1024
_WHAT = "reward function"


class Scorer:
    """Scores pairs of completion and sample, each pair once.

    The reward functions and the log of rollouts share one scorer. ``opened`` is the beginning of every answer that the
    chat template writes, such as ``<think>``; :meth:`turn` puts it before a completion. ``looks`` as in
    :func:`mirg.rewards.total.score`.
    """

    def __init__(
        self,
        config: RewardConfig,
        family: Family,
        limits: PixelLimits | None = None,
        opened: str = "",
        *,
        looks: bool = False,
    ) -> None:
        self.config, self.opened, self.looks = config, opened, looks
        self._family, self._limits = family, limits
        # An entry keeps its sample, so that the sample's identity is not given to another object.
        self._scores: OrderedDict[tuple[str, int], tuple[Sample, Score]] = OrderedDict()
        self.scored = 0
        """How many times a completion was really scored; the other calls were answered from the cache."""

    def turn(self, completion: object) -> str:
        """The whole turn of the assistant: what the chat template writes of it, and the completion."""
        return self.opened + completion_text(completion)

    def __call__(self, completion: object, sample: Sample | str) -> Score:
        """The score of one whole turn, a string or a list of messages, for a sample or the JSON of one.

        DataError if the JSON is not that of a sample.
        """
        text = completion_text(completion)
        if isinstance(sample, str):
            sample = sample_of(sample)
        key = text, id(sample)
        if key not in self._scores:
            self.scored += 1
            made = score(text, sample, self._family, self.config, self._limits, looks=self.looks)
            self._scores[key] = sample, made
            if len(self._scores) > _CACHED_SCORES:
                self._scores.popitem(last=False)
        return self._scores[key][1]


class RewardFunctions(NamedTuple):
    """What GRPOTrainer takes as ``reward_funcs`` and ``reward_weights``; ``scorer`` gives the reasons behind them.

    ``sum(weight * part)`` is the total of :func:`mirg.rewards.score`.
    """

    functions: list[RewardFunction]
    weights: list[float]
    scorer: Scorer


def reward_functions(
    config: RewardConfig,
    family: Family,
    limits: PixelLimits | None = None,
    plugins: Sequence[tuple[RewardFunction, float]] = (),
    *,
    opened: str = "",
    looks: bool = False,
) -> RewardFunctions:
    """Functions named "format", "image" and "object" that return the raw parts, with the weights of ``config``.

    In an arm without an image term, "image" has weight 0 and is only logged. ``plugins`` are further functions, for
    example from :func:`plugin_reward`, with the weight of each beside the total of the three parts, which is in [0, 1].
    ``opened`` as in :class:`Scorer`: every function is given whole turns. ``looks`` as in :func:`mirg.rewards.score`.
    """
    scorer = Scorer(config, family, limits, opened, looks=looks)
    functions = [_named(name, f"{name}.value", scorer) for name in PARTS]
    further, weights = [function for function, _ in plugins], [weight for _, weight in plugins]
    given = [_of_turns(function, scorer) if opened else function for function in (*functions, *further)]
    return RewardFunctions(given, [*config.shares, *weights], scorer)


def _of_turns(function: RewardFunction, scorer: Scorer) -> RewardFunction:
    @wraps(function)
    def reward(completions: Sequence[object], **others: Any) -> list[float]:
        return function(completions=[scorer.turn(said) for said in completions], **others)

    return reward


def total_reward(config: RewardConfig, family: Family, limits: PixelLimits | None = None) -> RewardFunction:
    """One function named "total" that returns the weighted total, for trainers that take a single reward."""
    return _named("total", "total", Scorer(config, family, limits))


def plugin_reward(name: str) -> RewardFunction:
    """The plug-in reward ``FILE.py:NAME`` as a function that TRL takes; its name in the metrics is NAME.

    ConfigError if NAME is one of mirg's rewards; other errors as :func:`mirg.plugins.number_plugin`.
    """
    function = number_plugin(name, what=_WHAT)
    label = name.rpartition(":")[2]
    if label in PARTS:
        raise ConfigError(
            f"the {_WHAT} {name} has the name of one of mirg's rewards", hint="give the function another name"
        )

    def one(completion: object, sample: Sample) -> float:
        return function(sample.id, completion_text(completion), sample)

    return adapted(one, label, f"The value of the plug-in {name} for each completion.")


def _named(name: str, field: str, scorer: Scorer) -> RewardFunction:
    value = attrgetter(field)
    what = f"The {name} reward of each completion, in [0, 1]."
    return adapted(lambda completion, sample: value(scorer(completion, sample)), name, what)


def adapted(one: Callable[[object, Sample], float], name: str, what: str) -> RewardFunction:
    """A reward with TRL's signature out of a function of one completion and its sample; ``what`` is its docstring."""

    def reward(
        completions: Sequence[object],
        sample: Sequence[Sample] | None = None,
        record: Sequence[str] | None = None,
        **_: Any,
    ) -> list[float]:
        if sample is None and record is None:
            raise ConfigError(
                "the dataset has neither a column 'sample' nor a column 'record'",
                hint="'sample' holds Sample objects, 'record' the JSON of each sample",
            )
        samples = sample if sample is not None else [sample_of(row) for row in record or ()]
        return [one(completion, of) for completion, of in zip(completions, samples, strict=True)]

    reward.__name__ = reward.__qualname__ = name
    reward.__doc__ = what
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


@lru_cache(_CACHED_SAMPLES)
def sample_of(record: str) -> Sample:
    """The sample whose JSON is ``record``; equal texts give one object. DataError if it is not a sample."""
    try:
        return Sample.model_validate_json(record)
    except ValidationError as error:
        raise DataError(
            f"a 'record' is not a sample: {error}", hint="write it with Sample.model_dump_json()"
        ) from error

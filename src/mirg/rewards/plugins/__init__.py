"""mirg's reward in other trainers: verl, EasyR1 and ms-swift (docs/how-to/other-trainers.md).

Each of these trainers loads a reward function from a file and passes it a column of the dataset. There is one file for
each of them here; all three call :func:`score_row`. The files are named ``for_…`` because ms-swift puts the folder of a
plug-in in front of ``sys.path``, where a file ``verl.py`` would hide the package.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from mirg.errors import ConfigError, DataError, first_problem
from mirg.families import Family, PixelLimits, family
from mirg.rewards.total import PARTS, RewardConfig, Score, score
from mirg.rewards.trl import sample_of
from mirg.samples.schema import ANSWER_FRAME_META, Sample


def score_row(text: str, record: str, *, opened: str = "", **settings: Any) -> Score:
    """The score of a completion against the ``record`` of an exported row, which names the model family.

    ``opened`` is what the chat template has written of the answer before the completion, for example ``"<think>"``;
    ``settings`` are fields of :class:`mirg.rewards.RewardConfig`. Any ``text`` has a score. DataError if the record is
    not one of ``mirg data export``, ConfigError if a setting does not exist or has a wrong value.
    """
    sample = sample_of(record)
    chosen, limits = answer_frame(sample)
    return score(opened + text, sample, chosen, reward_config(**settings), limits)


def parts_of(found: Score, total: str) -> dict[str, float]:
    """The values of a score by name; ``total`` is the trainer's name for the reward."""
    return {total: found.total, **dict(zip(PARTS, found.values, strict=True))}


def answer_frame(sample: Sample) -> tuple[Family, PixelLimits]:
    """The model family and the processor's pixel limits for which a row was exported; DataError if it does not say."""
    told = sample.meta.get(ANSWER_FRAME_META)
    try:
        return family(told["family"]), PixelLimits(told["min_pixels"], told["max_pixels"])  # type: ignore[index,call-overload]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"the record of sample {sample.id} does not name a model family",
            hint="write the dataset with `mirg data export` of this release",
        ) from error


def reward_config(**settings: Any) -> RewardConfig:
    """The reward with these ``settings``; ConfigError names the one that is wrong."""
    try:
        return RewardConfig.model_validate(settings)
    except ValidationError as error:
        field, reason = first_problem(error)
        raise ConfigError(
            f"the reward setting {field!r} cannot be used: {reason}",
            hint=f"known: {', '.join(RewardConfig.model_fields)}",
        ) from error

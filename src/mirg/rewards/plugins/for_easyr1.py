"""The reward function of EasyR1, on rows that ``mirg data export --to easyr1`` wrote.

    worker.reward.reward_function=…/mirg/rewards/plugins/for_easyr1.py:compute_score

Interface: ``verl/workers/reward/function.py`` of EasyR1, which reads REWARD_NAME and REWARD_TYPE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mirg.rewards.plugins import parts_of, score_row

REWARD_NAME = "mirg"
REWARD_TYPE = "batch"


def compute_score(reward_inputs: Sequence[Mapping[str, Any]], **settings: Any) -> list[dict[str, float]]:
    """``overall``, the total in [0, 1], and its parts, for each input; ``settings`` as :func:`score_row`.

    An input has the keys ``response``, ``response_length`` and ``ground_truth``, which is the record of the row.
    """
    return [parts_of(score_row(one["response"], one["ground_truth"], **settings), "overall") for one in reward_inputs]

"""Reward functions of ms-swift, on rows of ``grpo.jsonl`` that ``mirg data export --to ms-swift`` wrote.

    swift rlhf --rlhf_type grpo --external_plugins …/mirg/rewards/plugins/for_ms_swift.py --reward_funcs mirg

``mirg`` is the total; ``mirg_format``, ``mirg_image`` and ``mirg_object`` are its parts, to be weighted with
``--reward_weights``. Interface: ``swift/rewards/orm.py`` and ``swift/rl_core/grpo_algorithm.py`` of ms-swift 4.6.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mirg.rewards.plugins import parts_of, score_row
from mirg.rewards.total import PARTS


class MirgReward:
    """One value of mirg's reward; a subclass may set ``settings`` of :func:`score_row`, for example the arm."""

    value: ClassVar[str] = "total"
    settings: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, args: Any = None, **_: Any) -> None:
        """``args`` are the arguments of ms-swift's trainer, which this reward does not need."""

    def __call__(self, completions: Sequence[str], record: Sequence[str], **_: Any) -> list[float]:
        """The value in [0, 1] for each completion; ``record`` is the column of that name."""
        scores = (score_row(text, row, **self.settings) for text, row in zip(completions, record, strict=True))
        return [parts_of(found, "total")[self.value] for found in scores]


# The name of the class is that of the reward in ms-swift's metrics.
REWARDS: dict[str, type[MirgReward]] = {
    "mirg": MirgReward,
    **{f"mirg_{part}": type(f"Mirg{part.title()}", (MirgReward,), {"value": part}) for part in PARTS},
}

if "swift" in sys.modules:  # ms-swift is loading this file: its table of rewards gets these entries
    importlib.import_module("swift.rewards").orms.update(REWARDS)

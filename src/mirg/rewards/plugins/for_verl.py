"""The reward function of verl, on rows that ``mirg data export --to verl`` wrote.

    reward.custom_reward_function.path=pkg://mirg.rewards.plugins.for_verl

Interface: ``verl/trainer/ppo/reward.py`` (``get_custom_reward_fn``) and the reward managers of verl 0.9.
"""

from __future__ import annotations

from typing import Any

from mirg.rewards.plugins import parts_of, score_row

_MODELS = ("reward_router_address", "reward_model_tokenizer")  # of a reward model, which this reward does not ask


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None, **settings: Any
) -> dict[str, float]:
    """``score``, the total in [0, 1], and its parts, which verl logs; ``settings`` as :func:`score_row`.

    ``ground_truth`` is the record of the row; ``data_source`` and ``extra_info`` are not needed.
    """
    kept = {name: value for name, value in settings.items() if name not in _MODELS}
    return parts_of(score_row(solution_str, ground_truth, **kept), "score")

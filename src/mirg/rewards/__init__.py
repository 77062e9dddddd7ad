"""Rewards of a completion: format, image, object and their total, each in [0, 1] and with its reason."""

from mirg.rewards.parts import Part
from mirg.rewards.total import Arm, RewardConfig, Score, Shaping, score, score_reading

__all__ = ["Arm", "Part", "RewardConfig", "Score", "Shaping", "score", "score_reading"]

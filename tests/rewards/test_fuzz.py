"""Promise 6: mutated answers never raise, and every reward is finite, in [0, 1], with a reason below 1."""

from __future__ import annotations

import math

import pytest

from fakes.completions import mutants
from mirg.rewards import RewardConfig, Score, score

CONFIGS = [
    RewardConfig(arm="dual", partial_format=True),
    RewardConfig(arm="gated", shaping="dual_threshold"),
    RewardConfig(arm="object_only", shaping="at"),
    RewardConfig(arm="additive"),
]


def _check(found: Score, text: str) -> None:
    for part in (found.format, found.image, found.object):
        assert math.isfinite(part.value) and 0.0 <= part.value <= 1.0, repr(text)
        assert part.value == 1.0 or part.reason, repr(text)
    assert math.isfinite(found.total) and 0.0 <= found.total <= 1.0, repr(text)
    reading = found.reading
    assert (reading.failure is None) == (bool(reading.boxes) or reading.none), repr(text)
    assert reading.failure is None or reading.failure.strip(), repr(text)
    assert all(math.isfinite(v) for box in reading.boxes for v in box.box), repr(text)


def _fuzz(seed: int, count: int) -> None:
    read = 0
    for i, (text, sample, family) in enumerate(mutants(seed, count)):
        found = score(text, sample, family, CONFIGS[i % len(CONFIGS)])
        _check(found, text)
        read += found.reading.failure is None
    assert count * 0.1 < read < count * 0.9  # both ways out are well exercised


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))])
def test_100_000_mutated_responses(seed: int) -> None:
    _fuzz(seed, 10_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 140))
def test_2_000_000_mutated_responses(seed: int) -> None:
    _fuzz(seed, 50_000)

from __future__ import annotations

from itertools import product
from statistics import mean

import numpy as np
import pytest
from scipy import stats

from mirg.errors import EvaluationError
from mirg.evaluation.intervals import (
    Interval,
    _acceleration,
    _bias,
    mean_interval,
    mean_intervals,
    paired_difference,
    sign_flip_p,
    statistic_interval,
)


def simulate(rng: np.random.Generator, n_sets: int, mean: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two systems of equal skill on one benchmark: 1-7 items per image set, whose difficulty varies.

    Returns the right/wrong values (N,) of both and the set of each item.
    """
    sets = np.repeat(np.arange(n_sets), rng.integers(1, 8, size=n_sets))
    difficulty = rng.beta(2 * mean, 2 * (1 - mean), size=n_sets)[sets]
    return (rng.random(len(sets)) < difficulty) * 1.0, (rng.random(len(sets)) < difficulty) * 1.0, sets


def coverage(benchmarks: int, resamples: int) -> tuple[float, float]:
    """Shares: intervals that hold the true mean; paired intervals of equal systems that exclude 0."""
    rng = np.random.default_rng(19)
    held = false = 0
    designs = [(60, 0.6), (100, 0.75), (150, 0.4), (250, 0.85)]
    for k in range(benchmarks):
        n_sets, mean = designs[k % len(designs)]
        a, b, sets = simulate(rng, n_sets, mean)
        found = mean_interval(a, sets.tolist(), seed=k, resamples=resamples)
        held += found.low <= mean <= found.high
        difference = paired_difference(a, b, sets.tolist(), seed=k, resamples=resamples)
        false += not difference.low <= 0 <= difference.high
    return held / benchmarks, false / benchmarks


@pytest.mark.slow
def test_coverage_and_false_positives_on_2_000_benchmarks() -> None:
    held, false = coverage(2000, resamples=2000)
    assert 0.93 <= held <= 0.97
    assert false <= 0.06


def test_coverage_on_a_few_benchmarks() -> None:
    held, false = coverage(200, resamples=500)
    assert 0.90 <= held <= 0.99
    assert false <= 0.10


def test_image_sets_are_the_unit_not_items() -> None:
    values = [1.0, 0.0] * 20
    alone = mean_interval(values, list(range(40)))
    grouped = mean_interval(sorted(values), [k // 10 for k in range(40)])
    assert (alone.n, alone.n_sets) == (40, 40) and (grouped.n, grouped.n_sets) == (40, 4)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_the_same_seed_gives_the_same_interval_and_metrics_are_drawn_together() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((50, 2))
    sets = [k // 3 for k in range(50)]
    together = mean_intervals(values, sets, seed=4)
    assert together == mean_intervals(values, sets, seed=4)
    alone = mean_interval(values[:, 1], sets, seed=4)
    assert (alone.low, alone.high) == (pytest.approx(together[1].low), pytest.approx(together[1].high))
    assert together != mean_intervals(values, sets, seed=5)


@pytest.mark.parametrize(
    ("values", "low", "high"), [([1.0] * 20, 0.8389, 1.0), ([0.0] * 20, 0.0, 0.1611)], ids=["all right", "all wrong"]
)
def test_without_spread_the_interval_is_wilsons(values: list[float], low: float, high: float) -> None:
    found = mean_interval(values, list(range(20)))
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 20, 100, 997])
def test_where_nothing_was_right_or_all_the_end_is_exact(n: int) -> None:
    """Rounding left lower ends such as 3e-18."""
    sets = list(range(n))
    assert mean_interval([0.0] * n, sets).low == 0.0
    assert mean_interval([1.0] * n, sets).high == 1.0


def test_one_image_set_says_little() -> None:
    found = mean_interval([1.0, 0.0, 1.0], ["a", "a", "a"])
    assert found.low < 0.2 and found.high > 0.9
    assert paired_difference([0.0, 0.0], [1.0, 1.0], ["a", "a"]).low == -1.0


def test_against_the_normal_interval_on_many_sets() -> None:
    values = (np.random.default_rng(1).random(2000) < 0.3) * 1.0
    found = mean_interval(values, list(range(2000)))
    half = 1.96 * values.std(ddof=1) / np.sqrt(2000)
    assert found.low == pytest.approx(values.mean() - half, abs=0.003)
    assert found.high == pytest.approx(values.mean() + half, abs=0.003)


@pytest.mark.parametrize(
    ("values", "sets"),
    [([], []), ([1.0], ["a", "b"]), ([1.0, float("nan")], ["a", "b"])],
    ids=["none", "lengths", "not finite"],
)
def test_what_cannot_be_computed_is_said(values: list[float], sets: list[str]) -> None:
    with pytest.raises(EvaluationError):
        mean_interval(values, sets)
    with pytest.raises(EvaluationError, match="the same items"):
        paired_difference([1.0], [1.0, 0.0], ["a", "b"])


def test_paired_difference_finds_what_unpaired_intervals_cannot() -> None:
    rng = np.random.default_rng(2)
    a = (rng.random(300) < 0.5) * 1.0
    b = a.copy()
    b[np.flatnonzero(a == 0)[:15]] = 1.0  # better on 15 items, worse on none
    sets = list(range(300))
    found = paired_difference(a, b, sets)
    assert found.mean == pytest.approx(0.05)
    assert 0 < found.low < 0.05 < found.high and found.p < 0.01
    assert mean_interval(a, sets).high > mean_interval(b, sets).low
    turned = paired_difference(b, a, sets)
    assert turned.mean == -found.mean and turned.p == found.p


def test_equal_systems_differ_by_nothing() -> None:
    found = paired_difference([1.0, 0.0, 1.0], [1.0, 0.0, 1.0], ["a", "b", "c"])
    assert (found.mean, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)
    assert isinstance(found, Interval)


def test_the_interval_holds_0_wherever_the_test_does_not_reject() -> None:
    found = paired_difference([0.0] * 5, [1.0, 1.0, 1.0, 1.0, 1.0], list("abcde"))
    assert found.p == pytest.approx(2 / 32)  # five sets cannot say more
    assert found.low <= 0.0
    assert paired_difference([1.0] * 5, [0.0] * 5, list("abcde")).high >= 0.0


def test_with_few_sets_percentiles_are_taken_further_out() -> None:
    """Against a bootstrap of this test: by the t quantile, times sqrt(n / (n - 1))."""
    values = np.random.default_rng(3).normal(1.0, 0.5, size=12)
    means = np.random.default_rng(4).choice(values, (100_000, 12)).mean(axis=1)
    reach = stats.t.ppf(0.975, 11) * np.sqrt(12 / 11)
    found = paired_difference(np.zeros(12), values, list(range(12)), resamples=100_000)
    expected = np.quantile(means, stats.norm.cdf([-reach, reach]))
    assert [found.low, found.high] == pytest.approx(expected, abs=0.04 * means.std())


@pytest.mark.parametrize("n_sets", [6, 12, 40])
def test_another_statistic_has_the_interval_of_the_mean(n_sets: int) -> None:
    """For the mean itself, it is the interval without BCa's corrections, with few sets too."""
    values = np.random.default_rng(5).uniform(0.3, 0.7, n_sets)
    plain = paired_difference(np.zeros(n_sets), values, list(range(n_sets)), seed=3)
    found = statistic_interval(
        values.mean(), lambda counts: float(counts @ values / n_sets), 2 * n_sets, n_sets, seed=3
    )
    assert [found.low, found.high] == pytest.approx([plain.low, plain.high], abs=1e-12)
    assert (found.n, found.n_sets) == (2 * n_sets, n_sets)


def test_skewed_values_move_the_interval() -> None:
    """BCa against the uncorrected interval of the same draws; without skew the two agree."""
    rare = [1.0] * 3 + [0.0] * 37
    bca, plain = mean_interval(rare, list(range(40))), paired_difference([0.0] * 40, rare, list(range(40)))
    assert bca.mean == plain.mean and bca.low > plain.low and bca.high > plain.high
    scipys = stats.bootstrap((rare,), np.mean, n_resamples=2000, rng=0, method="BCa").confidence_interval
    assert [bca.low, bca.high] == pytest.approx([scipys.low, scipys.high], abs=0.03)
    half = [1.0, 0.0] * 20
    bca, plain = mean_interval(half, list(range(40))), paired_difference([0.0] * 40, half, list(range(40)))
    assert [bca.low, bca.high] == pytest.approx([plain.low, plain.high], abs=0.026)


def test_the_acceleration_is_that_of_the_jackknife_over_ragged_sets() -> None:
    values = {"a": [1.0], "b": [0.0, 1.0, 1.0], "c": [0.0] * 7, "d": [1.0, 0.0], "e": [0.0]}
    means = [mean([v for key, own in values.items() if key != left for v in own]) for left in values]
    away = [mean(means) - one for one in means]
    expected = sum(d**3 for d in away) / (6 * sum(d**2 for d in away) ** 1.5)
    sums = np.array([[sum(own)] for own in values.values()])
    counts = np.array([float(len(own)) for own in values.values()])
    assert _acceleration(sums, counts)[0] == pytest.approx(expected, rel=1e-9)


def test_draws_that_tie_with_the_mean_count_half() -> None:
    draws = np.array([[0.25, 0.5, 0.5, 0.5, 0.75, 0.75, 0.75, 0.75, 0.75, 1.0]]).T
    assert _bias(draws, np.array([0.5]))[0] == pytest.approx(stats.norm.ppf(0.25))


def test_two_sets_have_an_interval() -> None:
    found = mean_interval([0.25, 0.5], ["a", "b"])
    assert 0.0 <= found.low < found.mean < found.high <= 1.0


def test_the_seed_draws_interval_and_signs() -> None:
    a, b = np.random.default_rng(0).random((2, 40))
    one, two = (paired_difference(a, b, list(range(40)), seed=seed) for seed in (4, 5))
    assert one == paired_difference(a, b, list(range(40)), seed=4)
    assert one.p == sign_flip_p(b - a, seed=4) != two.p and one.high != two.high and one.low != two.low


def test_the_observed_signs_count_as_one_draw() -> None:
    """No p-value is 0, and rounding does not take the observed sum out of those that reach it."""
    assert sign_flip_p(np.full(40, 1.0), flips=99) == 1 / 100
    assert sign_flip_p(np.array([-0.3, 0.9, 0.3])) == 6 / 8, "-0.3 + 0.9 + 0.3 is 0.9 in three ways that round apart"


def test_sign_flip_by_hand_and_by_draws() -> None:
    sums = np.array([1.0, 2.0, -0.5, 1.5])
    totals = [abs(sum(s * v for s, v in zip(signs, sums, strict=True))) for signs in product((-1, 1), repeat=4)]
    assert sign_flip_p(sums) == pytest.approx(np.mean([total >= 4.0 for total in totals]))
    many = np.full(40, 1.0)
    many[:14] = -1.0
    exact = 0.0806904  # two-sided binomial: 26 or more, or 14 or fewer, of 40
    assert sign_flip_p(many, flips=20_000) == pytest.approx(exact, abs=0.008)
    assert sign_flip_p(np.zeros(3)) == 1.0

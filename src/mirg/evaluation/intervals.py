"""95 % intervals of means, by a bootstrap that resamples whole image sets.

Items about the same images are not independent (one hard picture spoils all its questions), so the unit that is drawn
is the image set, with all its items. Intervals are BCa (Efron 1987): percentiles of the bootstrap distribution,
corrected for bias and for acceleration (jackknife over image sets). With few image sets the percentiles are taken
further out by the t quantile and sqrt(n / (n - 1)) (Hesterberg 2015, "expanded percentile"), without which a
bootstrap interval is too short. Everything is seeded: the same records give the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirg.errors import EvaluationError

LEVEL = 0.95
RESAMPLES = 2000
_CHUNK = 4_000_000  # cells of a resampling matrix in memory at a time
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with its interval; ``n`` items in ``n_sets`` image sets. Fractions, not percent."""

    mean: float
    low: float
    high: float
    n: int
    n_sets: int

    def cell(self) -> dict[str, Any]:
        """``mean``, ``low`` and ``high``, and ``p`` of a difference, as JSON-ready data."""
        return {name: value for name, value in asdict(self).items() if name not in ("n", "n_sets")}


@dataclass(frozen=True)
class Difference(Interval):
    """Mean of paired differences; ``p`` is the two-sided p-value of a sign-flip test over image sets."""

    p: float


def mean_interval(
    values: Sequence[float] | Floats, sets: Sequence[Hashable], *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """The mean of ``values`` (N,), each in [0, 1], with its 95 % interval; ``sets`` (N,) names each item's image set.

    If all values are 0 or all are 1, a bootstrap has no spread, and Wilson's interval over image sets is given instead.
    Raises :class:`EvaluationError` if there are no values or the lengths differ.
    """
    return mean_intervals(np.asarray(values, dtype=np.float64)[:, None], sets, seed=seed, resamples=resamples)[0]


def mean_intervals(
    values_NM: Floats, sets: Sequence[Hashable], *, seed: int = 0, resamples: int = RESAMPLES, shares: bool = True
) -> list[Interval]:
    """:func:`mean_interval` of each of M metrics on the same N items, drawn once for all of them; values (N, M).

    If they are not ``shares``, values may be any finite numbers, and an interval is not limited to [0, 1]. Equal
    values, and those of a single image set, then give an interval without width.
    """
    sums_CM, counts_C = sums_by_set(values_NM, sets)
    n, n_sets = len(values_NM), len(counts_C)
    means_M = values_NM.mean(axis=0)
    lows, highs = _ends(sums_CM, counts_C, seed=seed, resamples=resamples, corrected=True)
    found = []
    for m, mean in enumerate(means_M):
        if not shares:
            low, high = float(lows[m]), float(highs[m])
        elif mean in (0.0, 1.0) or n_sets == 1:
            low, high = _wilson(float(mean), n_sets)
        else:
            low, high = float(np.clip(lows[m], 0.0, 1.0)), float(np.clip(highs[m], 0.0, 1.0))
        found.append(Interval(mean=float(mean), low=low, high=high, n=n, n_sets=n_sets))
    return found


def contributions(values_N: Floats, groups: Sequence[Hashable]) -> Floats:
    """Values (N, ...) whose plain mean is the unweighted mean of the means of ``groups`` (N,), and varies as it does.

    The contribution of an item is ``mean of G groups + N / (G n_g) * (value - mean of its group)``, the linearisation
    of that mean, so that a bootstrap over items or image sets gives its interval.
    """
    places: dict[Hashable, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group, []).append(place)
    means = {group: values_N[where].mean(axis=0) for group, where in places.items()}
    centre = np.mean(list(means.values()), axis=0)
    found = np.empty_like(values_N)
    for group, where in places.items():
        found[where] = centre + len(values_N) / (len(places) * len(where)) * (values_N[where] - means[group])
    return found


def paired_difference(
    a: Sequence[float] | Floats,
    b: Sequence[float] | Floats,
    sets: Sequence[Hashable],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Difference:
    """Mean of ``b - a`` over the same N items, with its 95 % interval and p-value.

    ``a`` and ``b`` hold the same metric of two systems item by item. The interval is the expanded percentile one,
    without BCa's corrections (differences are near symmetric; the corrections cost false positives), and reaches 0
    wherever the sign-flip test does not reject. Raises :class:`EvaluationError` on unequal lengths.
    """
    a_N, b_N = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a_N.shape != b_N.shape:
        raise EvaluationError(f"a paired difference needs the same items on both sides: {a_N.shape} and {b_N.shape}")
    difference_N1 = (b_N - a_N)[:, None]
    sums_C1, counts_C = sums_by_set(difference_N1, sets)
    mean = float(difference_N1.mean())
    p = sign_flip_p(sums_C1[:, 0], seed=seed)
    if not sums_C1.any():  # the two agree, set by set: nothing varies
        low = high = 0.0
    elif len(counts_C) == 1:
        low, high = -1.0, 1.0
    else:
        lows, highs = _ends(sums_C1, counts_C, seed=seed, resamples=resamples, corrected=False)
        low, high = float(lows[0]), float(highs[0])
        if p >= 1 - LEVEL:
            low, high = min(low, 0.0), max(high, 0.0)
    return Difference(mean=mean, low=low, high=high, n=len(a_N), n_sets=len(counts_C), p=p)


def seeds_interval(
    differences_SN: Floats, sets: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The 95 % interval of the mean of paired differences of shape (seeds, items); ``sets`` are the items' image sets.

    Every seed of an arm answers the same items, so the mean varies with both: another seed gives another model, another
    item another question. The interval is that of the pigeonhole bootstrap (Owen 2007), which draws seeds and image
    sets independently and is conservative. A few seeds spread too little when they are drawn from themselves, so their
    effects are first widened by sqrt(S / (S - 1)).
    """
    n_seeds = len(differences_SN)
    means_S = differences_SN.mean(axis=1)
    if n_seeds > 1:
        widened = math.sqrt(n_seeds / (n_seeds - 1)) - 1.0
        differences_SN = differences_SN + widened * (means_S - means_S.mean())[:, None]
    sums_CS, counts_C = sums_by_set(differences_SN.T, sets)
    rng = np.random.default_rng(seed)
    weights_RC, weights_RS = draw_counts(rng, resamples, len(counts_C)), draw_counts(rng, resamples, n_seeds)
    draws = ((weights_RS @ sums_CS.T.copy()) * weights_RC).sum(axis=1) / (n_seeds * (weights_RC @ counts_C))
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def statistic_interval(
    value: float,
    drawn: Callable[[Floats], float],
    n: int,
    n_sets: int,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """The expanded percentile interval of a statistic in [0, 1] that is no mean of items, such as average precision.

    ``drawn`` gives the statistic of a bootstrap draw from how often it holds each image set, shape (n_sets,). Without
    spread it is Wilson's interval, as in :func:`mean_interval`.
    """
    from scipy.special import ndtr, stdtrit

    if value in (0.0, 1.0) or n_sets < 2:
        low, high = _wilson(value, n_sets)
    else:
        draws_RC = draw_counts(np.random.default_rng(seed), resamples, n_sets)
        draws_R = np.array([drawn(counts_C) for counts_C in draws_RC])
        reach = float(stdtrit(n_sets - 1, 0.5 + LEVEL / 2)) * math.sqrt(n_sets / (n_sets - 1))
        low, high = (float(np.quantile(draws_R, ndtr(z))) for z in (-reach, reach))
    return Interval(mean=value, low=min(low, value), high=max(high, value), n=n, n_sets=n_sets)


def sign_flip_p(sums_C: Floats, *, seed: int = 0, flips: int = 4000) -> float:
    """Two-sided p-value of "the sum of ``sums_C`` is 0": how often random signs per image set give as large a sum.

    Exact by enumeration for up to 11 sets that are not 0, by ``flips`` draws (plus the observed one) beyond.
    """
    sums_C = sums_C[sums_C != 0.0]
    if len(sums_C) == 0:
        return 1.0
    observed = abs(float(sums_C.sum())) - 1e-9
    if len(sums_C) <= 11:
        codes = np.arange(2 ** len(sums_C))[:, None] >> np.arange(len(sums_C)) & 1
        return float((np.abs((2 * codes - 1) @ sums_C) >= observed).mean())
    rng = np.random.default_rng(seed)
    reached, done, step = 0, 0, max(1, _CHUNK // len(sums_C))
    while done < flips:
        rows = min(step, flips - done)
        signs = 2.0 * rng.integers(0, 2, size=(rows, len(sums_C)), dtype=np.int8) - 1.0
        reached += int((np.abs(signs @ sums_C) >= observed).sum())
        done += rows
    return (reached + 1) / (flips + 1)


def sums_by_set(values_NM: Floats, sets: Sequence[Hashable]) -> tuple[Floats, Floats]:
    """Sums (C, M) and item counts (C,) of the C image sets, in order of first appearance."""
    if len(values_NM) == 0:
        raise EvaluationError("no values: an interval needs at least one item")
    if len(values_NM) != len(sets):
        raise EvaluationError(f"{len(values_NM)} values and {len(sets)} image sets: one each is needed")
    if not np.isfinite(values_NM).all():
        raise EvaluationError("a value is not finite: metrics are finite by contract")
    order: dict[Hashable, int] = {}
    index_N = np.array([order.setdefault(key, len(order)) for key in sets])
    sums_CM = np.zeros((len(order), values_NM.shape[1]))
    np.add.at(sums_CM, index_N, values_NM)
    return sums_CM, np.bincount(index_N, minlength=len(order)).astype(np.float64)


def _replicates(sums_CM: Floats, counts_C: Floats, *, seed: int, resamples: int) -> Floats:
    """Means of ``resamples`` bootstrap draws of C sets with replacement, shape (resamples, M)."""
    rng = np.random.default_rng(seed)
    parts = []
    step = max(1, _CHUNK // len(counts_C))
    for start in range(0, resamples, step):
        weights_RC = draw_counts(rng, min(step, resamples - start), len(counts_C))
        parts.append((weights_RC @ sums_CM) / (weights_RC @ counts_C)[:, None])
    return np.concatenate(parts)


def draw_counts(rng: np.random.Generator, resamples: int, n: int) -> Floats:
    """How often each of ``n`` is drawn in ``n`` draws with replacement, shape (resamples, n)."""
    drawn_RN = rng.integers(0, n, (resamples, n)) + n * np.arange(resamples)[:, None]
    return np.bincount(drawn_RN.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float64)


def _ends(sums_CM: Floats, counts_C: Floats, *, seed: int, resamples: int, corrected: bool) -> tuple[Floats, Floats]:
    """Lower and upper ends (M,) of the expanded bootstrap interval, ``corrected`` for bias and acceleration (BCa)."""
    from scipy.special import ndtr, stdtrit  # 0.25 s to import

    n_sets = len(counts_C)
    mean_M = sums_CM.sum(axis=0) / counts_C.sum()
    if n_sets < 2:
        return mean_M, mean_M
    draws_RM = _replicates(sums_CM, counts_C, seed=seed, resamples=resamples)
    bias_M = _bias(draws_RM, mean_M) if corrected else np.zeros_like(mean_M)
    acceleration_M = _acceleration(sums_CM, counts_C) if corrected else np.zeros_like(mean_M)
    reach = float(stdtrit(n_sets - 1, 0.5 + LEVEL / 2)) * math.sqrt(n_sets / (n_sets - 1))
    ends = []
    for z in (-reach, reach):
        shifted = bias_M + z
        level_M = ndtr(bias_M + shifted / np.maximum(1 - acceleration_M * shifted, 0.1))
        ends.append(np.array([np.quantile(draws_RM[:, m], level_M[m]) for m in range(draws_RM.shape[1])]))
    return ends[0], ends[1]


def _bias(draws_RM: Floats, mean_M: Floats) -> Floats:
    """BCa's bias (M,): the normal quantile of the share of draws below the estimate, ties counting half."""
    from scipy.special import ndtri

    tie = np.isclose(draws_RM, mean_M, rtol=0.0, atol=1e-12)  # rounding must not decide on which side a tie falls
    below_M = ((draws_RM < mean_M) & ~tie).mean(axis=0) + 0.5 * tie.mean(axis=0)
    return ndtri(np.clip(below_M, 1 / len(draws_RM), 1 - 1 / len(draws_RM)))


def _acceleration(sums_CM: Floats, counts_C: Floats) -> Floats:
    """BCa's acceleration (M,): skewness of the leave-one-set-out means; 0 if they do not vary."""
    left_out_CM = (sums_CM.sum(axis=0) - sums_CM) / (counts_C.sum() - counts_C)[:, None]
    deviation = left_out_CM.mean(axis=0) - left_out_CM
    spread_M = (deviation**2).sum(axis=0) ** 1.5
    skew_M = (deviation**3).sum(axis=0)
    return np.where(spread_M > 1e-15, skew_M / np.maximum(6 * spread_M, 1e-15), 0.0)


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of ``n``; its ends at the shares 0 and 1 are those, without rounding."""
    z2 = 1.959963984540054**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    low = 0.0 if share == 0.0 else max(0.0, centre - half)
    return low, 1.0 if share == 1.0 else min(1.0, centre + half)

"""One block of a mixture: which dataset comes at which of its places, so that every beginning has the right shares.

The k-th draw of a dataset with share p has the window of places from floor((k - 1) / p) to ceil(k / p), the second one
exclusive, counted from 0. In every schedule that keeps the windows, the draws among the first n places differ from
n * p by less than one; there always is one (Baruah et al., "Proportionate progress", Algorithmica 1996), and taking
the draw whose window closes first finds it, whatever is done about ties (Jackson's rule for unit jobs).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from fractions import Fraction

from mirg.data.keys import keyed
from mirg.errors import ConfigError

MAX_BLOCK = 1_000_000  # places; a block of that many is arranged in seconds


def whole_weights(weights: Sequence[int | float | str | Fraction]) -> list[int]:
    """The smallest whole numbers in the proportions of ``weights``; "0.7" and 0.7 are seven tenths.

    ConfigError where one is not a positive number, or a block of them all would be too long.

    >>> whole_weights(["0.5", 1, "1/4"])
    [2, 4, 1]
    """
    exact = [_fraction(weight) for weight in weights]
    scale = math.lcm(*(weight.denominator for weight in exact))
    whole = [int(weight * scale) for weight in exact]
    common = math.gcd(*whole)
    whole = [weight // common for weight in whole]
    if sum(whole) > MAX_BLOCK:
        raise ConfigError(
            f"the weights {', '.join(map(str, weights))} come out even only after {sum(whole):,} samples",
            hint="round them, to three digits for example",
        )
    return whole


def _fraction(weight: int | float | str | Fraction) -> Fraction:
    try:
        found = Fraction(str(weight))
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"weight {weight!r} is not a number", hint="for example 2, 0.5 or 1/3") from error
    if found <= 0:
        raise ConfigError(f"weight {weight} is not positive", hint="leave the dataset out instead")
    return found


def block(whole: Sequence[int], key: int) -> list[int]:
    """The numbers of the datasets at the places of one block: number i comes ``whole[i]`` times.

    ``key`` decides ties, and whether the block is read from its end, which keeps the shares of every beginning.
    """
    length = sum(whole)
    draws = sorted(
        (_opens(k, weight, length), _closes(k, weight, length), keyed(key, number, k), number)
        for number, weight in enumerate(whole)
        for k in range(weight)
    )
    open_: list[tuple[int, int, int]] = []
    places: list[int] = []
    following = 0
    for place in range(length):
        while following < length and draws[following][0] <= place:
            heapq.heappush(open_, draws[following][1:])
            following += 1
        places.append(heapq.heappop(open_)[2])
    return places[::-1] if keyed(key, "reversed") % 2 else places


def _opens(k: int, weight: int, length: int) -> int:
    return k * length // weight


def _closes(k: int, weight: int, length: int) -> int:
    return -(-(k + 1) * length // weight)

"""The arithmetic of a mixture: the schedule of datasets in a block, and shuffled rows without a list of them.

A block says which dataset comes at which of its places, so that every beginning has the right shares.
The k-th draw of a dataset with share p has the window of places from floor((k - 1) / p) to ceil(k / p), the second one
exclusive, counted from 0. In every schedule that keeps the windows, the draws among the first n places differ from
n * p by less than one; there always is one (Baruah et al., "Proportionate progress", Algorithmica 1996), and taking
the draw whose window closes first finds it, however ties are broken (Jackson's rule for unit jobs).

:class:`Permutation` is a Feistel network over pairs of digits, with cycle walking if a pair lies beyond the size: Black
and Rogaway, "Ciphers with arbitrary finite domains" (CT-RSA 2002). It shuffles; it keeps no secrets.
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

    ConfigError if one is not a positive number, or a block of them all would be too long.

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


_ROUNDS = 6
_MASK = (1 << 64) - 1


class Permutation:
    """The permutation of 0 … ``size`` - 1 that belongs to ``key``; ``permutation[place]`` is the number at a place.

    It is computed place by place, in constant time and memory. Raises ValueError if ``size`` is under 1.
    """

    def __init__(self, size: int, key: int) -> None:
        if size < 1:
            raise ValueError(f"a permutation of {size} numbers")
        self.size = size
        # Pairs of digits to this base are at most 2 sqrt(size) + 1 more than the numbers, so walks are short.
        self._base = math.isqrt(size - 1) + 1
        self._keys = [keyed(key, turn) for turn in range(_ROUNDS)]

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, place: int) -> int:
        """The number at ``place``; IndexError outside of 0 … size - 1."""
        if not 0 <= place < self.size:
            raise IndexError(f"place {place} of a permutation of {self.size}")
        found = self._network(place)
        while found >= self.size:
            found = self._network(found)
        return found

    def _network(self, number: int) -> int:
        left, right = divmod(number, self._base)
        for key in self._keys:
            left, right = right, (left + _mixed(key, right)) % self._base
        return left * self._base + right


def _mixed(key: int, value: int) -> int:
    """SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014): five times as fast as a digest."""
    value = (value * 0x9E3779B97F4A7C15 + key) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)

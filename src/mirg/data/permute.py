"""A permutation of 0 … N - 1 that is computed place by place, in constant time and memory.

A Feistel network over pairs of digits, and cycle walking where a pair lies beyond N: Black and Rogaway, "Ciphers with
arbitrary finite domains" (CT-RSA 2002). It shuffles; it keeps no secrets.
"""

from __future__ import annotations

import math

from mirg.data.keys import keyed

_ROUNDS = 6


class Permutation:
    """The permutation of ``size`` numbers that belongs to ``key``; ``permutation[place]`` is the number there.

    ValueError where ``size`` is under 1.
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


_MASK = (1 << 64) - 1


def _mixed(key: int, value: int) -> int:
    """SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014): five times as fast as a digest."""
    value = (value * 0x9E3779B97F4A7C15 + key) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)

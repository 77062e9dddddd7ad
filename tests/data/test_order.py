"""The order of a mixture is arithmetic: exact shares, every row once before any twice, resumable anywhere."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.data.mix import Draw, Order, Permutation, block, whole_weights
from mirg.data.rows import keyed
from mirg.errors import ConfigError

weights = st.lists(st.integers(1, 12), min_size=1, max_size=5)
seeds = st.integers(0, 2**32)


@given(whole=weights, key=seeds)
def test_every_beginning_of_a_block_has_its_shares(whole: list[int], key: int) -> None:
    length = sum(whole)
    counts: Counter[int] = Counter()
    for n, dataset in enumerate(block(whole, key), 1):
        counts[dataset] += 1
        for number, weight in enumerate(whole):
            assert abs(counts[number] - Fraction(n * weight, length)) < 1
    assert [counts[number] for number in range(len(whole))] == whole


@given(whole=weights, seed=seeds, positions=st.integers(1, 150))
def test_every_beginning_of_a_mixture_has_its_shares(whole: list[int], seed: int, positions: int) -> None:
    order = Order(whole, [7] * len(whole), seed=seed)
    counts = Counter(order[position].dataset for position in range(positions))
    for number, weight in enumerate(whole):
        assert abs(counts[number] - Fraction(positions * weight, sum(whole))) < 1


@given(whole=weights, seed=seeds, epoch=st.integers(0, 5), data=st.data())
def test_every_row_comes_once_before_any_comes_twice(whole: list[int], seed: int, epoch: int, data) -> None:
    sizes = [data.draw(st.integers(1, 9)) for _ in whole]
    order = Order(whole, sizes, seed=seed, epoch=epoch)
    came: list[Counter[int]] = [Counter() for _ in whole]
    for position in range(200):
        draw = order[position]
        assert draw.again == came[draw.dataset][draw.row]
        came[draw.dataset][draw.row] += 1
        counts = [came[draw.dataset][row] for row in range(sizes[draw.dataset])]
        assert max(counts) - min(counts) <= 1


@given(seed=seeds, start=st.integers(0, 10**12))
def test_resuming_anywhere_equals_the_tail(seed: int, start: int) -> None:
    """Each position is computed by an order that has seen no other."""
    one = Order([3, 2], [1000, 17], seed=seed)
    expected = [one[position] for position in range(start, start + 8)]
    assert [Order([3, 2], [1000, 17], seed=seed)[start + k] for k in reversed(range(8))][::-1] == expected


def test_seed_and_epoch_make_other_orders() -> None:
    drawn = {
        key: [Order([1, 1], [50, 50], seed=key[0], epoch=key[1])[k] for k in range(60)]
        for key in ((0, 0), (1, 0), (0, 1), (1, 1))
    }
    assert len({tuple(order) for order in drawn.values()}) == 4


def test_the_order_is_the_same_in_every_process() -> None:
    """A snapshot, and another hash seed."""
    code = "from mirg.data.mix import Order\no = Order(['0.5', 0.25], [5, 4], seed=3)\n"
    code += "import sys; sys.stdout.write(str([tuple(o[k]) for k in range(9)]))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "77"}
    )
    order = Order([2, 1], [5, 4], seed=3)
    assert found.stdout == str([tuple(order[k]) for k in range(9)])
    assert [order[k] for k in range(6)] == SNAPSHOT


SNAPSHOT = [Draw(*d) for d in ((0, 4, 0), (1, 2, 0), (0, 1, 0), (0, 3, 0), (0, 2, 0), (1, 0, 0))]


@given(size=st.integers(1, 400), key=seeds)
def test_a_permutation_is_one(size: int, key: int) -> None:
    shuffled = Permutation(size, key)
    assert sorted(shuffled[place] for place in range(size)) == list(range(size))


def test_a_permutation_of_many_needs_no_table() -> None:
    shuffled = Permutation(10**15, 5)
    found = {shuffled[place] for place in range(2000)}
    assert len(found) == 2000 and max(found) > 9 * 10**14 and min(found) < 10**14


def test_permutations_shuffle() -> None:
    """What comes first is spread evenly over the keys: 2,000 keys, 10 numbers, 200 each, give or take 5 deviations."""
    for place in (0, 9):
        counts = Counter(Permutation(10, key)[place] for key in range(2000))
        assert all(abs(counts[number] - 200) < 5 * (2000 * 0.09) ** 0.5 for number in range(10))


@pytest.mark.parametrize("place", [-1, 3])
def test_places_outside_are_none(place: int) -> None:
    with pytest.raises(IndexError):
        Permutation(3, 0)[place]


@pytest.mark.parametrize(
    ("given_", "whole", "why"),
    [
        ([2, 1], [2, 1], "unchanged"),
        ([4, 2], [2, 1], "the shortest block"),
        ([0.1, 0.2], [1, 2], "what was typed is meant, not its binary neighbour"),
        (["1/3", "2/3"], [1, 2], "thirds"),
        (["1e1", 5], [2, 1], "exponents"),
        ([7], [1], "one dataset"),
    ],
)
def test_whole_weights(given_: list, whole: list[int], why: str) -> None:
    assert whole_weights(given_) == whole, why


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        (["two"], "not a number"),
        (["1/0"], "not a number"),
        ([float("nan")], "not a number"),
        ([float("inf")], "not a number"),
        ([0], "not positive"),
        ([-1], "not positive"),
        (["0.1234567", 1], "only after"),
    ],
)
def test_bad_weights(given_: list, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        whole_weights(given_)


@pytest.mark.parametrize(
    ("weights_", "sizes", "said"),
    [([1], [], "1 weights for 0"), ([1, 1], [3], "2 weights"), ([1, 1], [3, 0], "no rows")],
)
def test_bad_mixtures(weights_: list, sizes: list[int], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Order(weights_, sizes)


def test_negative_positions_are_none() -> None:
    with pytest.raises(IndexError):
        Order([1], [1])[-1]


@given(parts=st.lists(st.one_of(st.integers(), st.text(max_size=8)), max_size=4))
def test_keys_tell_what_they_are_made_of_apart(parts: list) -> None:
    assert 0 <= keyed(*parts) < 2**64
    assert keyed(*parts) != keyed(*parts, "")
    assert keyed(*parts) == keyed(*parts)

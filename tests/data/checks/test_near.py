"""Hashes of images that look alike, and the search for near pairs against trying all of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from fakes.datasets import picture
from mirg.data.checks.leakage import MOST_BITS, Look, difference_hash, distances, look_alike, near_pairs
from mirg.images import DEFAULT_LIMITS

WORDS = st.lists(st.integers(0, 2**64 - 1), max_size=12)


def array(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


@given(WORDS)
def test_distance_is_the_number_of_bits(values: list[int]) -> None:
    expected = [bin(a ^ b).count("1") for a in values for b in values]
    pairs = array([a for a in values for _ in values]), array([b for _ in values for b in values])
    assert distances(*pairs).tolist() == expected


@given(WORDS, st.lists(st.tuples(st.integers(0, 11), st.sets(st.integers(0, 63), max_size=10)), max_size=12),
       st.integers(0, MOST_BITS))  # fmt: skip
def test_near_pairs_are_those_of_trying_all(a: list[int], flips: list[tuple[int, set[int]]], most: int) -> None:
    b = [a[place % len(a)] ^ sum(1 << bit for bit in bits) for place, bits in flips] if a else []
    every = [(i, j, bin(x ^ y).count("1")) for i, x in enumerate(a) for j, y in enumerate(b)]
    assert near_pairs(array(a), array(b), most) == [row for row in every if row[2] <= most]


def test_pairs_in_one_band_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skewed hashes give millions of candidates; memory stays that of one part."""
    monkeypatch.setattr("mirg.data.checks.leakage._CHUNK", 7)
    same = array([5] * 20)
    assert near_pairs(same, array([5, 4, 2**63]), 1) == [(i, j, j) for i in range(20) for j in (0, 1)]


def jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(io.BytesIO(buffer.getvalue()))


CHANGES: list[tuple[str, Callable[[Image.Image], Image.Image]]] = [
    ("half the size", lambda image: image.resize((image.width // 2, image.height // 2))),
    ("recompressed", jpeg),
    ("brighter", lambda image: ImageEnhance.Brightness(image).enhance(1.1)),
    ("more contrast", lambda image: ImageEnhance.Contrast(image).enhance(1.15)),
    ("grey", lambda image: image.convert("L")),
]


def look(image: Image.Image, folder: Path) -> Look:
    path = folder / "x.png"
    image.save(path)
    return difference_hash(path, DEFAULT_LIMITS)


@pytest.mark.parametrize(("why", "change"), CHANGES, ids=[row[0].replace(" ", "_") for row in CHANGES])
def test_a_changed_copy_is_near_and_another_picture_is_not(
    why: str, change: Callable[[Image.Image], Image.Image], tmp_path: Path
) -> None:
    images = [picture(seed, (160, 120)) for seed in range(5)]
    originals = [look(image, tmp_path) for image in images]
    copies = [look(change(image), tmp_path) for image in images]
    hashes = [array([one.hash or 0 for one in looks]) for looks in (originals, copies)]
    pairs = [(a, b) for a, b, _ in near_pairs(*hashes, 4) if look_alike(originals[a], copies[b])]
    assert pairs == [(k, k) for k in range(5)], why


def test_near_hashes_of_other_pictures_are_told_apart_by_their_thumbnails(tmp_path: Path) -> None:
    """Two objects on a plain ground, far apart: few bits of 64 differ, and the pictures do not look alike."""
    found = []
    for corner in ((0, 0), (6, 5)):
        thumbnail = np.full((16, 16), 120, dtype=np.uint8)
        thumbnail[corner[1] : corner[1] + 5, corner[0] : corner[0] + 5] = 250
        found.append(Look(1, thumbnail.tobytes()))
    assert look_alike(found[0], found[0]) and not look_alike(*found)
    assert not look_alike(Look(1, bytes(256)), Look(1, bytes(256))), "what has no structure is like nothing"


def test_flat_and_broken_images_have_no_hash(tmp_path: Path) -> None:
    assert look(Image.new("RGB", (64, 64), (200, 30, 30)), tmp_path).hash is None
    assert difference_hash(tmp_path / "missing.png", DEFAULT_LIMITS).hash is None
    (tmp_path / "page.png").write_bytes(b"<html></html>")
    assert difference_hash(tmp_path / "page.png", DEFAULT_LIMITS).hash is None


@pytest.mark.slow
def test_a_hundred_thousand_by_a_hundred_thousand() -> None:
    """Trying all pairs would be ten thousand million comparisons; planted ones are all found."""
    rng = np.random.default_rng(3)
    a = rng.integers(0, 2**64, 100_000, dtype=np.uint64)
    b = rng.integers(0, 2**64, 100_000, dtype=np.uint64)
    b[:500] = a[500:1000] ^ np.uint64(0b1011 << 30)
    assert [row for row in near_pairs(a, b, 4) if row[2] == 3] == [(k + 500, k, 3) for k in range(500)]

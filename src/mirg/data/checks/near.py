"""Images that look alike: 64-bit difference hashes, and all pairs of two sets within a few bits, without trying all.

The hash is dHash (N. Krawetz, "Kind of like that", 2013): on a 9 x 8 grey thumbnail, whether each pixel is brighter
than its right neighbour. Resizing, recompression and small changes of colour move a few of the 64 bits. Other images
with plain backgrounds come as close by chance, so a pair must also agree on a finer thumbnail.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirg.errors import ImageError
from mirg.images import ImageLimits, open_image

Hashes = NDArray[np.uint64]

MOST_BITS = 8  # distances that are searched; beyond them nearly every pair would have to be tried
FLAT = 6.0  # standard deviation of the thumbnail, grey levels; below it the hash is noise
BITS = 64
SIDE = 16  # of the thumbnail that confirms a pair
# Correlation of the thumbnails from which on a pair is one. Of 51 pairs of procedural scenes within 4 bits, all of
# different scenes, none reaches 0.90; copies at half the size, as JPEG 30 or with more contrast keep 0.98.
ALIKE = 0.92
_CHUNK = 1 << 21  # pairs that are compared at once


class Look(NamedTuple):
    """The hash and the grey thumbnail (``SIDE`` x ``SIDE`` bytes) of an image; no hash where it is flat or broken."""

    hash: int | None
    thumbnail: bytes = b""


def difference_hash(path: str | Path, limits: ImageLimits) -> Look:
    """dHash of an image file; no hash where it is flat or cannot be opened (reading the rows reports that)."""
    from PIL import Image

    try:
        image = open_image(path, limits=limits)
    except ImageError:
        return Look(None)
    plain = image.convert("L")
    grey = np.asarray(plain.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    if float(grey.std()) < FLAT:
        return Look(None)
    bits = np.packbits((grey[:, :-1] > grey[:, 1:]).reshape(-1))
    return Look(int.from_bytes(bits.tobytes()), plain.resize((SIDE, SIDE), Image.Resampling.BOX).tobytes())


def look_alike(a: Look, b: Look) -> bool:
    """Whether the thumbnails of two images correlate, whatever their brightness and contrast."""
    x, y = (np.frombuffer(look.thumbnail, dtype=np.uint8).astype(np.float64) for look in (a, b))
    x, y = x - x.mean(), y - y.mean()
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return norm > 0.0 and float(x @ y) >= ALIKE * norm


def near_pairs(a: Hashes, b: Hashes, most: int) -> list[tuple[int, int, int]]:
    """All (place in ``a``, place in ``b``, distance) of hashes that differ in at most ``most`` of 64 bits, sorted.

    Cut into ``most`` + 1 bands, two such hashes agree in one band at least, so only pairs that share a band are
    compared. ValueError where ``most`` is beyond :data:`MOST_BITS`.
    """
    if not 0 <= most <= MOST_BITS:
        raise ValueError(f"distances of 0 to {MOST_BITS} bits can be searched, not {most}")
    found: set[tuple[int, int, int]] = set()
    start = 0
    for band in range(most + 1):
        width = BITS // (most + 1) + (band < BITS % (most + 1))
        mask = np.uint64((1 << width) - 1)
        shift = np.uint64(start)
        found.update(_matches(a, b, (a >> shift) & mask, (b >> shift) & mask, most))
        start += width
    return sorted(found)


def distances(a: Hashes, b: Hashes) -> NDArray[np.uint8]:
    """Number of bits in which the hashes differ, place by place (counted in parallel inside each word)."""
    x = a ^ b
    one, two, four = (np.uint64(v) for v in (0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F))
    x = x - ((x >> np.uint64(1)) & one)
    x = (x & two) + ((x >> np.uint64(2)) & two)
    x = (x + (x >> np.uint64(4))) & four
    return ((x * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.uint8)


def _matches(a: Hashes, b: Hashes, a_band: Hashes, b_band: Hashes, most: int) -> list[tuple[int, int, int]]:
    """Pairs within ``most`` bits among those whose band is equal; memory is bounded by the chunk."""
    order = np.argsort(b_band, kind="stable")
    ranked = b_band[order]
    low = np.searchsorted(ranked, a_band, "left")
    counts = np.searchsorted(ranked, a_band, "right") - low
    found: list[tuple[int, int, int]] = []
    ends = np.cumsum(counts)
    first = 0
    while first < len(a):
        done = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, done + _CHUNK, "right")), first + 1)
        part = counts[first:last]
        left = np.repeat(np.arange(first, last), part)
        offsets = np.arange(len(left)) - np.repeat(ends[first:last] - part - done, part)
        right = order[np.repeat(low[first:last], part) + offsets]
        bits = distances(a[left], b[right])
        near = np.flatnonzero(bits <= most)
        found += zip(left[near].tolist(), right[near].tolist(), bits[near].tolist(), strict=True)
        first = last
    return found

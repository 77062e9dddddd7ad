"""Pictures with the statistics that matter here: smooth areas, edges, texture, and no two places alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def photograph(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Noise of several scales in three colours with a few sharp-edged patches; a pure function of ``seed``."""
    rng = np.random.default_rng(seed)
    width, height = size
    pixels = np.zeros((height, width, 3))
    for cells, weight in ((3, 0.5), (8, 0.35), (24, 0.25)):
        coarse = rng.uniform(0, 255, (cells, cells, 3)).astype(np.uint8)
        pixels += weight * np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), dtype=float)
    for _ in range(6):
        x, y = int(rng.integers(0, 1 + width * 3 // 4)), int(rng.integers(0, 1 + height * 3 // 4))
        pixels[y : y + height // 6, x : x + width // 7] = rng.uniform(0, 255, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def folder_of_photographs(root: Path, count: int, *, size: tuple[int, int] = (320, 240), first: int = 0) -> Path:
    """``count`` PNG photographs in ``root``, two of them in a folder below."""
    for k in range(count):
        path = root / ("below" if k in (1, 2) else ".") / f"photo {k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(first + k, size).save(path)
    return root

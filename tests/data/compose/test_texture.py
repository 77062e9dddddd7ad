"""Window statistics against slow references, and what they are for: flat pieces and look-alikes are recognized."""

from __future__ import annotations

import numpy as np
import pytest

from fakes.photographs import photograph
from mirg.data.compose.pixels import as_pixels, contrast, correlations, distances, edge_share, look_alike

LUMA = np.array([0.299, 0.587, 0.114])


def windows(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """All windows, shape (rows, columns, h, w, 3)."""
    view = np.lib.stride_tricks.sliding_window_view(pixels, shape, axis=(0, 1))
    return np.moveaxis(view, 2, -1)


def test_correlations_and_distances_equal_their_slow_references() -> None:
    pixels = as_pixels(photograph(3, (40, 32)))
    piece = pixels[5:16, 8:21]
    grey = windows(pixels, piece.shape[:2]) @ LUMA
    small = piece @ LUMA
    for row, column in [(0, 0), (5, 8), (21, 27), (12, 3)]:
        expected = np.corrcoef(grey[row, column].ravel(), small.ravel())[0, 1]
        assert correlations(pixels, piece)[row, column] == pytest.approx(expected, abs=1e-9)
    gap = windows(pixels, piece.shape[:2]) - piece
    np.testing.assert_allclose(distances(pixels, piece), np.sqrt((gap**2).mean(axis=(2, 3, 4))), atol=1e-7)


def test_a_piece_is_found_where_it_was_cut() -> None:
    pixels = as_pixels(photograph(4, (64, 48)))
    piece = pixels[10:26, 30:50]
    assert np.unravel_index(correlations(pixels, piece).argmax(), (33, 45)) == (10, 30)
    assert correlations(pixels, piece).max() == pytest.approx(1.0)
    assert distances(pixels, piece).min() == pytest.approx(0.0, abs=1e-6)


def test_a_flat_window_correlates_with_nothing() -> None:
    pixels = np.full((20, 20, 3), 0.4)
    assert not correlations(pixels, as_pixels(photograph(1, (8, 8)))).any()


def test_a_repeated_pattern_looks_alike_and_a_photograph_does_not() -> None:
    tile = as_pixels(photograph(5, (16, 16)))
    wall = np.tile(tile, (4, 4, 1))
    correlation, distance = look_alike(wall, wall[16:32, 16:32], (16, 16, 16, 16))
    assert correlation == pytest.approx(1.0) and distance == pytest.approx(0.0, abs=1e-6)
    photo = as_pixels(photograph(5, (64, 48)))
    correlation, distance = look_alike(photo, photo[10:26, 10:26], (10, 10, 16, 16))
    assert correlation < 0.9 and distance > 0.05


def test_nothing_is_alike_where_there_is_nothing_else() -> None:
    photo = as_pixels(photograph(6, (20, 20)))
    assert look_alike(photo, photo, (0, 0, 20, 20)) == (-1.0, float("inf"))
    assert look_alike(photo[:5, :5], photo, None) == (-1.0, float("inf")), "larger than the other photograph"


@pytest.mark.parametrize(
    ("why", "piece", "contrast_", "edges"),
    [
        ("one tone", np.full((8, 8, 3), 0.5), 0.0, 0.0),
        ("half black, half white", np.repeat([0.0, 1.0], 4)[None, :, None] * np.ones((8, 1, 3)), 0.5, 1 / 7),
        ("a line of pixels has no edges", np.ones((1, 8, 3)), 0.0, 0.0),
    ],
)
def test_contrast_and_edges(why: str, piece: np.ndarray, contrast_: float, edges: float) -> None:
    assert contrast(piece) == pytest.approx(contrast_)
    assert edge_share(piece) == pytest.approx(edges)

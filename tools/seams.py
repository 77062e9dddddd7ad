"""How well a small classifier tells altered places of photographs by the pixels near their border.

    mirg data photos PHOTOS data/altered --n 600 --tasks difference
    python tools/seams.py data/altered

Each sample of the task ``difference`` gives two patches: the altered place, and one that is not altered: the same place
in the other copy (``--against copy``), or another place of the same image (``--against place``), which may have been
altered in both copies alike. Statistics of bands along the border go into a logistic regression that is cross-validated
by photograph: once those of the three pixels on each side of the border, once also those of wider bands from outside of
the place to 30 % of its shorter side inside of it. An accuracy of 0.5 is chance.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mirg.data.compose.edits import place_of
from mirg.data.compose.photos.places import free_place
from mirg.data.compose.pixels import LUMA, Pixels, Place, as_pixels
from mirg.samples import DatasetFolder, Sample

PIXELS = (-3, -2, -1, 0, 1, 2, 3)  # bands that are one pixel wide, by depth; negative depths are outside of the place
SHARES = (-0.12, -0.06, -0.02, 0.02, 0.06, 0.12, 0.2, 0.3)  # edges of wider bands, of the shorter side of the place
FOLDS, RIDGE = 5, 1.0

Floats = NDArray[np.float64]


def depths(shape: tuple[int, ...], place: Place) -> tuple[Floats, NDArray[np.bool_]]:
    """The depth of each pixel below the border of ``place``, shape (H, W), and whether the border is across its row."""
    x, y, width, height = place
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(float)
    beside = np.minimum(columns - x, x + width - 1 - columns)
    above = np.minimum(rows - y, y + height - 1 - rows)
    return np.minimum(beside, above), beside < above


def statistics(pixels: Pixels, place: Place) -> Floats:
    """Of each band: gradients across and along the border and roughness, as logarithms, and the change of colour."""
    grey = pixels @ LUMA
    depth, upright = depths(grey.shape, place)
    gy, gx = np.gradient(grey)
    across, along = np.where(upright, gx, gy), np.where(upright, gy, gx)
    rough = 4 * grey - sum(np.roll(grey, step, axis) for step in (1, -1) for axis in (0, 1))
    shorter = min(place[2:])
    bands = [(k, k + 1) for k in PIXELS]
    bands += [(a * shorter, b * shorter) for a, b in pairwise(SHARES)]
    found, colours = [], []
    for low, high in bands:
        inside = (depth >= low) & (depth < high)
        if not inside.any():  # at the edge of the image
            found += [np.nan] * 3
            colours.append(np.full(3, np.nan))
            continue
        found += [np.log(np.abs(plane[inside]).mean() + 1e-3) for plane in (across, along, rough)]
        colours.append(pixels[inside].mean(axis=0))
    steps = np.linalg.norm(np.diff(np.array(colours), axis=0), axis=1)
    return np.concatenate([found, np.log(steps + 1e-3)])


def patches(dataset: DatasetFolder, against: str) -> Iterator[tuple[Floats, int, str]]:
    """(statistics, 1 for an altered place or 0, photograph) of both patches of each sample."""
    for sample in dataset:
        if sample.task == "difference" and len(sample.targets) == 1:
            yield from _both(dataset, sample, against)


def _both(dataset: DatasetFolder, sample: Sample, against: str) -> Iterator[tuple[Floats, int, str]]:
    target = sample.targets[0]
    image = dataset.open_image(sample.images[target.image - 1])
    place = place_of(target.box, image.size)
    other: Place | None = place
    if against == "place":
        other = free_place(random.Random(sample.id), image.size, place[2:], [place])
    if other is None:
        return
    copy = image if against == "place" else dataset.open_image(sample.images[2 - target.image])
    yield statistics(as_pixels(image), place), 1, sample.image_set
    yield statistics(as_pixels(copy), other), 0, sample.image_set


def accuracy(features: Floats, labels: NDArray[np.int64], groups: list[str]) -> Floats:
    """Whether each patch is classified correctly by a regression that has not seen its photograph, shape (N,)."""
    names = sorted(set(groups))
    random.Random(0).shuffle(names)
    fold_of = {name: k % FOLDS for k, name in enumerate(names)}
    folds = np.array([fold_of[group] for group in groups])
    right = np.zeros(len(labels))
    for fold in range(FOLDS):
        train, test = folds != fold, folds == fold
        if test.any():
            right[test] = (_probability(features[train], labels[train], features[test]) > 0.5) == labels[test]
    return right


def _probability(train: Floats, labels: NDArray[np.int64], test: Floats) -> Floats:
    """Logistic regression with a ridge, fitted by Newton's method; missing values become the mean."""
    mean, spread = np.nanmean(train, axis=0), np.nanstd(train, axis=0) + 1e-9
    train, test = (np.c_[np.nan_to_num((part - mean) / spread), np.ones(len(part))] for part in (train, test))
    weights = np.zeros(train.shape[1])
    ridge = RIDGE * np.eye(len(weights))
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(train @ weights, -30, 30)))
        hessian = (train * (p * (1 - p))[:, None]).T @ train + ridge
        weights -= np.linalg.solve(hessian, train.T @ (p - labels) + ridge @ weights)
    return 1 / (1 + np.exp(-np.clip(test @ weights, -30, 30)))


def _error(right: Floats, groups: Sequence[str]) -> float:
    """Standard error of the mean, by photograph."""
    index = np.unique(np.array(groups), return_inverse=True)[1]
    residuals = np.bincount(index, right - right.mean())
    return float(np.sqrt((residuals**2).sum()) / len(right))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="a dataset folder made by mirg data photos with the task difference")
    parser.add_argument("--against", choices=("copy", "place"), default="copy")
    given = parser.parse_args()
    features, labels, groups = zip(*patches(DatasetFolder.open(given.dataset), given.against), strict=True)
    table, truth = np.array(features), np.array(labels)
    sys.stdout.write(f"{len(truth)} patches of {len(set(groups))} photographs; chance 0.5\n")
    for name, columns in (("border pixels", slice(0, 3 * len(PIXELS))), ("all bands", slice(None))):
        right = accuracy(table[:, columns], truth, list(groups))
        sys.stdout.write(f"{name}: accuracy {right.mean():.3f} +- {_error(right, groups):.3f}\n")


if __name__ == "__main__":
    main()

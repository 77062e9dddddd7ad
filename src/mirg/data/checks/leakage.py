"""Images that two datasets share: a benchmark says nothing about a model that was trained on its images.

Files are compared by their SHA-256, and looks by 64-bit difference hashes: all pairs of two sets within a few bits are
found without trying all. The hash is dHash (N. Krawetz, "Kind of like that", 2013): on a 9 x 8 grey thumbnail, whether
each pixel is brighter than its right neighbour. Resizing, recompression and small changes of colour move a few of the
64 bits. Other images with plain backgrounds come as close by chance, so a pair must also agree on a finer thumbnail.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirg.errors import ImageError
from mirg.executors import Executor, Local
from mirg.images import ImageLimits, image_digest, open_image
from mirg.samples import DatasetFolder, ImageRef, Sample
from mirg.samples.grouping import GroupBy

Hashes = NDArray[np.uint64]

MOST_BITS = 8  # distances that are searched; beyond them nearly every pair would have to be tried
FLAT = 6.0  # standard deviation of the thumbnail, grey levels; below it the hash is noise
BITS = 64
SIDE = 16  # of the thumbnail that confirms a pair
# Correlation of the thumbnails from which on a pair is one. Of 51 pairs of procedural scenes within 4 bits, all of
# different scenes, none reaches 0.90; copies at half the size, as JPEG 30 or with more contrast keep 0.98.
ALIKE = 0.92
_CHUNK = 1 << 21  # pairs that are compared at once
_ONES = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16).sum(axis=1, dtype=np.uint8)


class Look(NamedTuple):
    """The hash and the grey thumbnail (``SIDE`` x ``SIDE`` bytes) of an image; no hash if it is flat or broken."""

    hash: int | None
    thumbnail: bytes = b""


def difference_hash(path: str | Path, limits: ImageLimits) -> Look:
    """dHash of an image file; there is no hash if it is flat or cannot be opened (reading the rows reports that)."""
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
    compared. ``most`` is at most :data:`MOST_BITS`.
    """
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
    """Number of bits in which the hashes differ, place by place."""
    return _ONES[(a ^ b).view(np.uint16)].reshape(-1, 4).sum(axis=1, dtype=np.uint8)


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


class Use(NamedTuple):
    """Where an image is used first: the sample, the number of the image in it (from 1), and its path in the row."""

    sample_id: str
    image: int
    path: str


# Of each distinct file of a dataset, by path and in the order of first use: that use, and the digest if it is known.
Images = dict[str, tuple[Use, str | None]]


class SharedImage(NamedTuple):
    """One image of both datasets. ``bits`` is None where the files are equal, else the distance of their hashes."""

    train: Use
    benchmark: Use
    sha256: str | None
    bits: int | None = None
    dataset: str = ""  # which benchmark, where several are compared

    def __str__(self) -> str:
        return f"sample {self.train.sample_id}: {self.words}"

    @property
    def words(self) -> str:
        """Which image is which, without the sample of the training data."""
        how = "is" if self.bits is None else f"looks like ({self.bits} of 64 bits differ)"
        where = f" of {self.dataset}" if self.dataset else ""
        return (
            f"Image-{self.train.image} ({self.train.path}) {how} "
            f"Image-{self.benchmark.image} ({self.benchmark.path}) of sample {self.benchmark.sample_id}{where}"
        )

    def as_dict(self) -> dict[str, Any]:
        """The pair as JSON values."""
        return self._asdict() | {"train": self.train._asdict(), "benchmark": self.benchmark._asdict()}


class Digests:
    """SHA-256 of the images of one dataset, each file read once; ``known`` gets those of files, by path."""

    def __init__(self, folder: DatasetFolder, *, look: bool = True, known: dict[str, str | None] | None = None) -> None:
        self._folder, self._look = folder, look
        self.known = {} if known is None else known

    def uses(self, sample: Sample) -> Iterator[tuple[Use, str | None]]:
        """Every image of ``sample`` with its digest: what the row says, else (``look``) that of the file."""
        for number, ref in enumerate(sample.images, 1):
            digest = ref.sha256.lower() if ref.sha256 else self.of_file(ref) if self._look else None
            yield Use(sample.id, number, ref.path), digest

    def of_file(self, ref: ImageRef) -> str | None:
        """The digest of the file; None if it cannot be read, which is reported when the rows are read."""
        if ref.path not in self.known:
            try:
                self.known[ref.path] = image_digest(self._folder.image_path(ref))
            except ImageError:
                self.known[ref.path] = None
        return self.known[ref.path]


def shared_images(train: DatasetFolder, benchmark: DatasetFolder, *, look: bool = True) -> list[SharedImage]:
    """Every image content that both datasets hold, in the order in which ``train`` uses it first.

    Content is the SHA-256 of the file: as the row says, or (``look``) computed where the row has none. Rows that cannot
    be used are passed over; ``mirg data check`` lists them. Memory is one entry per image of the benchmark.
    """
    index, digests = [Holdout(benchmark, look=look)], Digests(train, look=look)
    shared: Shared = {}
    for sample in train.read(lambda rejection: None):
        note_shared(shared, digests.uses(sample), index)
    return list(shared.values())


class Holdout:
    """The images of a benchmark: where each content is used first."""

    def __init__(self, folder: DatasetFolder, *, look: bool = True, name: str = "", by: GroupBy | None = None) -> None:
        """Read all rows of ``folder``; ``rejected`` counts those that cannot be used.

        ``by`` also keeps which sample uses each group first; ``ungrouped`` counts the samples that have none.
        """
        self.folder, self.name = folder, name
        self.by_digest: dict[str, Use] = {}
        self.by_group: dict[str, str] = {}
        self.images: Images = {}
        self.digests = Digests(folder, look=look)
        rejected = array("Q")
        self.ungrouped = 0
        for sample in folder.read(lambda rejection: rejected.append(rejection.row)):
            keys = by.known(sample) if by else ()
            self.ungrouped += by is not None and not keys
            for key in keys:
                self.by_group.setdefault(key, sample.id)
            for use, digest in self.digests.uses(sample):
                self.images.setdefault(use.path, (use, digest))
                if digest is not None:
                    self.by_digest.setdefault(digest, use)
        self.rejected = len(rejected)


Shared = dict[tuple[str, int], SharedImage]


def note_shared(shared: Shared, images: Iterable[tuple[Use, str | None]], benchmarks: Sequence[Holdout]) -> None:
    """Add what of ``images`` is in ``benchmarks``, by digest: each content once for each benchmark."""
    for use, digest in images:
        for place, benchmark in enumerate(benchmarks):
            if digest is not None and digest in benchmark.by_digest:
                found = SharedImage(use, benchmark.by_digest[digest], digest, dataset=benchmark.name)
                shared.setdefault((digest, place), found)


def alike(
    folder: DatasetFolder, train: Images, benchmark: Holdout, most: int, run: Executor | None = None
) -> list[SharedImage]:
    """Images that differ in at most ``most`` bits of their difference hash, but not in nothing: those are shared.

    Flat images (a plain wall, a night sky) are not compared. Sorted by the use in ``train``.
    """
    mine, theirs = (_looks(one, images, run) for one, images in ((folder, train), (benchmark.folder, benchmark.images)))
    hashes = [np.array([look.hash for _, _, look in looks], dtype=np.uint64) for looks in (mine, theirs)]
    found = []
    for left, right, bits in near_pairs(hashes[0], hashes[1], most):
        (use, digest, look), (other_use, other_digest, other) = mine[left], theirs[right]
        if (digest is None or digest != other_digest) and look_alike(look, other):
            found.append(SharedImage(use, other_use, None, bits, benchmark.name))
    return found


class Leakage:
    """Which samples of a dataset must be left out, so that it shares nothing with benchmarks.

    A sample is left out if one of its images is in a benchmark, by content or (``near``, in bits) by look; with ``by``
    also if its group is in a benchmark, or is that of a sample that is left out for its images. ``ungrouped`` counts
    the samples of which no image has a group that can be found: only their images are compared.
    """

    def __init__(
        self,
        folder: DatasetFolder,
        benchmarks: Sequence[Holdout],
        *,
        near: int | None = None,
        by: GroupBy | None = None,
        run: Executor | None = None,
    ) -> None:
        """Read ``folder``: once, with ``by`` twice. Images are opened only with ``near``."""
        own = Holdout(folder, by=by)
        self._benchmarks, self._by, self._digests, self.ungrouped = benchmarks, by, own.digests, own.ungrouped
        self._alike: dict[str, SharedImage] = {}
        self._groups: dict[str, str] = {}
        for benchmark in benchmarks if near is not None else ():
            for shared in alike(folder, own.images, benchmark, near or 0, run):
                self._alike.setdefault(shared.train.path, shared)
        if by is not None:
            for sample in folder.read(lambda rejection: None):
                for key in by.known(sample) if self.shared(sample) else ():
                    self._groups.setdefault(key, sample.id)

    def shared(self, sample: Sample) -> SharedImage | None:
        """The first image of ``sample`` that a benchmark holds too."""
        for own, digest in self._digests.uses(sample):
            for benchmark in self._benchmarks:
                if digest is not None and digest in benchmark.by_digest:
                    return SharedImage(own, benchmark.by_digest[digest], digest, dataset=benchmark.name)
            if own.path in self._alike:
                return self._alike[own.path]._replace(train=own)
        return None

    def why(self, sample: Sample) -> tuple[str, str, str] | None:
        """(benchmark, field, reason) if ``sample`` must be left out; benchmark is "" for a group of this dataset."""
        shared = self.shared(sample)
        if shared is not None:
            return shared.dataset, f"images.{shared.train.image - 1}", f"leakage: {shared.words}"
        for key in self._by.known(sample) if self._by else ():
            for benchmark in self._benchmarks:
                if key in benchmark.by_group:
                    other = f"sample {benchmark.by_group[key]} of {benchmark.name}"
                    return benchmark.name, "group", f"leakage: its group {key!r} is that of {other}"
            if key in self._groups:
                other = f"sample {self._groups[key]}, which shares an image with a benchmark"
                return "", "group", f"leakage: its group {key!r} is that of {other}"
        return None


def _looks(folder: DatasetFolder, images: Images, run: Executor | None) -> list[tuple[Use, str | None, Look]]:
    """The images that have a hash."""
    found, tasks = [], []
    for use, digest in images.values():
        with contextlib.suppress(ImageError):  # an image that may not be opened has no look
            tasks.append((str(folder.image_path(ImageRef(path=use.path))), folder.limits))
            found.append((use, digest))
    looks = (run or Local()).map(_look, tasks, chunk=32)
    return [(*image, look) for image, look in zip(found, looks, strict=True) if look.hash is not None]


def _look(task: tuple[str, ImageLimits]) -> Look:
    return difference_hash(*task)

"""Images that two datasets share: a benchmark says nothing about a model that was trained on its images.

Files are compared by their SHA-256, and looks by 64-bit difference hashes: all pairs of two sets within a few bits are
found without trying all. The hash is dHash (N. Krawetz, "Kind of like that", 2013): on a 9 x 8 grey thumbnail, whether
each pixel is brighter than its right neighbour. Resizing, recompression and small changes of colour move a few of the
64 bits. Other images with plain backgrounds come as close by chance, so a pair must also agree on a finer thumbnail.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirg.errors import ImageError
from mirg.executors import Executor, Local
from mirg.images import DEFAULT_LIMITS, ImageLimits, image_digest, open_image
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
    compared. ValueError if ``most`` is beyond :data:`MOST_BITS`.
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


@dataclass(frozen=True, slots=True)
class Use:
    """Where an image is used first: the sample, the number of the image in it (from 1), and its path in the row."""

    sample_id: str
    image: int
    path: str


@dataclass(frozen=True, slots=True)
class SharedImage:
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

    def as_dict(self) -> dict[str, object]:
        """The pair as JSON holds it."""
        return dict(asdict(self))


def uses(sample: Sample, digests: Iterable[str | None]) -> Iterator[tuple[Use, str | None]]:
    """Every image of ``sample`` with its digest."""
    for number, (ref, digest) in enumerate(zip(sample.images, digests, strict=True), 1):
        yield Use(sample.id, number, ref.path), digest


class Digests:
    """SHA-256 of the images of one dataset: what the row says, else (``look``) that of the file, read once."""

    def __init__(self, folder: DatasetFolder, *, look: bool = True, believe: bool = True) -> None:
        """``believe`` False reads every file, whatever its row says."""
        self._folder, self._look, self._believe = folder, look or not believe, believe
        self.known: dict[str, str | None] = {}  # of files, by path

    def of(self, ref: ImageRef) -> str | None:
        """The digest; None where the row has none and the file is not looked at or cannot be read."""
        if ref.sha256 and self._believe:
            return ref.sha256.lower()
        if not self._look:
            return None
        if ref.path not in self.known:
            try:
                self.known[ref.path] = image_digest(self._folder.image_path(ref))
            except ImageError:
                self.known[ref.path] = None  # cannot be trained on or asked about: reading the rows reports it
        return self.known[ref.path]


def shared_images(train: DatasetFolder, benchmark: DatasetFolder, *, look: bool = True) -> list[SharedImage]:
    """Every image content that both datasets hold, in the order in which ``train`` uses it first.

    Content is the SHA-256 of the file: as the row says, or (``look``) computed where the row has none. Rows that cannot
    be used are passed over; ``mirg data check`` lists them. Memory is one entry per image of the benchmark.
    """
    index = Holdout(benchmark, look=look)
    digests = Digests(train, look=look)
    watch = Watch([index])
    for sample in train.read(lambda rejection: None):
        watch.see(sample, [digests.of(ref) for ref in sample.images])
    return watch.shared


class Holdout:
    """The images of a benchmark: where each content is used first."""

    def __init__(
        self,
        folder: DatasetFolder,
        *,
        look: bool = True,
        name: str = "",
        uses: bool = False,
        by: GroupBy | None = None,
    ) -> None:
        """Read all rows of ``folder``. ``uses`` keeps every image with its path, for :func:`alike`.

        ``by`` also keeps which sample uses each group first; ``ungrouped`` counts the samples that have none.
        """
        self.folder, self.name = folder, name
        self.by_digest: dict[str, Use] = {}
        self.by_group: dict[str, str] = {}
        self.ungrouped = 0
        self.images = Images() if uses else None
        digests = Digests(folder, look=look)
        self.rejected = 0
        for sample in folder.read(self._rejected):
            keys = group_keys(sample, by)
            self.ungrouped += by is not None and not keys
            for key in keys:
                self.by_group.setdefault(key, sample.id)
            known = [digests.of(ref) for ref in sample.images]
            for number, (ref, digest) in enumerate(zip(sample.images, known, strict=True), 1):
                if digest is not None and digest not in self.by_digest:
                    self.by_digest[digest] = Use(sample.id, number, ref.path)
            if self.images is not None:
                self.images.see(sample, known)

    def _rejected(self, rejection: object) -> None:
        self.rejected += 1


def group_keys(sample: Sample, by: GroupBy | None) -> list[str]:
    """The groups of the images of ``sample``, as far as they can be found; none without ``by``."""
    return by.known(sample) if by else []


class Watch:
    """Compares the images of a training mixture, sample by sample, with those of benchmarks."""

    def __init__(self, benchmarks: Sequence[Holdout]) -> None:
        self.benchmarks = benchmarks
        self.shared: list[SharedImage] = []
        self._said: set[tuple[int, str]] = set()

    def see(self, sample: Sample, digests: Iterable[str | None]) -> None:
        """Look up the images of one sample; each shared content is listed once for each benchmark."""
        for own, digest in uses(sample, digests):
            self.note(own, digest)

    def note(self, own: Use, digest: str | None) -> None:
        """Look up one image."""
        if digest is None:
            return
        for place, benchmark in enumerate(self.benchmarks):
            use = benchmark.by_digest.get(digest)
            if use is not None and (place, digest) not in self._said:
                self._said.add((place, digest))
                self.shared.append(SharedImage(own, use, digest, dataset=benchmark.name))


class Images:
    """The distinct image files of a dataset in the order of their first use: about 300 bytes each."""

    def __init__(self) -> None:
        self.uses: list[Use] = []
        self.digests: list[str | None] = []
        self._seen: set[str] = set()

    def see(self, sample: Sample, digests: Iterable[str | None]) -> None:
        """Note the images of one sample."""
        for use, digest in uses(sample, digests):
            self.note(use, digest)

    def note(self, use: Use, digest: str | None) -> None:
        """Note one image."""
        if use.path not in self._seen:
            self._seen.add(use.path)
            self.uses.append(use)
            self.digests.append(digest)


def alike(
    folder: DatasetFolder,
    train: Images,
    benchmark: Holdout,
    most: int,
    run: Executor | None = None,
) -> list[SharedImage]:
    """Images that differ in at most ``most`` bits of their difference hash, but not in nothing: those are shared.

    Flat images (a plain wall, a night sky) are not compared. Sorted by the use in ``train``.
    """
    if benchmark.images is None:
        return []
    run = run or Local()
    mine, theirs = _looks(folder, train, run), _looks(benchmark.folder, benchmark.images, run)
    found = []
    for left, right, bits in near_pairs(_hashes(mine), _hashes(theirs), most):
        (a, look), (b, other) = mine[left], theirs[right]
        digest = train.digests[a]
        equal = digest is not None and digest == benchmark.images.digests[b]
        if equal or not look_alike(look, other):
            continue
        found.append(SharedImage(train.uses[a], benchmark.images.uses[b], None, bits, benchmark.name))
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
        self._benchmarks, self._by = benchmarks, by
        self._digests = Digests(folder)
        self._alike: dict[str, SharedImage] = {}
        self._groups: dict[str, str] = {}
        self.ungrouped = 0
        images = Images()
        for sample in folder.read(lambda rejection: None):
            images.see(sample, [self._digests.of(ref) for ref in sample.images])
        for benchmark in benchmarks if near is not None else ():
            for shared in alike(folder, images, benchmark, near or 0, run):
                self._alike.setdefault(shared.train.path, shared)
        for sample in folder.read(lambda rejection: None) if by else ():
            keys = group_keys(sample, by)
            self.ungrouped += not keys
            if self.shared(sample):
                self._groups |= {key: sample.id for key in keys if key not in self._groups}

    def shared(self, sample: Sample) -> SharedImage | None:
        """The first image of ``sample`` that a benchmark holds too."""
        for own, digest in uses(sample, [self._digests.of(ref) for ref in sample.images]):
            for benchmark in self._benchmarks:
                found = benchmark.by_digest.get(digest) if digest else None
                if found is not None:
                    return SharedImage(own, found, digest, dataset=benchmark.name)
            if own.path in self._alike:
                return replace(self._alike[own.path], train=own)
        return None

    def why(self, sample: Sample) -> tuple[str, str, str] | None:
        """(benchmark, field, reason) if ``sample`` must be left out; benchmark is "" for a group of this dataset."""
        shared = self.shared(sample)
        if shared is not None:
            return shared.dataset, f"images.{shared.train.image - 1}", f"leakage: {shared.words}"
        for key in group_keys(sample, self._by):
            for benchmark in self._benchmarks:
                if key in benchmark.by_group:
                    other = f"sample {benchmark.by_group[key]} of {benchmark.name}"
                    return benchmark.name, "group", f"leakage: its group {key!r} is that of {other}"
            if key in self._groups:
                other = f"sample {self._groups[key]}, which shares an image with a benchmark"
                return "", "group", f"leakage: its group {key!r} is that of {other}"
        return None


def _looks(folder: DatasetFolder, images: Images, run: Executor) -> list[tuple[int, Look]]:
    """(place, look) of the images that have a hash."""
    paths = [(_path(folder, use), folder.limits) for use in images.uses]
    return [(place, look) for place, look in enumerate(run.map(_look, paths, chunk=32)) if look.hash is not None]


def _hashes(looks: Sequence[tuple[int, Look]]) -> Hashes:
    return np.array([look.hash for _, look in looks], dtype=np.uint64)


def _path(folder: DatasetFolder, use: Use) -> str:
    try:
        return str(folder.image_path(ImageRef(path=use.path)))
    except ImageError:
        return ""


def _look(task: tuple[str, ImageLimits]) -> Look:
    path, limits = task
    return difference_hash(path, limits or DEFAULT_LIMITS) if path else Look(None)

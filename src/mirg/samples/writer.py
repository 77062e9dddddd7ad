"""Writing a dataset folder, which appears complete or not at all; bringing samples of another dataset into it."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

from pydantic import ValidationError

from mirg.errors import DataError, ImageError, StorageError
from mirg.images import DEFAULT_LIMITS, ImageLimits, Size, open_image, to_rgb
from mirg.samples.card import (
    CARD_FILE,
    IMAGES_FOLDER,
    README_FILE,
    SAMPLES_FILE,
    DatasetCard,
    readme_text,
    size_words,
)
from mirg.samples.folder import DatasetFolder
from mirg.samples.ids import TextSet
from mirg.samples.rejected import REJECTED_FILE, Rejection, rejection_line
from mirg.samples.roots import CLOSEST, MARK, WHOLE_DISK, rooted, spelled
from mirg.samples.schema import ImageRef, Sample
from mirg.storage import (
    atomic_folder,
    digest_bytes,
    digest_file,
    read_jsonl,
    write_atomic,
    write_json_atomic,
)

if TYPE_CHECKING:
    from PIL import Image

# Fast rather than small: the level changes the size of a photograph by a fifth and the time threefold.
PNG_LEVEL = 1
_ODD = re.compile(r"[^A-Za-z0-9_-]+")  # what a name loses: every file system and every URL takes the rest
# Which images are copied: those of the dataset's own folder, all, or none; the new rows refer to the others.
Copy = Literal["own", "all", "none"]


_CLOSED = "a DatasetWriter is used inside its `with` block only"


class WrittenRow(NamedTuple):
    """A sample as a line of ``samples.jsonl``, and what a writer must know of it."""

    id: str
    task: str
    images: tuple[str, ...]
    line: bytes


def written(sample: Sample) -> WrittenRow:
    """``sample`` as a line; fields that have their default value are left out."""
    line = sample.model_dump_json(exclude_defaults=True).encode()
    return WrittenRow(sample.id, sample.task, tuple(ref.path for ref in sample.images), line)


class DatasetWriter:
    """Collects samples and images in a hidden sibling of ``path``; leaving the ``with`` block puts it in place.

    Leaving it by an exception removes everything. An existing folder that is not empty is refused unless
    ``overwrite``, which removes the old one after the new one is complete. Errors are DataError.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str,
        description: str = "",
        created_by: str = "",
        seed: int | None = None,
        license: str = "",
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.overwrite = overwrite
        about = {"description": description, "created_by": created_by, "seed": seed, "license": license}
        self._about: dict[str, Any] = {"name": name, **about}
        self._stack = contextlib.ExitStack()
        self._work: Path | None = None
        self._rows: BinaryIO | None = None
        self._rejected: BinaryIO | None = None
        self._ids = TextSet()
        self._tasks: Counter[str] = Counter()
        self._by_digest: dict[str, ImageRef] = {}
        self._stems: Counter[str] = Counter()
        self._roots: dict[str, str] = {}
        self._names = TextSet()  # image paths: a dataset may refer to millions
        self._images: tuple[str, ...] = ()  # those of the last row: the next one is often about the same

    def __enter__(self) -> DatasetWriter:
        try:
            with contextlib.ExitStack() as stack:
                self._work = stack.enter_context(atomic_folder(self.path, overwrite=self.overwrite))
                (self._work / IMAGES_FOLDER).mkdir()
                self._rows = stack.enter_context((self._work / SAMPLES_FILE).open("wb"))
                self._stack = stack.pop_all()
        except StorageError as error:
            raise DataError(error.message, hint=error.hint) from error
        return self

    @property
    def _folder(self) -> Path:
        if self._work is None:
            raise DataError(_CLOSED)
        return self._work

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            with self._stack:  # puts the folder in place, or removes it if this block raises
                if error is not None:
                    raise error
                self._finish()
        except StorageError as problem:  # a full disk, too
            if problem is error:
                raise
            raise DataError(problem.message, hint=problem.hint) from problem
        finally:
            self._rows = self._rejected = self._work = None

    def add_image(self, image: Image.Image, stem: str) -> ImageRef:
        """Store ``image`` as PNG and return its reference; equal pixels are stored once, whatever their ``stem``."""
        buffer = io.BytesIO()
        plain = to_rgb(image)
        plain.save(buffer, format="PNG", compress_level=PNG_LEVEL)
        return self._store(buffer.getvalue(), stem, ".png", plain.size)

    def add_file(
        self,
        path: str | Path,
        stem: str,
        *,
        size: Size | None = None,
        sample_id: str | None = None,
        limits: ImageLimits = DEFAULT_LIMITS,
    ) -> ImageRef:
        """Store a copy of an image file byte for byte.

        ImageError, naming ``sample_id``, if it does not decode or is not of ``size`` (width, height; None: of any).
        """
        path = Path(path)
        found = open_image(path, limits=limits, sample_id=sample_id).size
        if size is not None and found != size:
            owner = f"sample {sample_id}: " if sample_id else ""
            raise ImageError(f"{owner}image {path} {size_words(found, size)}")
        return self._store(path.read_bytes(), stem, path.suffix.lower(), found)

    def add_root(self, name: str, folder: str | Path) -> str:
        """Declare a folder whose images rows refer to; returns its name, which is another where ``name`` is taken.

        DataError if it is not a folder. A file below it is written ``rooted(name, path)`` in a row.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder", hint="images are referred to below it")
        if folder.resolve() == Path(folder.resolve().anchor):
            raise DataError(f"the root {folder} is {WHOLE_DISK}", hint=f"{CLOSEST}; absolute paths may lead into it")
        place = spelled(folder, self.path)
        clean = _ODD.sub("-", name).strip("-")[:40] or "images"
        free = (clean if k == 1 else f"{clean}-{k}" for k in itertools.count(1))
        chosen = next(n for n in free if self._roots.get(n, place) == place)
        self._roots[chosen] = place
        return chosen

    def has(self, sample_id: str) -> bool:
        """Whether a sample of this id was written."""
        return sample_id in self._ids

    def add(self, sample: Sample) -> None:
        """Append one sample. DataError for an id used before, or an image neither stored here nor in a root."""
        self.add_written(written(sample))

    def add_written(self, row: WrittenRow) -> None:
        """:meth:`add` for a sample that another process has written out."""
        if self._rows is None:
            raise DataError(_CLOSED)
        for path in row.images if row.images != self._images else ():
            if path.startswith(MARK) and path[1:].partition("/")[0] in self._roots:
                self._names.add(path)
            elif path not in self._names:
                raise DataError(f"sample {row.id}: image {path} is not in this dataset", hint="use add_image first")
        self._images = row.images
        if not self._ids.add(row.id):
            raise DataError(f"sample {row.id} was written already", hint="ids are unique in a dataset")
        self._rows.write(row.line + b"\n")
        self._tasks[row.task] += 1

    def reject(self, rejection: Rejection) -> None:
        """Append one line to ``rejected.jsonl``, which exists as soon as anything is rejected."""
        self.open_rejected().write(rejection_line(rejection))

    def open_rejected(self) -> BinaryIO:
        """``rejected.jsonl``, which a dataset then has even if nothing is rejected."""
        if self._rejected is None:
            self._rejected = self._stack.enter_context((self._folder / REJECTED_FILE).open("wb"))
        return self._rejected

    def _store(self, data: bytes, stem: str, suffix: str, size: tuple[int, int]) -> ImageRef:
        digest = digest_bytes(data)
        if digest in self._by_digest:
            return self._by_digest[digest]
        clean = _ODD.sub("-", stem).strip("-")[:80] or "image"
        count = self._stems[clean.lower()]  # names differ in more than case
        self._stems[clean.lower()] += 1
        name = f"{IMAGES_FOLDER}/{clean}{f'~{count}' if count else ''}{suffix}"
        (self._folder / name).write_bytes(data)
        self._names.add(name)
        return self._by_digest.setdefault(digest, ImageRef(path=name, width=size[0], height=size[1], sha256=digest))

    def _finish(self) -> None:
        for stream in (self._rows, self._rejected):
            if stream is not None:
                stream.close()
        self._about["roots"] = dict(sorted(self._roots.items()))
        _write_card(self._folder, len(self._ids), len(self._names), self._tasks, self._about)


def write_card(path: str | Path, *, name: str, description: str = "", license: str = "") -> DatasetCard:
    """Write ``card.json`` and ``README.md`` beside rows that were written by hand or changed; returns the card.

    All lines count, also broken ones: reading reports those. DataError if samples.jsonl is missing.
    """
    root = Path(path)
    rows, tasks, images = 0, Counter[str](), set[str]()
    try:
        for _, value in read_jsonl(root / SAMPLES_FILE):
            rows += 1
            with contextlib.suppress(ValidationError):
                sample = Sample.model_validate(value)
                tasks[sample.task] += 1
                images.update(ref.path for ref in sample.images)
        about = {"name": name, "description": description, "license": license}
        return _write_card(root, rows, len(images), tasks, about)
    except StorageError as error:
        raise DataError(error.message, hint=error.hint) from error


def _write_card(root: Path, n_samples: int, n_images: int, tasks: Counter[str], about: dict[str, Any]) -> DatasetCard:
    digest = digest_file(root / SAMPLES_FILE)
    counts = {"n_samples": n_samples, "n_images": n_images, "tasks": dict(sorted(tasks.items()))}
    card = DatasetCard(**counts, digest=digest, **about)
    write_json_atomic(root / CARD_FILE, card.model_dump(mode="json"))
    write_atomic(root / README_FILE, readme_text(card))
    return card


class Carrier:
    """Images of ``source`` as images of the dataset that ``target`` writes, each file looked at once."""

    def __init__(self, source: DatasetFolder, target: DatasetWriter, copy: Copy = "none") -> None:
        self.source = source
        self.target = target
        self.copy = copy
        self._done: dict[str, ImageRef] = {}
        self._roots: dict[str, str] = {}

    def carry(self, sample: Sample) -> Sample:
        """The sample with references that hold in the new folder. ImageError, naming it, if a copy is impossible."""
        return sample.model_copy(update={"images": tuple(self.carry_image(ref, sample.id) for ref in sample.images)})

    def carry_image(self, ref: ImageRef, sample_id: str) -> ImageRef:
        """The same for one image of the sample ``sample_id``."""
        own = not ref.path.startswith(MARK)
        if self.copy == "all" or (own and self.copy == "own"):
            if ref.path not in self._done:
                size, file = ref.size if ref.measured else None, self.source.image_path(ref, sample_id)
                self._done[ref.path] = self.target.add_file(
                    file, Path(ref.path).stem, size=size, sample_id=sample_id, limits=self.source.limits
                )
            stored = self._done[ref.path]
            if ref.measured and stored.size != ref.size:  # another row has the right size
                raise ImageError(f"sample {sample_id}: image {ref.path} {size_words(stored.size, ref.size)}")
            return ref.model_copy(update=stored.model_dump(include={"path", "sha256", "width", "height"}))
        name, _, inside = ("", "", ref.path) if own else ref.path.removeprefix(MARK).partition("/")
        if name not in self._roots:
            self.source.image_path(ref, sample_id)  # says which roots there are, if this one is not declared
            folder = self.source.root if own else self.source.roots.declared[name]
            self._roots[name] = self.target.add_root(name or self.source.card.name, folder)
        return ref.model_copy(update={"path": rooted(self._roots[name], inside)})

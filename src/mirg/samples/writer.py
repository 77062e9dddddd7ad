"""Writing a dataset folder: it appears complete, or not at all."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

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
from mirg.samples.ids import TextSet
from mirg.samples.rejected import REJECTED_FILE, Rejection, rejection_line
from mirg.samples.roots import CLOSEST, MARK, WHOLE_DISK, spelled
from mirg.samples.schema import ImageRef, Sample
from mirg.storage import (
    BadLine,
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
        self.name = name
        self.description = description
        self.created_by = created_by
        self.seed = seed
        self.license = license
        self.overwrite = overwrite
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
            self._work = self._stack.enter_context(atomic_folder(self.path, overwrite=self.overwrite))
            (self._work / IMAGES_FOLDER).mkdir()
            self._rows = self._stack.enter_context((self._work / SAMPLES_FILE).open("wb"))
        except (OSError, StorageError) as error:
            self._stack.close()
            raise _as_data_error(error, self.path) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            with self._stack:  # puts the folder in place, or removes it if this block raises
                if error is not None:
                    raise error
                self._finish()
        except (OSError, StorageError) as problem:
            if problem is error:
                raise
            raise _as_data_error(problem, self.path) from problem
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
        clean = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:40] or "images"
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
            raise DataError("a DatasetWriter is used inside its `with` block only")
        if row.images != self._images:
            self._know(row)
            self._images = row.images
        if not self._ids.add(row.id):
            raise DataError(f"sample {row.id} was written already", hint="ids are unique in a dataset")
        self._write_line(self._rows, row.line + b"\n")
        self._tasks[row.task] += 1

    def _know(self, row: WrittenRow) -> None:
        for path in row.images:
            if path.startswith(MARK) and path[1:].partition("/")[0] in self._roots:
                self._names.add(path)
            elif path not in self._names:
                raise DataError(f"sample {row.id}: image {path} is not in this dataset", hint="use add_image first")

    def reject(self, rejection: Rejection) -> None:
        """Append one line to ``rejected.jsonl``, which exists as soon as anything is rejected."""
        self._write_line(self.open_rejected(), rejection_line(rejection))

    def open_rejected(self) -> BinaryIO:
        """``rejected.jsonl``, which a dataset then has even if nothing is rejected."""
        if self._work is None:
            raise DataError("a DatasetWriter is used inside its `with` block only")
        if self._rejected is None:
            self._rejected = self._stack.enter_context((self._work / REJECTED_FILE).open("wb"))
        return self._rejected

    def _write_line(self, stream: BinaryIO, line: bytes) -> None:
        try:
            stream.write(line)
        except OSError as error:
            raise _as_data_error(error, self.path) from error

    def _store(self, data: bytes, stem: str, suffix: str, size: tuple[int, int]) -> ImageRef:
        if self._work is None:
            raise DataError("a DatasetWriter is used inside its `with` block only")
        digest = digest_bytes(data)
        if digest in self._by_digest:
            return self._by_digest[digest]
        name = self._free_name(stem, suffix)
        try:
            (self._work / name).write_bytes(data)
        except OSError as error:
            raise _as_data_error(error, self.path) from error
        ref = ImageRef(path=name, width=size[0], height=size[1], sha256=digest)
        self._by_digest[digest] = ref
        self._names.add(name)
        return ref

    def _free_name(self, stem: str, suffix: str) -> str:
        # Only letters that every file system and every URL takes; names differ in more than case.
        clean = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:80] or "image"
        count = self._stems[clean.lower()]
        self._stems[clean.lower()] += 1
        return f"{IMAGES_FOLDER}/{clean}{f'~{count}' if count else ''}{suffix}"

    def _finish(self) -> None:
        if self._work is None or self._rows is None:
            raise DataError("a DatasetWriter is used inside its `with` block only")
        for stream in (self._rows, self._rejected):
            if stream is not None:
                stream.close()
        self._rows = None
        card = DatasetCard(
            name=self.name,
            description=self.description,
            n_samples=len(self._ids),
            n_images=len(self._names),
            tasks=dict(sorted(self._tasks.items())),
            created_by=self.created_by,
            seed=self.seed,
            digest=digest_file(self._work / SAMPLES_FILE),
            license=self.license,
            roots=dict(sorted(self._roots.items())),
        )
        _write_card(self._work, card)


def write_card(path: str | Path, *, name: str, description: str = "", license: str = "") -> DatasetCard:
    """Write ``card.json`` and ``README.md`` beside rows that were written by hand or changed; returns the card.

    All lines count, also broken ones: reading reports those. DataError if samples.jsonl is missing.
    """
    root = Path(path)
    rows, tasks, images = 0, Counter[str](), set[str]()
    try:
        for _, value in read_jsonl(root / SAMPLES_FILE):
            rows += 1
            if isinstance(value, BadLine):
                continue
            try:
                sample = Sample.model_validate(value)
            except ValidationError:
                continue
            tasks[sample.task] += 1
            images.update(ref.path for ref in sample.images)
        card = DatasetCard(
            name=name,
            description=description,
            n_samples=rows,
            n_images=len(images),
            tasks=dict(sorted(tasks.items())),
            digest=digest_file(root / SAMPLES_FILE),
            license=license,
        )
        _write_card(root, card)
    except StorageError as error:
        raise _as_data_error(error, root) from error
    return card


def _write_card(root: Path, card: DatasetCard) -> None:
    write_json_atomic(root / CARD_FILE, card.model_dump(mode="json"))
    write_atomic(root / README_FILE, readme_text(card))


def _as_data_error(error: OSError | StorageError, path: Path) -> DataError:
    if isinstance(error, StorageError):
        return DataError(error.message, hint=error.hint)
    return DataError(f"cannot write {path}: {error.strerror or error}")

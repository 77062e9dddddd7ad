"""A multiple-choice benchmark as a dataset folder, out of a local folder or the Hugging Face Hub.

The folder is made once: every later command, also one that continues, reads it instead of the source. An item that
cannot be used (a picture that does not open, an answer that is no option) is listed in its ``rejected.jsonl``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from mirg.console import say
from mirg.data.importers import hf
from mirg.data.importers.raw import Row
from mirg.data.importers.rows import Refused, mapping, paths_of
from mirg.errors import ConfigError, DataError, EvaluationError, ImageError
from mirg.evaluation.choices.items import IMAGE, META, Item
from mirg.evaluation.choices.sets import SETS, ChoiceSet
from mirg.images import image_size
from mirg.samples import REJECTED_FILE, DatasetFolder, DatasetWriter, ImageRef, Rejection, Sample
from mirg.samples.card import CARD_FILE
from mirg.samples.roots import rooted
from mirg.storage import read_json, read_jsonl, scratch_folder

MAKER = "mirg evaluate --bench"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_TABLES = frozenset({".parquet", ".arrow", ".csv", ".tsv"})


class Source(NamedTuple):
    """Where the rows of a benchmark are: ``files`` below ``folder``, or the ``folder`` as a name on the hub."""

    name: str
    folder: Path
    files: tuple[Path, ...] = ()

    @property
    def choice_set(self) -> ChoiceSet:
        """The benchmark."""
        return SETS[self.name]


def find(name: str, root: Path) -> Source:
    """The files of benchmark ``name`` in the folder ``root``, or ``root`` as a name on the hub.

    ConfigError if it is neither; DataError if the folder has no file of the benchmark.
    """
    wanted = SETS[name]
    if not root.is_dir():
        if not _HUB_NAME.fullmatch(root.as_posix()):
            hint = f"--root is a folder, or the name of the benchmark on the hub: {wanted.hub}"
            raise ConfigError(f"{root} is not a folder", hint=hint)
        return Source(name, root)
    if (root / CARD_FILE).is_file():
        return Source(name, root)
    for pattern in wanted.files:
        if found := sorted(file for file in root.glob(pattern) if file.is_file()):
            return Source(name, root, tuple(found))
    hint = f"--root is the downloaded folder of {wanted.hub}, which has {wanted.files[0]}"
    raise DataError(f"{root} holds no file of {wanted.title}", hint=hint)


def prepared(source: Source, folder: Path, *, overwrite: bool = False) -> DatasetFolder:
    """The benchmark as a dataset: the one in ``folder``, which is made if it does not exist.

    A source that is itself such a dataset, made by another evaluation, is used unchanged. EvaluationError if ``folder``
    holds another dataset, DataError if the source cannot be read or has no item that can be used.
    """
    if (source.folder / CARD_FILE).is_file():
        return _checked(DatasetFolder.open(source.folder), source.name, source.folder.as_posix())
    about = f"{source.choice_set.title} from {source.folder.as_posix()}"
    if (folder / CARD_FILE).is_file() and not overwrite:
        found = _checked(DatasetFolder.open(folder), source.name, folder.as_posix())
        if found.card.description != about:
            hint = "choose another folder, or overwrite this one"
            raise EvaluationError(f"{folder} holds {found.card.description}, not {about}", hint=hint)
        return found
    say(f"reading {about}", file=sys.stderr)
    maker = f"{MAKER} {source.name}"
    kept, first = 0, ""
    with (
        scratch_folder(folder.with_name(f"{folder.name}.pictures")) as pictures,
        DatasetWriter(folder, name=source.name, description=about, created_by=maker, overwrite=True) as writer,
    ):
        keep = _Keeper(source, writer, pictures)
        for row in _rows(source):
            if refused := keep.add(row):
                writer.reject(refused)
                first = first or str(refused)
            else:
                kept += 1
        if not kept:
            raise DataError(f"{source.folder}: no item of {source.choice_set.title} can be used; first: {first}")
    return DatasetFolder.open(folder)


def rejections(dataset: DatasetFolder) -> list[Rejection]:
    """The items of a benchmark that are not in its dataset because they cannot be used."""
    file = dataset.root / REJECTED_FILE
    return [Rejection.model_validate(row) for _, row in read_jsonl(file)] if file.is_file() else []


def _checked(dataset: DatasetFolder, name: str, place: str) -> DatasetFolder:
    if dataset.card.created_by != f"{MAKER} {name}":
        hint = "--root is a downloaded benchmark, or the data folder of another evaluation of it"
        raise DataError(f"{place} is a dataset, but not of {SETS[name].title}", hint=hint)
    return dataset


def _rows(source: Source) -> Iterator[Row]:
    """The rows of all files, each with the path of its file relative to the folder."""
    wanted = source.choice_set
    if not source.files:
        for config in wanted.configs:
            table = hf.open_table(source.folder, wanted.split, config=config, data_file=wanted.data_file)
            yield from _numbered(config or wanted.hub, table, source.folder / config)
    for file in source.files:
        name = file.relative_to(source.folder).as_posix()
        if file.suffix.lower() in _TABLES:
            yield from _numbered(name, hf.open_table(file, "train"), file)
        elif file.suffix.lower() == ".jsonl":
            yield from (Row(name, number, value) for number, value in read_jsonl(file))
        else:
            value = read_json(file)
            values = value if isinstance(value, list) else [value]
            yield from (Row(name, number, row) for number, row in enumerate(values, 1))


def _numbered(name: str, table: Any, place: Path) -> Iterator[Row]:
    with hf.readable(place):
        for number, row in enumerate(hf.with_bytes(table), 1):
            yield Row(name, number, row)


class _Keeper:
    """Items as samples of a dataset: pictures inside a table are copied, those in files are referred to."""

    def __init__(self, source: Source, writer: DatasetWriter, pictures: Path) -> None:
        self.source, self.writer, self.pictures = source, writer, pictures
        self._root = ""

    def add(self, row: Row) -> Rejection | None:
        """Write the item of a row, or say why it cannot be used."""
        item: Item | None = None
        try:
            item = self.source.choice_set.read(mapping(row.value), PurePosixPath(row.file))
            self.writer.add(self._sample(item, row))
        except Refused as refused:
            field, reason, hint = refused.refusal[:3]
        except ImageError as error:
            field, reason, hint = "images", error.message, error.hint
        except DataError as error:
            if item is None or not self.writer.has(item.id):
                raise
            field, reason, hint = "id", error.message, ""
        else:
            return None
        name = item.id if item else None
        return Rejection(file=row.file, row=row.number, id=name, field=field, reason=reason, hint=hint)

    def _sample(self, item: Item, row: Row) -> Sample:
        places = item.text.count(IMAGE)
        if not item.images or places not in (0, len(item.images)):
            raise Refused("images", f"{len(item.images)} of them for {places} places in the text")
        refs = tuple(self._ref(cell, row, f"{item.id}-{k}") for k, cell in enumerate(item.images, 1))
        meta: dict[str, Any] = {META: item.key.model_dump()}
        if item.key.pair:  # two versions of one question are no independent evidence
            meta["image_set"] = item.key.pair
        return Sample(id=item.id, task=item.task, images=refs, question=item.text, source=self.source.name, meta=meta)

    def _ref(self, cell: Any, row: Row, stem: str) -> ImageRef:
        if isinstance(cell, str) or (isinstance(cell, dict) and not cell.get("bytes")):
            return self._below_root(paths_of(cell)[0], row)
        path = hf.stored(cell, str(self.pictures))
        if not isinstance(path, str):
            raise Refused("images", f"{stem} holds no image")
        ref = self.writer.add_file(path, stem)
        Path(path).unlink()  # large benchmarks need no second copy
        return ref

    def _below_root(self, path: str, row: Row) -> ImageRef:
        """A file named in a row: relative to the folder of the benchmark, or to the file of the row."""
        folder = self.source.folder.resolve()
        if not self.source.files:
            raise Refused("images", "names a file instead of holding the image", "download the benchmark to a folder")
        places = (folder / path, folder / PurePosixPath(row.file).parent / path, self._outer(row) / path)
        file = next((place for place in places if place.is_file()), places[0])
        if not file.resolve().is_relative_to(folder):
            raise Refused("images", f"image {path} lies outside of {self.source.folder}")
        width, height = image_size(file)
        self._root = self._root or self.writer.add_root(self.source.name, folder)
        inside = file.resolve().relative_to(folder).as_posix()
        return ImageRef(path=rooted(self._root, inside), width=width, height=height)

    def _outer(self, row: Row) -> Path:
        """The folder that holds the ``jsonl`` folder of the row's file, if the archive was unpacked into one."""
        parts = PurePosixPath(row.file).parts
        return self.source.folder.resolve().joinpath(*parts[: parts.index("jsonl")] if "jsonl" in parts else ())

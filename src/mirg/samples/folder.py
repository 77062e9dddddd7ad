"""Reading a dataset folder: ``samples.jsonl``, ``images/``, ``card.json``, ``README.md``.

Rows are streamed. A row that cannot be used becomes a :class:`Rejection` with file, row, id, field, reason and hint, so
rows read = accepted + rejected; nothing is repaired and no sample replaces another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from mirg.console import logger
from mirg.errors import DataError, ImageError, MirgError, StorageError, first_problem
from mirg.images import DEFAULT_LIMITS, Header, ImageLimits, image_digest, image_header, open_image
from mirg.samples.card import CARD_FILE, IMAGES_FOLDER, SAMPLES_FILE, DatasetCard, size_words
from mirg.samples.ids import TextSet
from mirg.samples.rejected import Rejection
from mirg.samples.roots import Roots
from mirg.samples.schema import SCHEMA_VERSION, ImageRef, Sample
from mirg.storage import BadLine, digest_file, parse_line, read_json, read_lines

if TYPE_CHECKING:
    import datasets
    from PIL import Image

ImageCheck = Literal["none", "header", "decode"]
OnReject = Callable[[Rejection], None]


class DatasetFolder:
    """A dataset on disk; make one with :meth:`open`."""

    def __init__(self, root: Path, card: DatasetCard, limits: ImageLimits = DEFAULT_LIMITS) -> None:
        self.root = root
        self.card = card
        self.limits = limits
        self.roots = Roots(root, card.roots)
        self._said = False  # that the rows are not those of the card

    @classmethod
    def open(cls, path: str | Path, *, limits: ImageLimits = DEFAULT_LIMITS) -> DatasetFolder:
        """The dataset in ``path``; DataError if there is no dataset, or if this release cannot read its version."""
        root = Path(path)
        if not root.is_dir():
            raise DataError(f"{root} is not a folder", hint="a dataset is a folder with samples.jsonl and card.json")
        for name in (SAMPLES_FILE, CARD_FILE):
            if not (root / name).is_file():
                hint = "mirg.samples.write_card(folder, name=...) makes a card for rows written by hand"
                raise DataError(f"{root} is not a dataset: {name} is missing", hint=hint)
        return cls(root, _read_card(root / CARD_FILE), limits)

    def __len__(self) -> int:
        """Number of rows that the card counts; broken rows among them are not yielded."""
        return self.card.n_samples

    def __iter__(self) -> Iterator[Sample]:
        return self.read()

    @cached_property
    def changed(self) -> bool:
        """Whether samples.jsonl is another file than the one that the card describes: changed by hand, or damaged."""
        return digest_file(self.root / SAMPLES_FILE) != self.card.digest

    def read(self, on_reject: OnReject | None = None, *, images: ImageCheck = "none") -> Iterator[Sample]:
        """Stream the samples; broken rows go to ``on_reject``, without one the first raises DataError.

        ``images`` says how image files are inspected: not at all, their header (present, inside their root,
        of the size that the row says; if it says none, the size is filled in), or every pixel. An image is
        inspected once, however many rows use it.
        """
        for _, sample in self.numbered(on_reject, images=images):
            yield sample

    def numbered(
        self, on_reject: OnReject | None = None, *, images: ImageCheck = "none"
    ) -> Iterator[tuple[int, Sample]]:
        """:meth:`read` with the line of the file, from 1, of each sample, for callers that reject more rows."""
        file = self.root / SAMPLES_FILE
        if self.changed and not self._said:
            words = "is damaged, or was changed by hand (mirg.samples.write_card describes it again)"
            logger.warning("%s is not the file that %s describes: it %s", file, CARD_FILE, words)
            self._said = True
        seen = TextSet()
        verdicts: dict[str, Header | str] = {}
        for row, value in read_lines(file):
            outcome = parse_row(file, row, value, seen)
            if isinstance(outcome, Sample) and images != "none":
                outcome = self.look_at(row, outcome, images, verdicts)
            if isinstance(outcome, Sample):
                seen.add(outcome.id)
                yield row, outcome
            elif on_reject is None:
                raise DataError(str(outcome))
            else:
                on_reject(outcome)

    def rejection(self, row: int, sample: Sample, field: str, reason: str | MirgError, hint: str = "") -> Rejection:
        """The record of a row (line of the file, from 1) that could be read and is not used; an error has its hint."""
        if isinstance(reason, MirgError):
            reason, hint = reason.message, reason.hint
        file = str(self.root / SAMPLES_FILE)
        return Rejection(file=file, row=row, id=sample.id, field=field, reason=reason, hint=hint)

    def image_path(self, ref: ImageRef, sample_id: str | None = None) -> Path:
        """The file of ``ref``; ImageError if it leaves its root (links are followed first) or is a URL."""
        return self.roots.resolve(ref.path, sample_id)

    def open_image(self, ref: ImageRef, sample_id: str | None = None) -> Image.Image:
        """The pixels of ``ref`` as upright RGB; ImageError naming ``sample_id`` if that is impossible."""
        image = open_image(self.image_path(ref, sample_id), limits=self.limits, sample_id=sample_id)
        if ref.measured and image.size != ref.size:
            owner = f"sample {sample_id}: " if sample_id else ""
            raise ImageError(f"{owner}image {ref.path} {size_words(image.size, ref.size)}")
        return image

    def verify(self) -> list[str]:
        """Everything that differs from the card and the rows: changed rows, changed or missing images, broken rows."""
        problems = []
        if self.changed:
            problems.append(f"{SAMPLES_FILE} is not the file that {CARD_FILE} describes (digest differs)")
        digests: dict[str, str] = {}
        for sample in self.read(lambda rejection: problems.append(str(rejection)), images="header"):
            for ref in sample.images:
                if ref.sha256 and ref.path not in digests:
                    digests[ref.path] = image_digest(self.image_path(ref))
                if ref.sha256 and digests[ref.path] != ref.sha256:
                    problems.append(f"sample {sample.id}: image {ref.path} is not the one described (digest differs)")
        return problems

    def to_hf(self, on_reject: OnReject | None = None, *, images: ImageCheck = "decode") -> datasets.Dataset:
        """A ``datasets.Dataset`` with the columns id, task, question, images (decoded when read), record (JSON).

        Every image is checked first, by default to the last pixel: a bad one met inside a trainer would end the run.
        """
        import datasets

        columns: dict[str, list[object]] = {name: [] for name in ("id", "task", "question", "images", "record")}
        for sample in self.read(on_reject, images=images):
            columns["id"].append(sample.id)
            columns["task"].append(sample.task)
            columns["question"].append(sample.question)
            columns["images"].append([str(self.image_path(ref)) for ref in sample.images])
            columns["record"].append(sample.model_dump_json())
        kinds = dict.fromkeys(columns, datasets.Value("string")) | {"images": datasets.List(datasets.Image(mode="RGB"))}
        return datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))

    def look_at(
        self, row: int, sample: Sample, check: ImageCheck, verdicts: dict[str, Header | str]
    ) -> Sample | Rejection:
        """``sample`` with the sizes of its images (width, height), or why they cannot be used; ``check`` is not none.

        ``verdicts`` holds by path what was found before (a header, or what is wrong) and gets what is found now.
        ``row`` is named in a rejection.
        """
        filled: list[ImageRef] = []
        for number, ref in enumerate(sample.images):
            if ref.path not in verdicts:
                try:
                    path = self.image_path(ref)
                    if check == "decode":
                        open_image(path, limits=self.limits)
                    verdicts[ref.path] = image_header(path, limits=self.limits)
                except ImageError as error:
                    verdicts[ref.path] = error.message
            found = verdicts[ref.path]
            if not isinstance(found, str) and ref.measured and found.size != ref.size:
                found = f"image {ref.path} {size_words(found.size, ref.size)}"
            if isinstance(found, str):
                hint = f"restore the file, or drop the row; images belong below {IMAGES_FOLDER}/ or a declared root"
                return self.rejection(row, sample, f"images.{number}", found, hint)
            size = {"width": found.width, "height": found.height}
            filled.append(ref if ref.measured else ref.model_copy(update=size))
        return sample.model_copy(update={"images": tuple(filled)})


def _read_card(path: Path) -> DatasetCard:
    try:
        value = read_json(path)
        version = value.get("schema_version") if isinstance(value, dict) else None
        if isinstance(version, str) and version != SCHEMA_VERSION:
            words = f"{path}: schema {version!r}, this release reads {SCHEMA_VERSION!r}"
            raise DataError(words, hint="convert it again")
        return DatasetCard.model_validate(value)
    except StorageError as error:
        raise DataError(error.message, hint=error.hint) from error
    except ValidationError as error:
        field, reason = first_problem(error)
        raise DataError(f"{path}: {field}: {reason}") from error


def parse_row(file: str | Path, row: int, value: object, seen: TextSet) -> Sample | Rejection:
    """The sample of one line of ``file``, or the reason why it cannot be used.

    ``value`` is the line, or what :func:`mirg.storage.parse_line` reads it as. pydantic's own reader of JSON takes half
    the time; what it refuses is read again, since a line may begin with a byte order mark and a reason names the field.
    ``seen`` are the ids of earlier rows; the caller adds this one where the row is accepted.
    """
    sample: Sample | None = None
    field = "line"
    try:
        if isinstance(value, bytes):
            try:
                sample = Sample.model_validate_json(value)
            except ValidationError:
                value = parse_line(value)
        if isinstance(value, BadLine):
            reason = value.reason
            hint = "the file was cut off: copy or write it again" if value.torn else "every line is one JSON object"
        elif sample is None and _has_half_pairs(value):
            reason = "holds half of a surrogate pair"
            hint = "JSON spells it as \\ud800, and it is not a character: write the row as UTF-8"
        else:
            sample = sample or Sample.model_validate(value)
            if sample.id not in seen:
                return sample
            field, reason = "id", "id was used by an earlier row"
            hint = "ids name samples in every later file: make them unique"
    except ValidationError as error:
        field, reason = first_problem(error)
        hints = {"extra_forbidden": "custom fields belong in meta"}
        hints["missing"] = "see docs/concepts/samples.md for the fields of a sample"
        hint = hints.get(error.errors(include_url=False)[0]["type"], "see docs/concepts/samples.md")
    given = sample.id if sample else value.get("id") if isinstance(value, dict) else None
    name = given if isinstance(given, str) else None
    return Rejection(file=str(file), row=row, id=name, field=field, reason=reason, hint=hint)


def _has_half_pairs(value: object) -> bool:
    """Whether a text in ``value`` holds half of a surrogate pair, which JSON can spell and no other file can hold."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except RecursionError:  # nested too deeply to say
        return False
    return False

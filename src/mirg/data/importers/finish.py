"""From what a reader found to samples: paths inside the root, facts of the images, boxes in fractions.

:func:`finish` converts one row, so that rows can be converted in any process. What needs all rows (ids, frames) is done
by ``mirg.data.importers.run``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from pydantic import ValidationError

from mirg.answers.blocks import TAGS
from mirg.answers.markup import box_markup
from mirg.data.importers.evidence import Evidence
from mirg.data.importers.frames import WORDS, Resized, only_fractions, possible, to_fractions
from mirg.data.importers.look import Facts, Looker, clean_path
from mirg.data.importers.raw import FrameName, ImportOptions, RawBox, RawImage, RawObject, RawSample, Refusal, Row, Text
from mirg.data.importers.relabel import Noted, checked
from mirg.data.importers.rows import Refused
from mirg.errors import DataError, ImageError, first_problem
from mirg.families import FAMILIES
from mirg.geometry import Box, box_problem
from mirg.images import ORIENTATION_WORDS, stored_size, upright_box
from mirg.samples import ImageRef, ObjectNote, Sample, Target, Trajectory
from mirg.samples.roots import rooted
from mirg.samples.schema import EXIF_META
from mirg.samples.writer import WrittenRow, written

# Root of images that the source held as bytes: they are copied into the dataset before it is written.
STORED = ":stored"
_OUTSIDE = "correct the annotation; if all boxes are like this one, --frame says in which frame they are"
_PICTURES = {"apply": "the upright picture", "ignore": "the stored picture, and sets them upright with it"}
# Parts that would not be read as text: the markup of mirg, tokens of model families; in the thinking also its tags.
_RESERVED = ("<box image=", *sorted({token for family in FAMILIES.values() for token in family.vision_tokens}))


class Job(NamedTuple):
    """What all rows of one import share."""

    kind: str
    options: ImportOptions
    frame: FrameName  # "auto": the frame is still open, and boxes are only evidence of it
    root_name: str
    journal: str = ""
    run: str = ""  # what is known of files holds for one run, they may change before the next
    resized: Resized | None = None  # how images were resized, for boxes in pixels of the resized image
    plugin: str = ""  # FILE.py:NAME of the importer, if it is a plug-in: every process loads it itself
    tried: tuple[Resized, ...] = ()  # resizings that boxes are tried on: all if "auto", else those that do not fit


class Rotated(NamedTuple):
    """A photograph that EXIF rotates: its path as a row has it, and the orientation, 2 to 8."""

    path: str
    orientation: int


class _Seen(NamedTuple):
    """An image of a row: its reference, and the frame of its boxes.

    ``size`` is (width, height) in pixels of the picture in which the boxes were drawn, None if unknown. ``exif``
    says which picture that is if EXIF rotates the file: the upright one (apply), the stored one (ignore), or unknown.
    """

    ref: ImageRef
    size: tuple[int, int] | None
    orientation: int = 1
    exif: str = ""


_Known = dict[tuple[object, ...], _Seen]  # by what a row says of an image


class Finished(NamedTuple):
    """What became of one row."""

    row: Row  # without its value
    written: list[WrittenRow]
    refused: list[Refusal]
    evidence: Evidence
    facts: list[tuple[str, Facts]]  # of images that nobody had looked at
    noted: Noted
    rotated: list[Rotated]  # images with boxes of which it is not known whether they were drawn before the rotation


def finish(job: Job, row: Row) -> Finished:
    """Convert one row. What is wrong with it, or with one of its questions, is a refusal and no exception."""
    from mirg.data.importers.formats import source_of

    looker = _looker(job.options.root, job.options.look, job.journal, job.run)
    source = source_of(job.plugin or job.kind)
    found = Finished(row._replace(value=None), [], [], Evidence(), looker.fresh, Noted(), [])
    known: _Known = {}  # the questions of one row are about the same images, and come by the dozen
    for outcome in source.convert(row.value, job.options):
        if isinstance(outcome, Refusal):
            found.refused.append(outcome)
            continue
        try:
            raw = checked(outcome, row.value, job.options, found.noted, mapped=source.maps_labels)
            sample = _Finisher(job, looker, found, raw, known).sample()
        except Refused as refused:
            found.refused.append(Refusal(*refused.refusal[:3], id=outcome.id))
        else:
            if sample is not None:
                found.noted.add(raw)
                found.written.append(written(sample))
    if job.options.labels and job.frame != "auto":
        found.noted.met = job.options.labels.take_met()
    looker.fresh = []
    if job.options.stored:
        _looker(job.options.stored, job.options.look, "", job.run).fresh = []
    return found


@lru_cache(maxsize=4)
def _looker(root: str, look: str, journal: str, run: str) -> Looker:
    """One per process and run: an image that many rows use is opened once."""
    return Looker(root, look, journal)  # type: ignore[arg-type]


class _Finisher:
    """Makes the sample of ``raw``; ``known`` holds the images that earlier questions of the row are about."""

    def __init__(self, job: Job, looker: Looker, found: Finished, raw: RawSample, known: _Known) -> None:
        self.job, self.looker, self.found, self.raw, self.known = job, looker, found, raw, known
        self.seen: list[_Seen] = []  # the images of the sample
        self.boxed: set[int] = set()  # numbers of the images with boxes

    def sample(self) -> Sample | None:
        """The sample; None if the frame is still open. Refused if the row is not a valid sample."""
        raw = self.raw
        for k, image in enumerate(raw.images):
            key = (image.path, image.width, image.height, image.role, image.caption, image.frame)
            if key not in self.known:
                self.known[key] = self._looked_at(f"images.{k}", image)
            self.seen.append(self.known[key])
        self._note_boxes()
        if self.job.frame == "auto":
            return None
        exif, unknown = self._exif()
        trajectory = raw.trajectory
        try:
            targets = tuple(
                Target(image=box.image, box=self._box(box, box.image, f"targets.{k}"), label=box.label)
                for k, box in enumerate(raw.targets)
            )
            if raw.thinking and not trajectory:
                thinking = self._text(raw.thinking, "thinking")
                trajectory = Trajectory(thinking=thinking, answer=targets, writer=self.job.kind)
            sample = Sample(
                id=raw.id,
                task=raw.task,
                images=tuple(self._with_objects(k, image) for k, image in enumerate(raw.images)),
                question=self._text(raw.question, "question"),
                targets=targets,
                relation=raw.relation,
                image_hidden=raw.image_hidden,
                source=raw.source or self.job.kind,
                trajectory=trajectory,
                meta=raw.meta | exif,
            )
        except ValidationError as error:
            raise Refused(*first_problem(error)) from error
        self.found.rotated.extend(unknown)
        return sample

    def _looked_at(self, where: str, image: RawImage) -> _Seen:
        options = self.job.options
        looker, root, path, strip = self.looker, self.job.root_name, image.path, options.strip
        if options.stored and path.startswith(f"{options.stored}/"):
            looker, root, strip = _looker(options.stored, options.look, "", self.job.run), STORED, ""
            path = path.removeprefix(f"{options.stored}/")
        try:
            facts = looker.at(clean_path(path, options.root, strip))
        except ImageError as error:
            raise Refused(where, error.message, error.hint) from error
        told = (image.width, image.height) if image.width > 0 and image.height > 0 else None
        size = facts.size or told
        exif = self._rotation(where, facts, told)
        width, height = size or (0, 0)
        ref = ImageRef(
            path=rooted(root, facts.path),
            width=width,
            height=height,
            sha256=facts.sha256,
            role=image.role,
            caption=image.caption,
            frame=image.frame,
        )
        drawn = stored_size(size, facts.orientation) if size and exif == "ignore" else size
        return _Seen(ref, drawn, facts.orientation, exif)

    def _rotation(self, where: str, facts: Facts, told: tuple[int, int] | None) -> str:
        """How the EXIF rotation is treated of an image (:attr:`_Seen.exif`). Refused if the sizes contradict it."""
        wanted = self.job.options.exif
        if facts.size is None:
            return ""
        stored = stored_size(facts.size, facts.orientation)
        frame = stored if wanted == "ignore" else facts.size
        words = ORIENTATION_WORDS.get(facts.orientation, "")
        if told and told != frame:
            is_, says = f"is {facts.size[0]} x {facts.size[1]} pixels", f"the row says {told[0]} x {told[1]}"
            if not words:
                hint = "the annotation was made for another version of the file"
                raise Refused(where, f"image {facts.path} {is_}, {says}", hint)
            other = {stored: "ignore", facts.size: "apply"}.get(told)
            reason = f"image {facts.path} is {words} by EXIF: upright it {is_}, {says}"
            hint = f"--exif {other} takes the boxes as drawn in {_PICTURES[other]}" if other else "annotate it again"
            raise Refused(where, reason, hint)
        if not words:
            return ""
        if wanted is None and told and stored != facts.size:
            return "apply"  # only the upright picture has the size that the row says
        return wanted or "unknown"

    def _exif(self) -> tuple[dict[str, str], list[Rotated]]:
        """What ``meta`` says about rotated photographs with boxes, and those whose boxes have no known orientation."""
        pairs = zip(self.raw.images, self.seen, strict=True)
        boxed = [(image, seen) for k, (image, seen) in enumerate(pairs, 1) if seen.exif and k in self.boxed]
        prefix = f"{self.job.options.stored}/" if self.job.options.stored else ""
        unknown = [
            Rotated(i.path.removeprefix(prefix), seen.orientation) for i, seen in boxed if seen.exif == "unknown"
        ]
        told = sorted({seen.exif for _, seen in boxed})
        return ({EXIF_META: told[0]} if told and not unknown else {}), unknown

    def _note_boxes(self) -> None:
        """Every box as evidence of the frame, but for those that say it themselves."""
        job, raw, evidence = self.job, self.raw, self.found.evidence
        where = f"{self.found.row.file}:{self.found.row.number}"
        written = [part for part in (*raw.question, *(raw.thinking or ())) if not isinstance(part, str)]
        boxes: list[tuple[int, RawBox | RawObject]] = [(box.image, box) for box in (*raw.targets, *written)]
        boxes += [(number, thing) for number, image in enumerate(raw.images, 1) for thing in image.objects]
        for number, box in boxes:
            self.boxed.add(number)
            if box.frame is not None or not 1 <= number <= len(self.seen):
                continue
            numbers, size = box.numbers, self.seen[number - 1].size
            if job.frame == "auto":
                evidence.weigh(where, numbers, size, job.tried)
                continue
            own = [(job.resized.key, job.resized.sides(size) if size else None)] if job.resized else []
            kind = possible(numbers, size, own)
            if (job.resized.key if job.resized else job.frame) not in kind and size:
                kind |= possible(numbers, size, [(one.key, one.sides(size)) for one in job.tried])
            evidence.add(kind, where, numbers)

    def _box(self, raw: RawBox | RawObject, image: int, field: str) -> Box:
        """``raw`` of Image-``image`` in fractions of the upright picture. Refused if it is no box of the image."""
        numbers, frame = raw.numbers, raw.frame or self.job.frame
        if not 1 <= image <= len(self.seen):
            raise Refused(field, f"Image-{image} does not exist, the row has {len(self.seen)} images")
        seen, resized = self.seen[image - 1], self.job.resized
        try:
            box = to_fractions(numbers, seen.size, frame, resized.sides(seen.size) if resized and seen.size else None)
        except DataError as error:
            raise Refused(field, error.message, error.hint) from error
        if seen.exif == "ignore":
            box = upright_box(box, seen.orientation)
        problem = box_problem(box)
        if problem or (frame != "fraction" and only_fractions(numbers)):
            given = ", ".join(f"{v:g}" for v in numbers)
            if problem:
                hint = "correct the annotation" if problem != "outside" else _OUTSIDE
                raise Refused(field, f"box ({given}) in {WORDS[frame]} is {problem}", hint)
            reason = f"box ({given}) can only be fractions (0-1), and the boxes are read as {WORDS[frame]}"
            raise Refused(field, reason, "if all boxes are fractions, import with --frame fraction")
        return box

    def _with_objects(self, k: int, image: RawImage) -> ImageRef:
        notes = tuple(
            ObjectNote(
                label=thing.label,
                box=self._box(thing, k + 1, f"images.{k}.objects.{n}"),
                attributes=thing.attributes or {},
            )
            for n, thing in enumerate(image.objects)
        )
        ref = self.seen[k].ref
        return ref.model_copy(update={"objects": notes}) if notes else ref

    def _text(self, text: Text, field: str) -> str:
        words = (*_RESERVED, *TAGS) if field == "thinking" else _RESERVED
        parts = []
        for part in text:
            if isinstance(part, RawBox):
                parts.append(box_markup(part.image, self._box(part, part.image, field)))
                continue
            reserved = next((word for word in words if word in part), None) if "<" in part else None
            if reserved:
                raise Refused(field, f"holds {reserved!r}, which would not be read as text", "remove it")
            parts.append(part)
        return "".join(parts).strip()

"""From what a reader found to samples: paths inside the root, facts of the images, boxes in fractions.

:func:`finish` works on one row alone, so that rows can be worked on anywhere; what needs all of them (ids, frames) is
left to ``mirg.sources.importer``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from pydantic import ValidationError

from mirg.answers.markup import box_markup
from mirg.answers.tags import TAGS
from mirg.errors import DataError, ImageError, first_problem
from mirg.frames import FAMILIES
from mirg.geometry import Box, box_problem
from mirg.samples import ImageRef, ObjectNote, Sample, Target, Trajectory
from mirg.samples.roots import rooted
from mirg.samples.writer import WrittenRow, written
from mirg.sources.evidence import Evidence
from mirg.sources.frames import WORDS, FrameName, possible, to_fractions
from mirg.sources.look import Facts, Looker, clean_path
from mirg.sources.options import ImportOptions
from mirg.sources.raw import Numbers, RawBox, RawImage, RawSample, Refusal, Row, Text
from mirg.sources.resized import Resized

# Root of images that the source held as bytes: they are copied into the dataset before it is written.
STORED = ":stored"
# What would not be read as text: markup of our own, the tokens of the model families; in the thinking also its tags.
_RESERVED = ("<box image=", *sorted({token for family in FAMILIES.values() for token in family.vision_tokens}))


class Job(NamedTuple):
    """What all rows of one import share."""

    kind: str
    options: ImportOptions
    frame: FrameName  # "auto": the boxes are looked at, and nothing is made of them
    root_name: str
    journal: str = ""
    run: str = ""  # what is known of files holds for one run, they may change before the next
    resized: Resized | None = None  # how images were resized, for boxes in pixels of the resized image
    tried: tuple[Resized, ...] = ()  # resizings that boxes are tried on: all if "auto", else those that do not fit


class Finished(NamedTuple):
    """What became of one row."""

    row: Row  # without its value
    written: list[WrittenRow]
    refused: list[Refusal]
    evidence: Evidence
    facts: list[tuple[str, Facts]]  # of images that nobody had looked at


# Images of one row by what it says of them: its questions are about the same ones, and come by the dozen.
Known = dict[tuple[object, ...], tuple[ImageRef, tuple[int, int] | None]]


class _Refused(Exception):
    def __init__(self, field: str, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.refusal = (field, reason, hint)


def finish(job: Job, row: Row) -> Finished:
    """Convert one row. What is wrong with it, or with one of its questions, is a refusal and no exception."""
    from mirg.sources.kinds import SOURCES

    looker = _looker(job.options.root, job.options.look, job.journal, job.run)
    found = Finished(row._replace(value=None), [], [], Evidence(), looker.fresh)
    known: Known = {}
    for outcome in SOURCES[job.kind].convert(row.value, job.options):
        if isinstance(outcome, Refusal):
            found.refused.append(outcome)
            continue
        try:
            sample = _Finisher(job, looker, found, outcome, known).sample()
        except _Refused as refused:
            found.refused.append(Refusal(*refused.refusal, id=outcome.id))
        else:
            if sample is not None:
                found.written.append(written(sample))
    looker.fresh = []
    if job.options.stored:
        _looker(job.options.stored, job.options.look, "", job.run).fresh = []
    return found


@lru_cache(maxsize=4)
def _looker(root: str, look: str, journal: str, run: str) -> Looker:
    """One per process and run: an image that many rows use is looked at once."""
    return Looker(root, look, journal)  # type: ignore[arg-type]


class _Finisher:
    """One sample on its way."""

    def __init__(self, job: Job, looker: Looker, found: Finished, raw: RawSample, known: Known) -> None:
        self.job, self.looker, self.found, self.raw, self.known = job, looker, found, raw, known
        self.where = f"{found.row.file}:{found.row.number}"
        self.sizes: list[tuple[int, int] | None] = []

    def sample(self) -> Sample | None:
        """The sample; None where the frame is still open. _Refused where it cannot be one."""
        raw = self.raw
        images = [self._image(number, image) for number, image in enumerate(raw.images, 1)]
        self._note_boxes()
        if self.job.frame == "auto":
            return None
        try:
            return Sample(
                id=raw.id,
                task=raw.task,
                images=tuple(self._with_objects(number, ref) for number, ref in enumerate(images, 1)),
                question=self._text(raw.question, "question"),
                targets=tuple(self._target(k, box) for k, box in enumerate(raw.targets)),
                relation=raw.relation,
                image_hidden=raw.image_hidden,
                source=raw.source or self.job.kind,
                trajectory=self._trajectory(),
                meta=raw.meta,
            )
        except ValidationError as error:
            raise _Refused(*first_problem(error)) from error

    def _image(self, number: int, image: RawImage) -> ImageRef:
        key = (image.path, image.width, image.height, image.role, image.caption, image.frame)
        if key not in self.known:
            self.known[key] = self._looked_at(number, image)
        ref, size = self.known[key]
        self.sizes.append(size)
        return ref

    def _looked_at(self, number: int, image: RawImage) -> tuple[ImageRef, tuple[int, int] | None]:
        options = self.job.options
        looker, root_name, given = self.looker, self.job.root_name, image.path
        if options.stored and given.startswith(f"{options.stored}/"):
            looker, root_name, given = (
                _looker(options.stored, options.look, "", self.job.run),
                STORED,
                given[len(options.stored) + 1 :],
            )
        try:
            path = clean_path(given, options.root, options.strip if root_name != STORED else "")
            facts = looker.at(path)
        except ImageError as error:
            raise _Refused(f"images.{number - 1}", error.message, error.hint) from error
        told = (image.width, image.height) if image.width > 0 and image.height > 0 else None
        size = facts.size or told
        if facts.size and told and facts.size != told:
            raise _Refused(
                f"images.{number - 1}",
                f"image {path} is {facts.size[0]} x {facts.size[1]} pixels, the row says {told[0]} x {told[1]}",
                "the annotation was made for another version of the file",
            )
        ref = ImageRef(
            path=rooted(root_name, path),
            width=size[0] if size else 0,
            height=size[1] if size else 0,
            sha256=facts.sha256,
            role=image.role,
            caption=image.caption,
            frame=image.frame,
        )
        return ref, size

    def _note_boxes(self) -> None:
        """Every box as evidence of the frame, but for those that say it themselves."""
        raw = self.raw
        texts = (part for text in (raw.question, raw.thinking or ()) for part in text)
        for box in (*raw.targets, *(part for part in texts if isinstance(part, RawBox))):
            if box.frame is None and 1 <= box.image <= len(self.sizes):
                self._note(box.numbers, self.sizes[box.image - 1])
        for image, size in zip(raw.images, self.sizes, strict=True):
            for thing in image.objects:
                if thing.frame is None:
                    self._note(thing.numbers, size)

    def _note(self, numbers: Numbers, size: tuple[int, int] | None) -> None:
        job, evidence = self.job, self.found.evidence
        if job.frame == "auto":
            evidence.weigh(self.where, numbers, size, job.tried)
            return
        own = [(job.resized.key, job.resized.sides(size) if size else None)] if job.resized else []
        kind = possible(numbers, size, own)
        if (job.resized.key if job.resized else job.frame) not in kind and size:
            kind |= possible(numbers, size, [(one.key, one.sides(size)) for one in job.tried])
        evidence.add(kind, self.where, numbers)

    def _box(self, numbers: Numbers, image: int, field: str, frame: FrameName | None = None) -> Box:
        frame = frame or self.job.frame
        if not 1 <= image <= len(self.sizes):
            raise _Refused(field, f"Image-{image} does not exist, the row has {len(self.sizes)} images")
        size, resized = self.sizes[image - 1], self.job.resized
        try:
            box = to_fractions(numbers, size, frame, resized.sides(size) if resized and size else None)
        except DataError as error:
            raise _Refused(field, error.message, error.hint) from error
        x1, y1, x2, y2 = box
        if 0.0 <= x1 < x2 <= 1.0 and 0.0 <= y1 < y2 <= 1.0:
            return box
        problem = box_problem(box)
        if problem:
            given = ", ".join(f"{v:g}" for v in numbers)
            hint = "correct the annotation" if problem != "outside" else "--frame says in which frame the boxes are"
            raise _Refused(field, f"box ({given}) in {WORDS[frame]} is {problem}", hint)
        return box

    def _target(self, k: int, box: RawBox) -> Target:
        found = self._box(box.numbers, box.image, f"targets.{k}", box.frame)
        return Target(image=box.image, box=found, label=box.label)

    def _with_objects(self, number: int, ref: ImageRef) -> ImageRef:
        things = self.raw.images[number - 1].objects
        if not things:
            return ref
        notes = tuple(
            ObjectNote(
                label=thing.label,
                box=self._box(thing.numbers, number, f"images.{number - 1}.objects.{k}", thing.frame),
                attributes=thing.attributes or {},
            )
            for k, thing in enumerate(things)
        )
        return ref.model_copy(update={"objects": notes})

    def _text(self, text: Text, field: str) -> str:
        for part in text:
            if isinstance(part, str) and "<" in part:
                words = (*_RESERVED, *TAGS) if field == "thinking" else _RESERVED
                reserved = next((word for word in words if word in part), None)
                if reserved:
                    raise _Refused(field, f"holds {reserved!r}", "remove it: it would not be read as text")
        parts = [
            box_markup(part.image, self._box(part.numbers, part.image, field, part.frame))
            if isinstance(part, RawBox)
            else part
            for part in text
        ]
        return "".join(parts).strip()

    def _trajectory(self) -> Trajectory | None:
        if self.raw.trajectory or not self.raw.thinking:
            return self.raw.trajectory
        answer = tuple(self._target(k, box) for k, box in enumerate(self.raw.targets))
        return Trajectory(thinking=self._text(self.raw.thinking, "thinking"), answer=answer, writer=self.job.kind)

"""From a folder of photographs to a dataset folder."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import JsonValue

from mirg.data.compose.bench import Draft
from mirg.data.compose.photos.named import workshop
from mirg.data.compose.photos.places import LABEL
from mirg.data.compose.photos.pool import NAMED_TASKS, Found, PhotoConfig, PhotoPool, find_photos
from mirg.data.compose.photos.tasks import QUESTIONS, TASKS
from mirg.data.compose.pool import coverage_of
from mirg.data.compose.worker import Made, Workshop
from mirg.errors import DataError, ImageError
from mirg.samples import REJECTED_FILE, DatasetWriter, Rejection
from mirg.storage import write_jsonl_atomic

_ATTEMPTS = 8  # photographs tried for one sample


@dataclass(frozen=True)
class PhotoReport:
    """Counts of the files and of the samples: ``n_asked`` = the sum of ``tasks`` + ``n_not_made``."""

    out: Path
    found: Found
    n_asked: int
    tasks: dict[str, int]
    n_not_made: int

    @property
    def n_samples(self) -> int:
        """Samples written."""
        return sum(self.tasks.values())

    @property
    def rejected(self) -> list[Rejection]:
        """The files that could not be used, each with its reason; also in ``rejected.jsonl``."""
        return self.found.rejected


def write_photo_samples(
    folder: str | Path,
    out: str | Path,
    config: PhotoConfig,
    *,
    overwrite: bool = False,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> PhotoReport:
    """Make a dataset in ``out`` from the photographs below ``folder``.

    The same pixels, seed and settings give the same files; every sample has its own random stream. Raises DataError
    if no photograph can be read, none is in the split, no sample can be composed, or ``out`` cannot be written.
    """
    tell = on_progress or (lambda _stage, _done, _total: None)
    if Path(out).resolve().is_relative_to(Path(folder).resolve()):
        raise DataError(
            f"{out} is inside {folder}: the next run would read its images as photographs",
            hint="write the dataset elsewhere",
        )
    with ExitStack() as stack:
        writer = stack.enter_context(
            DatasetWriter(
                out,
                name=f"photos-{config.split}",
                description=f"Multi-image samples composed from unlabelled photographs, {config.split} split.",
                created_by="mirg data photos",
                seed=config.seed,
                license="that of the photographs" + (" and of the cut-outs" if config.cutouts else ""),
                overwrite=overwrite,
            )
        )
        found = find_photos(folder, config, lambda done, total: tell("reading", done, total))
        pool = PhotoPool(found.photos, config)
        tasks = usable_tasks(config, len(pool), found)
        named = None
        if set(tasks) & set(NAMED_TASKS):
            tell("annotating", 0, len(pool))
            named = workshop(pool, folder, Path(stack.enter_context(TemporaryDirectory(dir=Path(out).parent))))
        counts: Counter[str] = Counter()
        for i in range(config.n):
            task = tasks[i % len(tasks)]
            sample_id = f"photos-{config.split}-{config.seed}-{i:06d}"
            if named and task in NAMED_TASKS:
                written = _write_named(writer, sample_id, named.make(task, i), named)
            else:
                written = _write(writer, sample_id, task, compose(i, task, pool), pool)
            if written:
                counts[task] += 1
            tell("composing", i + 1, config.n)
        if not counts:
            raise DataError(
                f"none of {len(pool)} photographs has a place that is distinguishable from the rest of it"
                + (", and none of the named things can be asked for" if named else ""),
                hint="add photographs with more detail",
            )
    write_jsonl_atomic(Path(out) / REJECTED_FILE, (row.model_dump(mode="json") for row in found.rejected))
    return PhotoReport(Path(out), found, config.n, dict(sorted(counts.items())), config.n - counts.total())


_LEAST = {  # photographs and images of a sample that a task needs, if not 1 and 2
    "refer": (2, 3),
    "object_tracking": (3, 2),
    "multi_target": (2, 2),
    "odd_one_out": (1, 3),
    "group_grounding": (2, 2),
    "common_object": (2, 2),
    "correspondence": (3, 3),
}


def usable_tasks(config: PhotoConfig, n_photos: int, found: Found) -> list[str]:
    """The tasks that are possible with ``n_photos`` and the largest number of images. DataError if none is."""
    if n_photos == 0:
        raise DataError(
            f"the {config.split} split has no photograph: only {found.n_readable} can be read",
            hint="a photograph belongs to one split only; add photographs",
        )
    least = {task: _LEAST.get(task, (1, 2)) for task in config.tasks}
    tasks = [task for task in config.tasks if n_photos >= least[task][0] and config.max_images >= least[task][1]]
    if not tasks:
        photos, images = min(least.values())
        raise DataError(
            f"task {config.tasks[0]!r} needs {photos} photographs in the {config.split} split, there are {n_photos}, "
            f"and {images} images of a sample, {config.max_images} are allowed",
            hint="add photographs, or ask for region and difference",
        )
    return tasks


def compose(i: int, task: str, pool: PhotoPool) -> Draft | None:
    """Sample number ``i``; up to :data:`_ATTEMPTS` photographs are tried."""
    for attempt in range(_ATTEMPTS):
        rng = random.Random(f"photos:{pool.config.seed}:{pool.config.split}:{i}:{attempt}")
        try:
            draft = TASKS[task](rng, pool)
        except ImageError:
            continue  # it was readable before and has been removed or changed: try another photograph
        if draft is not None:
            return draft
    return None


def _write(writer: DatasetWriter, sample_id: str, task: str, draft: Draft | None, pool: PhotoPool) -> bool:
    """Store one sample, if there is one; its image set is the photograph that the (first) answer lies, or may lie, in.

    So there are never more sets than photographs. The other candidates of a sample do not join sets: drawn at random,
    they would soon join all sets into one, which has no interval.
    """
    if draft is None:
        return False
    sources = [pool.photos[shown.origin].digest[:16] for shown in draft.images]
    images = [
        shown.noted(writer.add_image(shown.pixels or pool.image(shown.origin), source))
        for shown, source in zip(draft.images, sources, strict=True)
    ]
    question = QUESTIONS[draft.kind].format(**draft.slots)
    possible = [number for number, shown in enumerate(draft.images, 1) if shown.role != "reference"]
    holder = min((target.image for target in draft.targets), default=possible[0])
    meta = {**draft.meta, "choices": draft.choices, "subject": LABEL, "photos": sources}
    meta |= {"image_set": sources[holder - 1]}
    writer.add(draft.sample(images, id=sample_id, task=task, question=question, source="photos", meta=meta))
    return True


def _write_named(writer: DatasetWriter, sample_id: str, made: Made, named: Workshop) -> bool:
    """As :func:`_write`, for a sample about things with a name."""
    draft = made.draft
    if draft is None:
        return False
    shown = [named.pool.images[image.origin] for image in draft.images]
    sources: list[JsonValue] = [image.family for image in shown]
    images = [
        image.noted(writer.add_image(named.pixels.full(image.origin), held.family))
        for image, held in zip(draft.images, shown, strict=True)
    ]
    meta = {**draft.meta, "choices": draft.choices, "subject": draft.subject, "photos": sources}
    meta |= {"image_set": sources[draft.targets[0].image - 1], **coverage_of(shown)}
    writer.add(draft.sample(images, id=sample_id, task=made.task, question=made.question, source="photos", meta=meta))
    return True

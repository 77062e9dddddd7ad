"""From a folder of photographs to a dataset folder."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mirg.data.compose.bench import Draft
from mirg.data.compose.photos.pool import Found, PhotoConfig, PhotoPool, find_photos
from mirg.data.compose.photos.tasks import LABEL, QUESTIONS, TASKS
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
    with DatasetWriter(
        out,
        name=f"photos-{config.split}",
        description=f"Multi-image samples composed from unlabelled photographs, {config.split} split.",
        created_by="mirg data photos",
        seed=config.seed,
        license="that of the photographs",
        overwrite=overwrite,
    ) as writer:
        found = find_photos(folder, config, lambda done, total: tell("reading", done, total))
        pool = PhotoPool(found.photos, config)
        tasks = usable_tasks(config, len(pool), found)
        counts: Counter[str] = Counter()
        for i in range(config.n):
            draft = compose(i, tasks, pool)
            if draft is not None:
                _write(writer, f"photos-{config.split}-{config.seed}-{i:06d}", draft, pool)
                counts[draft.kind] += 1
            tell("composing", i + 1, config.n)
        if not counts:
            raise DataError(
                f"none of {len(pool)} photographs has a place that is distinguishable from the rest of it",
                hint="add photographs with more detail",
            )
    write_jsonl_atomic(Path(out) / REJECTED_FILE, (row.model_dump(mode="json") for row in found.rejected))
    return PhotoReport(Path(out), found, config.n, dict(sorted(counts.items())), config.n - counts.total())


def usable_tasks(config: PhotoConfig, n_photos: int, found: Found) -> list[str]:
    """The tasks that are possible with ``n_photos``: refer needs two. DataError if none is."""
    if n_photos == 0:
        raise DataError(
            f"the {config.split} split has no photograph: only {found.n_readable} can be read",
            hint="a photograph belongs to one split only; add photographs",
        )
    tasks = [task for task in config.tasks if task != "refer" or (n_photos > 1 and config.max_images > 2)]
    if not tasks:
        raise DataError(
            f"task 'refer' needs two photographs in the {config.split} split, there are {n_photos}, and 3 images",
            hint="add photographs, or ask for region and difference",
        )
    return tasks


def compose(i: int, tasks: list[str], pool: PhotoPool) -> Draft | None:
    """Sample number ``i``: tasks take turns, and up to :data:`_ATTEMPTS` photographs are tried."""
    task = tasks[i % len(tasks)]
    for attempt in range(_ATTEMPTS):
        rng = random.Random(f"photos:{pool.config.seed}:{pool.config.split}:{i}:{attempt}")
        try:
            draft = TASKS[task](rng, pool)
        except ImageError:
            continue  # it was readable before and has been removed or changed: try another photograph
        if draft is not None:
            return draft
    return None


def _write(writer: DatasetWriter, sample_id: str, draft: Draft, pool: PhotoPool) -> None:
    """Store one sample; its image set is the photograph that the answer lies in.

    So there are never more sets than photographs. The other candidates of a refer sample do not join sets: drawn at
    random, they would soon join all sets into one, which has no interval.
    """
    sources = [pool.photos[shown.origin].digest[:16] for shown in draft.images]
    images = [
        shown.noted(writer.add_image(shown.pixels or pool.image(shown.origin), source))
        for shown, source in zip(draft.images, sources, strict=True)
    ]
    question = QUESTIONS[draft.kind].format(**draft.slots)
    (target,) = draft.targets
    meta = {**draft.meta, "choices": draft.choices, "subject": LABEL, "photos": sources}
    meta |= {"image_set": sources[target.image - 1]}
    writer.add(draft.sample(images, id=sample_id, task=draft.kind, question=question, source="photos", meta=meta))

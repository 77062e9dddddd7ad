"""From a dataset with object notes to a dataset of multi-image tasks (``docs/how-to/compose.md``), with a report."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from mirg.data.compose.bench import Draft
from mirg.data.compose.pool import CELLS, Pool, cell_of, coverage_of
from mirg.data.compose.questions import wordings
from mirg.data.compose.recipe import ComposeRecipe
from mirg.data.compose.worker import Made, job_of, make_one, workshop
from mirg.data.derive import refuse_overwriting_inputs
from mirg.errors import DataError
from mirg.executors import Executor, Local
from mirg.samples import Carrier, DatasetFolder, DatasetWriter, ImageRef, Sample, Target
from mirg.samples.schema import EXIF_META
from mirg.storage import write_json_atomic


@dataclass
class ComposeReport:
    """Counts of one run: ``n_asked`` is ``n_samples`` and ``n_short``; ``drops`` counts drafts, not samples.

    ``unreadable`` has a line for each image that could not be opened. ``incomplete`` counts the images that are not
    used if it matters that no object is missing, by reason; ``left_out`` says why a task was not tried.
    """

    n_asked: int
    n_images: int
    n_unnoted: int
    n_crowded: int
    n_other_split: int
    n_rejected_rows: int
    incomplete: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    tasks: Counter[str] = field(default_factory=Counter)
    short: dict[str, int] = field(default_factory=dict)
    drops: dict[str, Counter[str]] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    languages: Counter[str] = field(default_factory=Counter)
    image_numbers: dict[str, Counter[int]] = field(default_factory=dict)
    cells: list[int] = field(default_factory=lambda: [0] * CELLS)
    uses: Counter[int] = field(default_factory=Counter)
    n_like: int = 0
    n_unlike: int = 0

    @classmethod
    def of_pool(cls, n_asked: int, pool: Pool) -> ComposeReport:
        """An empty report about a pool."""
        return cls(
            n_asked, len(pool), pool.n_unnoted, pool.n_crowded, pool.n_other_split, len(pool.rejected), pool.incomplete
        )

    @property
    def n_samples(self) -> int:
        """Samples written."""
        return self.tasks.total()

    def drop(self, task: str, reasons: Counter[str]) -> None:
        """Count drafts that were not produced."""
        self.drops.setdefault(task, Counter()).update(reasons)

    def add(self, task: str, language: str, targets: Iterable[Target], sources: Iterable[int]) -> None:
        """Count one written sample; ``sources`` are the indices of its pool images."""
        self.tasks[task] += 1
        self.languages[language] += 1
        self.uses.update(sources)
        for target in targets:
            self.image_numbers.setdefault(task, Counter())[target.image] += 1
            self.cells[cell_of(target.box)] += 1

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values; it depends on the samples only."""
        numbers = sum(self.image_numbers.values(), Counter[int]())
        return {
            "asked": self.n_asked,
            "samples": self.n_samples,
            "tasks": dict(sorted(self.tasks.items())),
            "short": dict(sorted(self.short.items())),
            "left_out": self.left_out,
            "languages": dict(sorted(self.languages.items())),
            "pool": {
                "images": self.n_images,
                "without_objects": self.n_unnoted,
                "too_many_objects": self.n_crowded,
                "other_split": self.n_other_split,
                "rejected_rows": self.n_rejected_rows,
                "incomplete": self.incomplete,
                "used": len(self.uses),
                "most_uses": max(self.uses.values(), default=0),
            },
            "positions": {
                "image": {str(number): numbers[number] for number in sorted(numbers)},
                "image_by_task": {
                    task: {str(number): counts[number] for number in sorted(counts)}
                    for task, counts in sorted(self.image_numbers.items())
                },
                "cell": [self.cells[row : row + 3] for row in range(0, CELLS, 3)],
            },
            "unreadable": sorted(self.unreadable),
            "distractors": {"as_asked": self.n_like, "others": self.n_unlike},
            "dropped": {
                task: dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
                for task, reasons in sorted(self.drops.items())
                if reasons
            },
        }


REPORT_FILE = "composed.json"
USED_UP = "an image was used max_uses times already"

_CHUNK = 8  # samples of one task for a process: they come back with their pixels
_PROBE = 24  # samples of a task in the first round, and failures in a row after which it is given up
_HOPELESS = 4  # failures after which a task without success is given up; each is of `tries` drafts
_MOST_ROUNDS = 12
_SHOWN = 3  # reasons that an error names


def compose(
    recipe: ComposeRecipe,
    out: str | Path,
    *,
    copy: bool = False,
    overwrite: bool = False,
    executor: Executor | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> ComposeReport:
    """Write the samples of ``recipe`` to ``out``, and the report to its ``composed.json``.

    Unchanged images are referenced in the source unless ``copy``; edited ones are stored as PNG. The same source and
    recipe give the same files with every ``executor``. Raises ConfigError for questions that cannot be used and for an
    ``out`` that holds what is read, DataError if it has no object notes or a task is impossible with it.
    """
    tell = on_progress or (lambda _stage, _done, _total: None)
    wordings(recipe)  # raises errors before any work is done
    source = DatasetFolder.open(recipe.source)
    refuse_overwriting_inputs(Path(out), [source], copy=copy)
    job = job_of(recipe, source)
    tell("reading", 0, len(source))
    pool = workshop(job).pool
    report = ComposeReport.of_pool(recipe.n, pool)
    report.left_out = _left_out(recipe, pool)
    if set(report.left_out) == set(recipe.tasks):
        raise DataError(
            f"no sample can be composed from {source.root}: {'; '.join(report.left_out.values())}",
            hint="see what the task needs in docs/how-to/compose.md",
        )
    with DatasetWriter(
        out,
        name=f"composed-{recipe.split}" if recipe.split != "all" else "composed",
        description=f"Multi-image samples composed from the images of {source.card.name}, split {recipe.split}.",
        created_by="mirg data compose",
        seed=recipe.seed,
        license=source.card.license,
        overwrite=overwrite,
    ) as writer:
        store = _Store(recipe, source, pool, writer, copy)
        items = _Items(recipe, report)
        for batch in items.batches():
            for made in (executor or Local()).map(partial(make_one, job), batch, chunk=_CHUNK):
                sample = store.take(made, report)
                if sample is not None:
                    writer.add(sample)
                items.record(made.task, sample is not None)
                tell("composing", report.n_samples, recipe.n)
        if not report.n_samples:
            raise DataError(f"no sample can be composed from {source.root}", hint="see what the tasks need")
    write_json_atomic(Path(out) / REPORT_FILE, {"recipe": recipe.model_dump(mode="json"), **report.as_dict()})
    return report


class _Items:
    """Chooses which samples of which task are made: the quota, then in further rounds those that are missing."""

    def __init__(self, recipe: ComposeRecipe, report: ComposeReport) -> None:
        self.quotas = recipe.quotas(report.left_out)
        self.report = report
        self.next = dict.fromkeys(self.quotas, 0)
        self.failed = dict.fromkeys(self.quotas, 0)  # in a row

    def batches(self) -> Iterator[list[tuple[str, int]]]:
        """A small first round shows whether every task is possible; DataError naming one that is not."""
        yield self._round({task: min(quota, _PROBE) for task, quota in self.quotas.items()})
        for _ in range(_MOST_ROUNDS):
            for task in self.quotas:
                if not self.report.tasks[task] and self.failed[task] >= _HOPELESS:
                    raise _impossible(task, self.report.drops.get(task, Counter()), self.failed[task])
            missing = {task: quota - self.report.tasks[task] for task, quota in self.quotas.items()}
            # A task whose last numbers all failed has nothing left to give.
            missing = {task: n for task, n in missing.items() if n and self.failed[task] < _PROBE}
            if not missing:
                break
            yield self._round(missing)
        short = {task: quota - self.report.tasks[task] for task, quota in self.quotas.items()}
        self.report.short.update({task: n for task, n in short.items() if n})

    def record(self, task: str, success: bool) -> None:
        """Record the result of one number."""
        self.failed[task] = 0 if success else self.failed[task] + 1

    def _round(self, counts: dict[str, int]) -> list[tuple[str, int]]:
        """``counts`` numbers of each task, spread evenly through the round."""
        spread = [((k + 0.5) / count, task, k) for task, count in counts.items() for k in range(count)]
        items = [(task, self.next[task] + k) for _, task, k in sorted(spread)]
        for task, count in counts.items():
            self.next[task] += count
        return items


class _Store:
    """Turns drafts into samples of the new dataset and stores their images."""

    def __init__(
        self, recipe: ComposeRecipe, source: DatasetFolder, pool: Pool, writer: DatasetWriter, copy: bool
    ) -> None:
        self.recipe = recipe
        self.source = source
        self.pool = pool
        self.writer = writer
        self.carrier = Carrier(source, writer, "all" if copy else "none")

    def take(self, made: Made, report: ComposeReport) -> Sample | None:
        """The sample of a draft, counted; None without a draft, or if one of its images was used ``max_uses`` times."""
        report.drop(made.task, made.drops)
        report.unreadable.update(made.unreadable)
        draft = made.draft
        if draft is None:
            return None
        most = self.recipe.max_uses
        if most is not None and any(report.uses[index] >= most for index in draft.sources):
            report.drop(made.task, Counter([USED_UP]))
            return None
        report.add(made.task, made.language, draft.targets, draft.sources)
        report.n_like += made.n_like
        report.n_unlike += made.n_unlike
        return self._sample(made, draft)

    def _sample(self, made: Made, draft: Draft) -> Sample:
        sample_id = f"composed-{self.recipe.split}-{self.recipe.seed}-{made.task}-{made.number:06d}"
        sample = Sample(
            id=sample_id,
            task=draft.task,
            images=tuple(self._plain(draft, k, size) for k, size in enumerate(made.sizes)),
            question=made.question,
            targets=draft.targets,
            relation=draft.relation,
            image_hidden=draft.image_hidden,
            source=self.source.card.name,
            meta={
                "subject": draft.subject,
                "choices": draft.choices,
                "image_set": self._image_set(draft),
                "question": draft.kind,
                "language": made.language,
                **coverage_of([self.pool.images[index] for index in draft.sources]),
                **self._exif(draft),
                **draft.meta,
            },
        )
        shown = [k for k, image in enumerate(draft.images) if image.pixels is None]
        if not shown:
            return sample
        # Only the images of the source are carried; those that were edited are stored already.
        carried = self.carrier.carry(sample.model_copy(update={"images": tuple(sample.images[k] for k in shown)}))
        images = list(sample.images)
        for k, ref in zip(shown, carried.images, strict=True):
            images[k] = ref
        return sample.model_copy(update={"images": tuple(images)})

    def _exif(self, draft: Draft) -> dict[str, JsonValue]:
        """How the boxes of each image that EXIF rotates were read; edited images are stored upright."""
        told: list[JsonValue] = [
            "" if image.pixels is not None else self.pool.images[image.origin].exif for image in draft.images
        ]
        return {EXIF_META: told} if any(told) else {}

    def _plain(self, draft: Draft, k: int, size: tuple[int, int]) -> ImageRef:
        """The reference of one image: into the source, or of the stored one."""
        image = draft.images[k]
        origin = self.pool.images[image.origin]
        notes = {"role": image.role, "objects": image.notes, "frame": image.frame}
        if image.pixels is None:
            return origin.ref.model_copy(update={**notes, "width": size[0], "height": size[1]})
        stored = self.writer.add_image(image.pixels, Path(origin.ref.path).stem)
        return stored.model_copy(update=notes)

    def _image_set(self, draft: Draft) -> str:
        """An id of the image that contains the answer, since samples about one image are not independent.

        The other images do not join sets: drawn at random, they would soon join all sets into one.
        """
        number = min((target.image for target in draft.targets), default=1)
        family = self.pool.images[draft.images[number - 1].origin].family
        return hashlib.sha256(family.encode()).hexdigest()[:16]


def _left_out(recipe: ComposeRecipe, pool: Pool) -> dict[str, str]:
    """Why tasks are not tried: few sources identify objects across images, and one recipe is used for all sources."""
    reason = "no object has the same instance_id in two images"
    return {task: reason for task in recipe.tasks if task == "same_instance" and not pool.instances}


def _impossible(task: str, reasons: Counter[str], tried: int) -> DataError:
    why = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(_SHOWN))
    return DataError(
        f"task {task} is impossible with these images: none of {tried} samples was made; drafts were dropped: {why}",
        hint=f"add images, widen target_area, or leave the task out: -s weights.{task}=0",
    )

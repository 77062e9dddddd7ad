"""From a dataset with object notes to a dataset of multi-image tasks (``docs/how-to/compose.md``), with a report."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mirg.data.compose.bench import Draft
from mirg.data.compose.pool import CELLS, Pool, cell_of, coverage_of
from mirg.data.compose.questions import wordings
from mirg.data.compose.recipe import ComposeRecipe
from mirg.data.compose.worker import Made, make_one, workshop
from mirg.data.derive import refuse_overwriting_inputs
from mirg.errors import DataError
from mirg.executors import Executor, Local
from mirg.samples import Carrier, DatasetFolder, DatasetWriter, ImageRef, Sample
from mirg.samples.schema import EXIF_META
from mirg.storage import write_json_atomic

V = TypeVar("V")


@dataclass
class ComposeReport:
    """Counts of one run: ``n_asked`` is ``n_samples`` and those that are ``short``; ``drops`` counts drafts by reason.

    ``unreadable`` has a line for each image that could not be opened. ``left_out`` says why a task was not tried,
    ``uses`` counts the samples of each image by its index in the ``pool``. All are by task where a task makes a
    difference.
    """

    n_asked: int
    pool: Pool
    left_out: dict[str, str] = field(default_factory=dict)
    tasks: Counter[str] = field(default_factory=Counter)
    short: dict[str, int] = field(default_factory=dict)
    drops: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unreadable: set[str] = field(default_factory=set)
    languages: Counter[str] = field(default_factory=Counter)
    image_numbers: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    cells: list[int] = field(default_factory=lambda: [0] * CELLS)
    uses: Counter[int] = field(default_factory=Counter)
    n_like: int = 0
    n_unlike: int = 0

    @property
    def n_samples(self) -> int:
        """Samples written."""
        return self.tasks.total()

    def add(self, made: Made, draft: Draft) -> None:
        """Count one written sample."""
        self.tasks[made.task] += 1
        self.languages[made.language] += 1
        self.uses.update(draft.sources)
        self.n_like += made.n_like
        self.n_unlike += made.n_unlike
        for target in draft.targets:
            self.image_numbers[made.task][target.image] += 1
            self.cells[cell_of(target.box)] += 1

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values; it depends on the samples only."""
        pool = self.pool
        return {
            "asked": self.n_asked,
            "samples": self.n_samples,
            "tasks": _sorted(self.tasks),
            "short": _sorted(self.short),
            "left_out": self.left_out,
            "languages": _sorted(self.languages),
            "pool": {
                "images": len(pool),
                "without_objects": pool.n_unnoted,
                "too_many_objects": pool.n_crowded,
                "other_split": pool.n_other_split,
                "rejected_rows": len(pool.rejected),
                "incomplete": pool.incomplete,
                "used": len(self.uses),
                "most_uses": max(self.uses.values(), default=0),
            },
            "positions": {
                "image": _sorted(sum(self.image_numbers.values(), Counter[int]())),
                "image_by_task": {task: _sorted(counts) for task, counts in sorted(self.image_numbers.items())},
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


def _sorted(counts: Mapping[Any, V]) -> dict[str, V]:
    return {str(key): counts[key] for key in sorted(counts)}


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
    job = (source.card.digest, recipe.model_dump_json())
    tell("reading", 0, len(source))
    report = ComposeReport(recipe.n, workshop(*job).pool)
    # Few sources identify objects across images, and one recipe is used for all sources.
    if "same_instance" in recipe.tasks and not report.pool.instances:
        report.left_out["same_instance"] = "no object has the same instance_id in two images"
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
        run = _Run(recipe, source, writer, copy, report)
        for batch in run.batches():
            for made in (executor or Local()).map(partial(make_one, *job), batch, chunk=_CHUNK):
                run.take(made)
                tell("composing", report.n_samples, recipe.n)
        if not report.n_samples:
            raise DataError(f"no sample can be composed from {source.root}", hint="see what the tasks need")
    write_json_atomic(Path(out) / REPORT_FILE, {"recipe": recipe.model_dump(mode="json"), **report.as_dict()})
    return report


class _Run:
    """Chooses which samples of which task are made, and stores them: the quota, then in rounds those that are missing.

    Drafts become samples of the new dataset, and their images are stored.
    """

    def __init__(
        self, recipe: ComposeRecipe, source: DatasetFolder, writer: DatasetWriter, copy: bool, report: ComposeReport
    ) -> None:
        self.recipe = recipe
        self.source = source
        self.writer = writer
        self.report = report
        self.carrier = Carrier(source, writer, "all" if copy else "none")
        self.quotas = recipe.quotas(report.left_out)
        self.next = dict.fromkeys(self.quotas, 0)
        self.failed = dict.fromkeys(self.quotas, 0)  # in a row

    def batches(self) -> Iterator[list[tuple[str, int]]]:
        """A small first round shows whether every task is possible; DataError naming one that is not."""
        yield self._round({task: min(quota, _PROBE) for task, quota in self.quotas.items()})
        for _ in range(_MOST_ROUNDS):
            for task in self.quotas:
                if not self.report.tasks[task] and self.failed[task] >= _HOPELESS:
                    raise self._impossible(task)
            # A task whose last numbers all failed has nothing left to give.
            missing = {task: n for task, n in self._missing().items() if self.failed[task] < _PROBE}
            if not missing:
                break
            yield self._round(missing)
        self.report.short.update(self._missing())

    def take(self, made: Made) -> None:
        """Count a draft and write its sample, if there is one and none of its images was used ``max_uses`` times."""
        report, draft, most = self.report, made.draft, self.recipe.max_uses
        report.drops[made.task].update(made.drops)
        report.unreadable.update(made.unreadable)
        if draft is not None and most is not None and any(report.uses[index] >= most for index in draft.sources):
            report.drops[made.task][USED_UP] += 1
            draft = None
        self.failed[made.task] = self.failed[made.task] + 1 if draft is None else 0
        if draft is not None:
            report.add(made, draft)
            self.writer.add(self._sample(made, draft))

    def _missing(self) -> dict[str, int]:
        missing = {task: quota - self.report.tasks[task] for task, quota in self.quotas.items()}
        return {task: n for task, n in missing.items() if n}

    def _round(self, counts: dict[str, int]) -> list[tuple[str, int]]:
        """``counts`` numbers of each task, spread evenly through the round."""
        spread = [((k + 0.5) / count, task, k) for task, count in counts.items() for k in range(count)]
        items = [(task, self.next[task] + k) for _, task, k in sorted(spread)]
        for task, count in counts.items():
            self.next[task] += count
        return items

    def _impossible(self, task: str) -> DataError:
        reasons = self.report.drops[task].most_common(_SHOWN)
        why = "; ".join(f"{reason} ({count})" for reason, count in reasons)
        return DataError(
            f"task {task} is impossible with these images: none of {self.failed[task]} samples was made; "
            f"drafts were dropped: {why}",
            hint=f"add images, widen target_area, or leave the task out: -s weights.{task}=0",
        )

    def _sample(self, made: Made, draft: Draft) -> Sample:
        pool = self.report.pool
        sample_id = f"composed-{self.recipe.split}-{self.recipe.seed}-{made.task}-{made.number:06d}"
        # The image set is the image that contains the answer: samples about one image are not independent. The other
        # images do not join sets, because they are drawn at random and would soon join all sets into one.
        number = min((target.image for target in draft.targets), default=1)
        family = pool.images[draft.images[number - 1].origin].family
        # How the boxes of each image that EXIF rotates were read; edited images are stored upright.
        exif = ["" if shown.pixels is not None else pool.images[shown.origin].exif for shown in draft.images]
        meta = {
            "subject": draft.subject,
            "choices": draft.choices,
            "image_set": hashlib.sha256(family.encode()).hexdigest()[:16],
            "question": draft.kind,
            "language": made.language,
            **coverage_of([pool.images[index] for index in draft.sources]),
            **({EXIF_META: exif} if any(exif) else {}),
            **draft.meta,
        }
        images, source = self._images(made, draft, sample_id), self.source.card.name
        return draft.sample(images, id=sample_id, task=made.task, question=made.question, source=source, meta=meta)

    def _images(self, made: Made, draft: Draft, sample_id: str) -> tuple[ImageRef, ...]:
        """The references of the images: into the source, or of the stored ones."""
        refs: list[ImageRef] = []
        for shown, (width, height) in zip(draft.images, made.sizes, strict=True):
            ref = self.report.pool.images[shown.origin].ref
            if shown.pixels is not None:
                ref = self.writer.add_image(shown.pixels, Path(ref.path).stem)
            refs.append(shown.noted(ref).model_copy(update={"width": width, "height": height}))
        # Only the images of the source are carried; those that were edited are stored already.
        return tuple(
            self.carrier.carry_image(ref, sample_id) if shown.pixels is None else ref
            for ref, shown in zip(refs, draft.images, strict=True)
        )

"""From a dataset with object notes to one of multi-image tasks (``docs/how-to/compose.md``)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pydantic import JsonValue

from mirg.data.compose.draft import Draft
from mirg.data.compose.pool import Pool, coverage_of
from mirg.data.compose.questions import wordings
from mirg.data.compose.recipe import ComposeRecipe
from mirg.data.compose.report import ComposeReport
from mirg.data.compose.worker import Made, job_of, make_one, workshop
from mirg.data.derive import refuse_overwriting_inputs
from mirg.errors import DataError
from mirg.executors import Executor, Local
from mirg.samples import Carrier, DatasetFolder, DatasetWriter, ImageRef, Sample
from mirg.samples.schema import EXIF_META
from mirg.storage import write_json_atomic

REPORT_FILE = "composed.json"
USED_UP = "an image was used max_uses times already"

_CHUNK = 8  # samples of one task for a process: they come back with their pixels
_PROBE = 24  # numbers of a task in the first round, and failures in a row after which it is given up
_HOPELESS = 4  # failures of a task that never succeeded: each stands for `tries` drafts
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

    Images that are shown as they are stay where they are unless ``copy``; edited ones are stored as PNG. The same
    source and recipe give the same files, whatever ``executor`` is. Raises ConfigError for questions that cannot be
    used and for an ``out`` that holds what is read, DataError if the source has no object notes or a task is impossible
    with its images (and says why).
    """
    tell = on_progress or (lambda _stage, _done, _total: None)
    wordings(recipe)  # before any work
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
                items.told(made.task, sample is not None)
                tell("composing", report.n_samples, recipe.n)
        if not report.n_samples:
            raise DataError(f"no sample can be composed from {source.root}", hint="see what the tasks need")
    write_json_atomic(Path(out) / REPORT_FILE, {"recipe": recipe.model_dump(mode="json"), **report.as_dict()})
    return report


class _Items:
    """Which numbers of which task are made: the quota, then in further rounds what is still short of it."""

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

    def told(self, task: str, success: bool) -> None:
        """What became of one number."""
        self.failed[task] = 0 if success else self.failed[task] + 1

    def _round(self, counts: dict[str, int]) -> list[tuple[str, int]]:
        """``counts`` numbers of each task, spread evenly through the round."""
        spread = [((k + 0.5) / count, task, k) for task, count in counts.items() for k in range(count)]
        items = [(task, self.next[task] + k) for _, task, k in sorted(spread)]
        for task, count in counts.items():
            self.next[task] += count
        return items


class _Store:
    """Drafts to samples whose images lie where the new dataset finds them."""

    def __init__(
        self, recipe: ComposeRecipe, source: DatasetFolder, pool: Pool, writer: DatasetWriter, copy: bool
    ) -> None:
        self.recipe = recipe
        self.source = source
        self.pool = pool
        self.writer = writer
        self.carrier = Carrier(source, writer, "all" if copy else "none")

    def take(self, made: Made, report: ComposeReport) -> Sample | None:
        """The sample of a draft, counted; None where there is none, or one of its images was used often enough."""
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
        """A name of the image that the answer lies in: samples about it are not independent of each other.

        The other images do not join sets: drawn at random, they would soon join all into one.
        """
        number = min((target.image for target in draft.targets), default=1)
        family = self.pool.images[draft.images[number - 1].origin].family
        return hashlib.sha256(family.encode()).hexdigest()[:16]


def _left_out(recipe: ComposeRecipe, pool: Pool) -> dict[str, str]:
    """Why tasks are not tried: few sources identify objects across images, and a recipe serves all of them."""
    reason = "no object has the same instance_id in two images"
    return {task: reason for task in recipe.tasks if task == "same_instance" and not pool.instances}


def _impossible(task: str, reasons: Counter[str], tried: int) -> DataError:
    why = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(_SHOWN))
    return DataError(
        f"task {task} is impossible with these images: none of {tried} samples was made; drafts were dropped: {why}",
        hint=f"add images, widen target_area, or leave the task out: -s weights.{task}=0",
    )

"""``mirg evaluate MODEL --bench migbench --root DIR``: both versions of MIG-Bench, from the images to the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mirg.console import say
from mirg.data.importers.migbench import Annotations, Item, load_annotations
from mirg.engines.base import Engine
from mirg.errors import ConfigError, DataError, EvaluationError, ImageError, MirgError, did_you_mean
from mirg.evaluation.bench import Bench, BenchOptions, write_tables
from mirg.evaluation.migbench import tables
from mirg.evaluation.migbench.asking import LIMITS, prompt_form, sample_id, sample_of
from mirg.evaluation.migbench.evaluations import DATA, Scored, difference, score_file
from mirg.evaluation.migbench.grouping import groups, indices, joined
from mirg.evaluation.migbench.images import image_folder
from mirg.evaluation.migbench.summary import PROTOCOLS, summarise, version_of
from mirg.evaluation.runner import Plan, Progress, evaluate
from mirg.evaluation.store import SETTINGS_FILE
from mirg.frames import Size
from mirg.images import image_size
from mirg.samples import DatasetFolder, DatasetWriter, Sample
from mirg.samples.roots import rooted
from mirg.samples.writer import written
from mirg.storage import digest_bytes, read_json

MODES = ("poll", "all")
FILES = {False: "MIG_data.json", True: "revised_MIG_bench.json"}  # by: is it the revised version?
NEEDS = {
    False: "MIG_data.json and the images of the dataset Michael4933/MIG-Bench",
    True: "revised_MIG_bench.json of the dataset GD-ML/UniVG-R1-data and the images of Michael4933/MIG-Bench",
}
_WRITER = "mirg evaluate --bench"
_ROOT = "images"  # name of the root that the samples refer to
_UNREADABLE: Size = (1000, 1000)


class MigBench:
    """One version of MIG-Bench whose annotations and images are there."""

    def __init__(self, root: Path, truth: Annotations, plan: Plan, *, prompts: str, mode: str) -> None:
        """Take the items of the tasks in ``plan``; an archive of the images is unpacked if they are missing."""
        self.kind = "migbench-revised" if truth.revised else "migbench"
        self.prompts, self.mode, self.truth = prompts, mode, truth
        items = _of_tasks(truth.items, plan.tasks)
        self.groups = groups(items, together=mode == "all")
        self.images = image_folder(items, root, say)
        version = version_of(truth)
        questions = {sample_id(self.kind, group): joined(group).question for group in self.groups}
        self.prompt = prompt_form(prompts, version, questions)
        if self.prompt and plan.instructions:
            hint = "--prompts mirg has instructions"
            raise ConfigError(f"--instructions has no effect with --prompts {prompts}", hint=hint)
        self.limits = LIMITS[version] if self.prompt else {}
        self.others: list[tuple[Path, Scored]] = []

    def compare_with(self, folders: Sequence[Path]) -> None:
        """Score other evaluations of the same version, which :meth:`run` then compares with.

        EvaluationError if one of them has none of the items of this one.
        """
        self.others = [(folder, score_file(self.truth, folder, PROTOCOLS)) for folder in folders]
        asked = {item.index for group in self.groups for item in group}
        for folder, other in self.others:
            if asked.isdisjoint(score.item.index for score in other.scores):
                raise EvaluationError(f"{folder} has no item of these tasks", hint="compare the same tasks")

    def run(self, engine: Engine, out: Path, plan: Plan, progress: Progress | None) -> dict[str, Any]:
        """Evaluate ``engine`` and score the answers; ``mirg score migbench`` gives the same tables of ``out``."""
        dataset = self._dataset(out, overwrite=plan.overwrite)
        summary = evaluate(engine, dataset, out, replace(plan, prompt=self.prompt), progress)
        truth, given, scores = score_file(self.truth, out, PROTOCOLS)
        result = {"prompts": self.prompts, "mode": self.mode, **summarise(truth, given, scores)}
        if self.mode == "all":
            asked = {score.item.index for score in scores}
            result["groups"] = [group for group in indices(self.groups) if asked.issuperset(group)]
        result["against"] = [difference(folder, other.scores, scores) for folder, other in self.others]
        return summary | {"bench": write_tables(out, self.kind, result)}

    def show(self, summary: Mapping[str, Any]) -> None:
        """Print the tables, and how the items were asked."""
        result = summary["bench"]
        tables.show(result, "this model")
        several = result.get("groups", [])
        if several:
            say(f"{sum(map(len, several))} items were asked in {len(several)} prompts (see 'groups' in bench.json).")
        say(f"prompts: {self.prompts}; mode: {self.mode}")

    def samples(self) -> list[Sample]:
        """The items as samples; their images are found in the root ``images``."""
        paths = {name: rooted(_ROOT, self.images.inside(name)) for group in self.groups for name in group[0].images}
        sizes = {name: _size(self.images.path(name)) for name in paths}
        return [sample_of(self.kind, group, paths, sizes) for group in self.groups]

    def _dataset(self, out: Path, *, overwrite: bool) -> DatasetFolder:
        """The items as samples in ``out/data``. EvaluationError if ``out`` is an evaluation of other items."""
        rows = [written(sample) for sample in self.samples()]
        digest = digest_bytes(b"".join(row.line + b"\n" for row in rows))
        if not overwrite and (out / SETTINGS_FILE).is_file():
            old = read_json(out / SETTINGS_FILE)
            if not isinstance(old, dict) or old.get("dataset_digest") != digest:
                hint = "choose another folder, or overwrite this one"
                raise EvaluationError(f"{out} holds an evaluation of other items, or in another mode", hint=hint)
        _refuse_other_data(out / DATA)
        about = f"Items of MIG-Bench ({version_of(self.truth)})."
        with DatasetWriter(out / DATA, name=self.kind, description=about, created_by=_WRITER, overwrite=True) as writer:
            writer.add_root(_ROOT, self.images.base)
            for row in rows:
                writer.add_written(row)
        return DatasetFolder.open(out / DATA)


def _refuse_other_data(folder: Path) -> None:
    """EvaluationError if ``folder`` is there and was not written by this module, which would replace it."""
    if folder.exists():
        writer = None
        with suppress(MirgError):
            writer = DatasetFolder.open(folder).card.created_by
        if writer != _WRITER:
            hint = "choose another folder for --out, or move that one away"
            raise EvaluationError(f"{folder} holds something else than the items of a benchmark", hint=hint)


def _size(path: Path) -> Size:
    """(width, height) of an image; if it cannot be read, the runner reports that, and its size is never used."""
    try:
        return image_size(path)
    except ImageError:
        return _UNREADABLE


def _of_tasks(items: Sequence[Item], tasks: Sequence[str]) -> list[Item]:
    """The items of these tasks, or all items if no task is named."""
    known = list(dict.fromkeys(item.task for item in items))
    if unknown := [task for task in tasks if task not in known]:
        raise ConfigError(f"no item of task {', '.join(unknown)}", hint=f"tasks here: {', '.join(known)}")
    return [item for item in items if not tasks or item.task in tasks]


def open_bench(options: BenchOptions, plan: Plan, *, revised: bool) -> MigBench:
    """Read the annotations, find the images, and score the evaluations to compare with.

    Raises:
        ConfigError: A word of the options or a task is unknown.
        DataError: The annotations or images are missing, or are those of the other version.
    """
    mode, prompts = options.mode or MODES[0], options.prompts or "mirg"
    if mode not in MODES:
        hint = f"{did_you_mean(mode, MODES, cutoff=0.4)}known: {', '.join(MODES)}"
        raise ConfigError(f"unknown mode {mode!r}", hint=hint)
    truth = load_annotations(options.annotations or annotations_in(options.root, revised), revised=revised)
    bench = MigBench(options.root, truth, plan, prompts=prompts, mode=mode)
    bench.compare_with(options.against)
    return bench


def annotations_in(root: Path, revised: bool) -> Path:
    """The annotation file of a version in the folder of the benchmark or beside it. DataError if there is none."""
    places = [folder / FILES[revised] for folder in (root, root / "MIG-Bench", root.parent, root.parent.parent)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        hint = f"download {NEEDS[revised]}, or say where the annotations are: --annotations FILE"
        raise DataError(f"{root} holds no {FILES[revised]}", hint=hint)
    return found


def bench(*, revised: bool) -> Bench:
    """The line of :data:`mirg.evaluation.benches.BENCHES` for one version."""
    uses = frozenset({"annotations", "prompts", "mode", "against"})
    return Bench(NEEDS[revised], partial(open_bench, revised=revised), tables.page, uses)

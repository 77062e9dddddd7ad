"""The dataset of a teacher's run, written from the ledger in the order of the rows: whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mirg.data.derive import Derived, refuse_overwriting_inputs, writer_like
from mirg.samples import REJECTED_FILE, DatasetFolder, Sample
from mirg.storage import atomic_folder, write_json_atomic
from mirg.trajectories.build import Refused, Report, located, nothing_kept
from mirg.trajectories.teacher.judging import provenance
from mirg.trajectories.teacher.ledger import Ledger, Outcome
from mirg.trajectories.teacher.pages import PageMaker
from mirg.trajectories.teacher.recipe import TeacherRecipe
from mirg.trajectories.teacher.requests import Digests
from mirg.trajectories.teacher.run import Shard, plan_of, rows_of
from mirg.trajectories.teacher.status import Status, status_of
from mirg.trajectories.teacher.work import UNANSWERED, RequestBuilder
from mirg.trajectories.verify import CHECKS

RUN_FILE, PAGE_FILE = "teacher.json", "teacher.html"


def write_output(
    src: DatasetFolder,
    out: str | Path,
    recipe: TeacherRecipe,
    ledger: Ledger,
    *,
    shard: Shard | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Report:
    """Write the verified chains of ``ledger`` to ``out``; other rows go to ``rejected.jsonl`` with the reason.

    Every chain is read and verified again from its stored text. Beside the rows lie ``teacher.json`` (recipe, counts,
    what was spent) and ``teacher.html``. DataError where nothing is kept or ``out`` cannot be written.
    """
    refuse_overwriting_inputs(Path(out), [src])
    shard = shard or Shard()
    plan = plan_of(src, recipe)
    status = replace(status_of(ledger.path, plan), ledger=ledger.path.name)
    with atomic_folder(out, overwrite=overwrite) as folder:
        page = PageMaker(src, recipe, status)
        report = _write(src, folder, recipe, ledger, shard, plan, page, on_progress)
        write_json_atomic(folder / RUN_FILE, _about(recipe, report, status))
        page.write(folder / PAGE_FILE)
    return report


def _write(
    src: DatasetFolder, folder: Path, recipe: TeacherRecipe, ledger: Ledger, shard: Shard, plan: str, page: PageMaker,
    on_progress: Callable[[int], None] | None,
) -> Report:  # fmt: skip
    report, builder = Report(), RequestBuilder(recipe, Digests(src))
    command = "mirg trajectories build --writer teacher"
    with writer_like(src.card, folder, command, _words(recipe), seed=recipe.sampling.seed) as target:
        target.open_rejected()
        derived = Derived(target, report, "own")
        for row, sample in rows_of(src, shard, lambda broken: target.reject(report.reject(broken))):
            found = _settled(sample, ledger.outcome(plan, sample.id), builder, ledger, page)
            if isinstance(found, Sample):
                derived.keep(src, row + 1, found)
            else:
                target.reject(report.reject(located(src, row + 1, found)))
            if on_progress:
                on_progress(report.n_rows)
        if not report.n_kept:
            raise nothing_kept(
                src, report, f"mirg trajectories status {ledger.path} --page page.html shows the replies"
            )
    return report


def _settled(
    sample: Sample, outcome: Outcome | None, builder: RequestBuilder, ledger: Ledger, page: PageMaker
) -> Sample | Refused:
    """The sample with its trajectory, or why it has none; ``page`` gets to see either."""
    if outcome is None:
        return Refused(id=sample.id, task=sample.task, check=UNANSWERED, reason="the teacher has not answered yet")
    answer = ledger.find(outcome.hash) if outcome.hash else None
    if answer is None:
        return Refused(id=sample.id, task=sample.task, check=outcome.failed_check, reason=outcome.reason)
    judged = builder.judge(replace(answer, attempts=outcome.attempts), sample)
    page.see(sample, outcome, judged)
    trajectory = provenance(judged, builder.recipe)
    if trajectory is not None and judged.accepted:
        return sample.model_copy(update={"trajectory": trajectory})
    thinking = trajectory.thinking if trajectory else answer.text or ""
    check, reason = judged.problems[0]
    return Refused(id=sample.id, task=sample.task, check=check, reason=reason, thinking=thinking)


def _words(recipe: TeacherRecipe) -> str:
    draws = "one reply" if recipe.draws == 1 else f"the best of up to {recipe.draws} replies"
    repair = ", with one repair where none passed" if recipe.repair else ""
    return (
        f"Reasoning by `{recipe.model}`: {draws} per sample{repair}, "
        "kept where all checks pass. "
        f"`{RUN_FILE}` holds the recipe and what was spent, `{REJECTED_FILE}` the rest with reasons."
    )


def _about(recipe: TeacherRecipe, report: Report, status: Status) -> dict[str, object]:
    counts = {name: value for name, value in report.as_dict().items() if name != "rejections"}
    return {"recipe": recipe.model_dump(mode="json"), "checks": list(CHECKS), **counts, "ledger": status.as_dict()}

"""The dataset of a teacher's run, written atomically from the ledger in the order of the rows, and its page."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

from mirg.answers.markup import cited, replaced
from mirg.data.derive import Derived, refuse_overwriting_inputs, writer_like
from mirg.geometry import Box, box_problem
from mirg.report.data import Mark, Picture
from mirg.report.pages import Chain, TeacherPageData, write_teacher_page
from mirg.samples import REJECTED_FILE, DatasetFolder, Sample, Target
from mirg.storage import atomic_folder, write_json_atomic
from mirg.trajectories.build import Refused, Report
from mirg.trajectories.checks import CHECKS, Check, checks_of
from mirg.trajectories.teacher.ledger import Ledger, Outcome, find_answer, find_outcome, reading
from mirg.trajectories.teacher.recipe import TeacherRecipe
from mirg.trajectories.teacher.requests import Digests
from mirg.trajectories.teacher.run import WHOLE, Shard, plan_of, rows_of
from mirg.trajectories.teacher.status import Status, status_of
from mirg.trajectories.teacher.work import NO_REPLY, UNANSWERED, UNASKABLE, UNREAD, Judged, RequestBuilder, provenance

PER_GROUP = 12  # chains of one check, and of those that were kept
RUN_FILE, PAGE_FILE = "teacher.json", "teacher.html"
_OURS = {
    NO_REPLY: "The teacher writes a reply at all.",
    UNREAD: "The reply holds a reasoning and an answer that can be read.",
    UNASKABLE: "The sample can be put into a question.",
}


class PageMaker:
    """Is given every finished sample once and keeps a few: those whose ids have the smallest digests."""

    def __init__(self, src: DatasetFolder, recipe: TeacherRecipe, status: Status) -> None:
        self._src, self._recipe, self._status = src, recipe, status
        self._tasks: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self._checks: Counter[str] = Counter()  # "" counts the samples that passed all checks
        self._groups: dict[str, list[tuple[int, str, Sample, Outcome, Judged]]] = defaultdict(list)

    def see(self, sample: Sample, outcome: Outcome, judged: Judged) -> None:
        """Count ``sample``, and keep its chain if it is among those to show."""
        check = "" if judged.accepted else judged.problems[0][0]
        self._tasks[sample.task][bool(check)] += 1
        self._checks[check] += 1
        # The largest digest is on top of the heap, so that it is the one that is replaced.
        rank = -int.from_bytes(hashlib.sha256(sample.id.encode("utf-8", "replace")).digest()[:8], "big")
        heap = self._groups[check]
        entry = (rank, sample.id, sample, outcome, judged)
        if len(heap) < PER_GROUP:
            heapq.heappush(heap, entry)
        elif entry[:2] > heap[0][:2]:
            heapq.heapreplace(heap, entry)

    def write(self, path: Path) -> Path:
        """Write the page to ``path``."""
        status = self._status
        groups = [sorted(heap, key=lambda entry: -entry[0]) for _, heap in sorted(self._groups.items())]
        turns = [heap[k] for k in range(PER_GROUP) for heap in groups if k < len(heap)]
        refused = Counter({check: count for check, count in self._checks.items() if check})
        return write_teacher_page(
            path,
            TeacherPageData(
                title=f"Chains by {self._recipe.model}",
                subtitle=f"{self._src.card.name}: {status.total:,} samples, {status.attempts:,} requests sent.",
                kept=self._checks[""],
                refused=refused.total(),
                open=status.open,
                checks=dict(refused.most_common()),
                meanings=_OURS | {name: (check.__doc__ or "").strip() for name, check in _checks(self._recipe).items()},
                tasks={task: (counts[0], counts[1]) for task, counts in sorted(self._tasks.items())},
                chains=[_chain(self._src, *entry[2:]) for entry in turns],
                facts=facts(status),
                recipe=dict(flat(self._recipe.model_dump(mode="json"))),
            ),
        )


def write_page(src: DatasetFolder, recipe: TeacherRecipe, status: Status, path: str | Path) -> Path:
    """Write the page of a ledger, also while a run is in progress: it shows the samples that are finished."""
    page, builder = PageMaker(src, recipe, status), RequestBuilder(recipe, Digests(src))
    with reading(status.ledger) as connection:
        for _, sample in rows_of(src, WHOLE):
            outcome = find_outcome(connection, status.plan, sample.id)
            answer = find_answer(connection, outcome.hash) if outcome else None
            if outcome and answer:
                page.see(sample, outcome, builder.judge(answer, sample))
    return page.write(Path(path))


def facts(status: Status) -> dict[str, str]:
    """A status as labelled text for the page and the terminal."""
    faults = ", ".join(f"{name} {count:,}" for name, count in status.faults.items())
    said = {
        "teacher": status.model,
        "samples": f"{status.done:,} of {status.total:,} finished",
        "requests": f"{status.requests:,} answered ({status.repairs:,} repairs), {status.attempts:,} sent",
        "faults": faults or "none",
        "tokens": f"{status.input_tokens:,} in, {status.output_tokens:,} out",
        "cost": f"{status.cost:,.4f}",
    }
    if status.unsettled:
        said["not settled"] = (
            f"{status.unsettled:,} attempts may have been billed; "
            f"they count with {status.reserved_tokens:,} tokens, the most they can have taken"
        )
    return said


def flat(value: object, name: str = "") -> Iterable[tuple[str, str]]:
    """(dotted name, value) of everything in nested mappings."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, str(value)


def _chain(src: DatasetFolder, sample: Sample, outcome: Outcome, judged: Judged) -> Chain:
    trajectory, answer = judged.trajectory, judged.answer
    thinking = trajectory.thinking if trajectory else answer.text or ""
    said = trajectory.answer if trajectory else ()
    facts = [f"{outcome.attempts} attempt{'s' if outcome.attempts != 1 else ''}", f"draw {answer.draw + 1}"]
    facts += ["repaired"] if answer.step == "repair" else []
    facts += [f"IoU {judged.score:.2f}"] if trajectory else []
    lines = [f"Image-{t.image} {t.label} {_percent(t.box)}" for t in said]
    return Chain(
        sample_id=sample.id,
        task=sample.task,
        check="" if judged.accepted else judged.problems[0][0],
        problems=tuple(f"{check}: {reason}" for check, reason in judged.problems),
        question=_readable(sample.question),
        thinking=_readable(thinking),
        answer="\n".join(lines) or ("none" if trajectory else ""),
        pictures=tuple(Picture(src.image_path(ref, sample.id), *ref.size, caption=ref.role) for ref in sample.images),
        true=_marks(sample.targets),
        predicted=_marks(said),
        cited=tuple(Mark(image, box) for image, box in cited(thinking) if not box_problem(box)),
        facts=tuple(facts),
    )


def _readable(text: str) -> str:
    """``text`` with readable boxes: ``[Image-2: 10-38 %, 25-55 %]``, across and down."""
    return replaced(text, lambda image, box: f"[Image-{image}: {_percent(box)}]")


def _percent(box: Box) -> str:
    x1, y1, x2, y2 = (100 * value for value in box)
    return f"{x1:.0f}-{x2:.0f} % across, {y1:.0f}-{y2:.0f} % down"


def _marks(targets: Iterable[Target]) -> tuple[Mark, ...]:
    return tuple(Mark(target.image, target.box, target.label) for target in targets)


def write_output(
    src: DatasetFolder,
    out: str | Path,
    recipe: TeacherRecipe,
    ledger: Ledger,
    *,
    shard: Shard = WHOLE,
    overwrite: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Write the verified chains of ``ledger`` to ``out``; other rows go to ``rejected.jsonl`` with the reason.

    Every chain is read and verified again from its stored text. The folder also gets ``teacher.json`` (recipe, counts,
    cost) and ``teacher.html``. DataError if no chain is kept or ``out`` cannot be written.
    """
    refuse_overwriting_inputs(Path(out), [src])
    plan = plan_of(src, recipe)
    status = replace(status_of(ledger.path, plan), ledger=ledger.path.name)
    page, builder, report = PageMaker(src, recipe, status), RequestBuilder(recipe, Digests(src)), Report()
    command = "mirg trajectories build --writer teacher"
    with atomic_folder(out, overwrite=overwrite) as folder:
        with writer_like(src.card, folder, command, _words(recipe), seed=recipe.sampling.seed) as target:
            target.open_rejected()
            derived = Derived(target, report, "own")
            for row, sample in rows_of(src, shard, lambda broken: target.reject(report.reject(broken))):
                found = _settled(sample, ledger.outcome(plan, sample.id), builder, ledger, page)
                if isinstance(found, Sample):
                    derived.keep(src, row, found)
                else:
                    target.reject(report.reject(found.at(src, row)))
                on_progress(report.n_rows)
            if not report.n_kept:
                hint = f"mirg trajectories status {ledger.path} --page page.html shows the replies"
                raise report.nothing_kept(src, hint)
        counts = {name: value for name, value in report.as_dict().items() if name != "rejections"}
        about = {
            "recipe": recipe.model_dump(mode="json"),
            "checks": list(_checks(recipe)),
            **counts,
            "ledger": asdict(status),
        }
        write_json_atomic(folder / RUN_FILE, about)
        page.write(folder / PAGE_FILE)
    return report


def _settled(
    sample: Sample, outcome: Outcome | None, builder: RequestBuilder, ledger: Ledger, page: PageMaker
) -> Sample | Refused:
    """The sample with its trajectory, or why it has none; both are added to ``page``."""
    if outcome is None:
        return Refused.of(sample, UNANSWERED, "the teacher has not answered yet")
    answer = ledger.find(outcome.hash) if outcome.hash else None
    if answer is None:
        return Refused.of(sample, outcome.failed_check, outcome.reason)
    judged = builder.judge(replace(answer, attempts=outcome.attempts), sample)
    page.see(sample, outcome, judged)
    trajectory = provenance(judged, builder.recipe)
    if trajectory is not None and judged.accepted:
        return sample.model_copy(update={"trajectory": trajectory})
    return Refused.of(sample, *judged.problems[0], trajectory.thinking if trajectory else answer.text or "")


def _checks(recipe: TeacherRecipe) -> dict[str, Check]:
    return {**CHECKS, **checks_of(recipe.verify)}


def _words(recipe: TeacherRecipe) -> str:
    draws = "one reply" if recipe.draws == 1 else f"the best of up to {recipe.draws} replies"
    repair = ", with one repair if no reply passed" if recipe.repair else ""
    return (
        f"Reasoning by `{recipe.model}`: {draws} per sample{repair}, "
        "kept if all checks pass. "
        f"`{RUN_FILE}` holds the recipe and what was spent, `{REJECTED_FILE}` the rest with reasons."
    )

"""From a dataset of samples to one with verified trajectories, and the same verification again later.

Samples are independent: what becomes of one does not depend on the others, nor on their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from mirg.errors import ConfigError, DataError, ImageError, MirgError
from mirg.samples import Carrier, DatasetFolder, DatasetWriter, Sample, Trajectory
from mirg.storage import write_jsonl_atomic
from mirg.trajectories.verify import DEFAULT, DEFAULT_FAMILY, VerifyConfig, failures, verify
from mirg.trajectories.writer import build as build_by_rules
from mirg.trajectories.writer import build_object_level

REJECTED_FILE = "rejected.jsonl"
Writer = Callable[[Sample], Trajectory]
WRITERS: dict[str, Writer] = {"rules": build_by_rules, "object-level": build_object_level}


class Refused(BaseModel):
    """A sample without a trajectory that may be kept. ``check`` is a check's name, or "row", "writer", "image"."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str | None
    task: str = ""
    check: str
    reason: str
    thinking: str = ""

    def __str__(self) -> str:
        return f"sample {self.id or '?'}: {self.check}: {self.reason}"


@dataclass
class Report:
    """Counts: ``n_rows`` = ``n_kept`` + ``n_without`` + the number of ``refused``.

    ``n_without`` counts samples that were never given a trajectory (only where a dataset is checked).
    """

    n_kept: int = 0
    n_without: int = 0
    tasks: Counter[str] = field(default_factory=Counter)
    refused: list[Refused] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        """Rows read."""
        return self.n_kept + self.n_without + len(self.refused)

    @property
    def reasons(self) -> dict[str, int]:
        """How many samples each check refused, most frequent first."""
        return dict(Counter(row.check for row in self.refused).most_common())

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "rows": self.n_rows,
            "kept": self.n_kept,
            "without": self.n_without,
            "rejected": len(self.refused),
            "reasons": self.reasons,
            "tasks": dict(sorted(self.tasks.items())),
            "rejections": [row.model_dump() for row in self.refused],
        }


def attach(
    sample: Sample, writer: Writer, *, family: str = DEFAULT_FAMILY, config: VerifyConfig = DEFAULT
) -> Sample | Refused:
    """``sample`` with a verified trajectory and the names of the checks it passed, or why there is none."""
    try:
        trajectory = writer(sample)
    except MirgError as error:
        return Refused(id=sample.id, task=sample.task, check="writer", reason=error.message)
    verdicts = verify(sample, trajectory, family=family, config=config)
    for verdict in failures(verdicts):
        return _refused(sample, trajectory, verdict.check, verdict.reason)
    passed = trajectory.model_copy(update={"checks": tuple(verdict.check for verdict in verdicts)})
    return sample.model_copy(update={"trajectory": passed})


def build_dataset(
    src: DatasetFolder,
    out: str | Path,
    *,
    writer: str | Writer = "rules",
    overwrite: bool = False,
    family: str = DEFAULT_FAMILY,
    config: VerifyConfig = DEFAULT,
    on_progress: Callable[[int], None] | None = None,
) -> Report:
    """Write the samples of ``src`` that get a verified trajectory to ``out``, the others to its ``rejected.jsonl``.

    Only verified trajectories are kept; one that a sample already had is replaced. Raises ConfigError for an unknown
    writer, DataError where nothing is kept or ``out`` cannot be written.
    """
    write, name = _writer(writer)
    report = Report()
    card = src.card
    with DatasetWriter(
        out,
        name=card.name,
        description=f"{card.description} Trajectories: {name}.".strip(),
        created_by="mirg trajectories build",
        seed=card.seed,
        license=card.license,
        overwrite=overwrite,
    ) as target:
        carrier = Carrier(src, target, "own")
        # Images that lie elsewhere are not copied, so nothing else would look at them.
        look = "header" if card.roots else "none"
        for sample in src.read(lambda row: report.refused.append(_bad_row(row.id, str(row))), images=look):
            outcome = carried(carrier, attach(sample, write, family=family, config=config))
            if isinstance(outcome, Sample):
                target.add(outcome)
                report.n_kept += 1
                report.tasks[outcome.task] += 1
            else:
                report.refused.append(outcome)
            if on_progress:
                on_progress(report.n_rows)
        if not report.n_kept:
            first = f"; first: {report.refused[0]}" if report.refused else ""
            raise DataError(
                f"no sample of {src.root} got a verified trajectory, {report.n_rows} rows read{first}",
                hint="mirg data check says what is wrong with the rows",
            )
    write_jsonl_atomic(Path(out) / REJECTED_FILE, (row.model_dump(mode="json") for row in report.refused))
    return report


def check_dataset(
    src: DatasetFolder,
    *,
    family: str = DEFAULT_FAMILY,
    config: VerifyConfig = DEFAULT,
    on_progress: Callable[[int], None] | None = None,
) -> Report:
    """Verify the stored trajectories of ``src`` again, from their text alone. Broken rows count as refused."""
    report = Report()
    for sample in src.read(lambda row: report.refused.append(_bad_row(row.id, str(row)))):
        if sample.trajectory is None:
            report.n_without += 1
        elif problem := _stored_problem(sample, sample.trajectory, family, config):
            report.refused.append(problem)
        else:
            report.n_kept += 1
            report.tasks[sample.task] += 1
        if on_progress:
            on_progress(report.n_rows)
    return report


def carried(carrier: Carrier, sample: Sample | Refused) -> Sample | Refused:
    """The sample with references into the new folder; refused where an image cannot be opened."""
    if isinstance(sample, Refused):
        return sample
    try:
        return carrier.carry(sample)
    except ImageError as error:
        return Refused(id=sample.id, task=sample.task, check="image", reason=error.message)


def _stored_problem(sample: Sample, stored: Trajectory, family: str, config: VerifyConfig) -> Refused | None:
    verdicts = verify(sample, stored, family=family, config=config)
    for verdict in failures(verdicts):
        return _refused(sample, stored, verdict.check, verdict.reason)
    missing = sorted({verdict.check for verdict in verdicts} - set(stored.checks))
    if missing:
        return _refused(sample, stored, missing[0], "passes, but was not recorded as passed when it was written")
    return None


def _writer(writer: str | Writer) -> tuple[Writer, str]:
    if not isinstance(writer, str):
        return writer, getattr(writer, "__name__", "custom")
    if writer not in WRITERS:
        raise ConfigError(f"unknown writer {writer!r}", hint=f"known: {', '.join(WRITERS)}")
    return WRITERS[writer], writer


def _refused(sample: Sample, trajectory: Trajectory, check: str, reason: str | None) -> Refused:
    return Refused(id=sample.id, task=sample.task, check=check, reason=reason or "", thinking=trajectory.thinking)


def _bad_row(row_id: str | None, reason: str) -> Refused:
    return Refused(id=row_id, check="row", reason=reason)

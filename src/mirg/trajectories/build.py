"""From a dataset of samples to one with verified trajectories, and the same verification again later.

Samples are independent: what becomes of one does not depend on the others, nor on their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mirg.data.derive import Derived, Outcome, refuse_overwriting_inputs, sift, writer_like
from mirg.errors import ConfigError, DataError, MirgError
from mirg.families import MIRG_TINY
from mirg.samples import DatasetFolder, Rejection, Sample, Tally, Trajectory
from mirg.samples.card import SAMPLES_FILE
from mirg.trajectories.checks import CHECKS, DEFAULT, DEFAULT_FAMILY, VerifyConfig, checks_of, failures, verify
from mirg.trajectories.looks import with_looks
from mirg.trajectories.plain import build_plain
from mirg.trajectories.writer import build as build_by_rules
from mirg.trajectories.writer import build_object_level

WITHOUT = "no trajectory"
Writer = Callable[[Sample], Trajectory]
Voice = Literal["plain", "terse"]
RULES = "rules"
WRITERS: dict[str, Writer] = {RULES: build_by_rules, "object-level": build_object_level}


def default_voice(family: str) -> Voice:
    """Plain, but terse for mirg-tiny: its language model has 3 M parameters and learns short forms better."""
    return "terse" if family == MIRG_TINY.name else "plain"


def rules_writer(voice: Voice, *, seed: int = 0, looks: int = 0) -> Writer:
    """The rule-based writer in a voice: plain sentences, whose wording ``seed`` varies, or terse forms.

    With ``looks``, its chains look up to so many times at small targets (:mod:`mirg.trajectories.looks`).
    """
    plain = voice == "plain"
    write: Writer = partial(build_plain, seed=seed) if plain else build_by_rules
    if not looks:
        return write
    return lambda sample: with_looks(write(sample), sample, looks, plain=plain, seed=seed)


class Refused(Rejection):
    """A sample without a trajectory that may be kept. ``check`` is a check's name, or "row", "writer", "image".

    ``thinking`` is the text that failed. A sample that is judged outside of a dataset has no ``file`` and row 0.
    """

    file: str = ""
    row: int = 0
    field: str = "trajectory"
    task: str = ""
    check: str
    thinking: str = ""

    def __str__(self) -> str:
        return f"sample {self.id or '?'}: {self.check}: {self.reason}"

    @classmethod
    def of(cls, sample: Sample, check: str, reason: str, thinking: str = "") -> Refused:
        """The refusal of ``sample`` by ``check``."""
        return cls(id=sample.id, task=sample.task, check=check, reason=reason, thinking=thinking)

    def at(self, src: DatasetFolder, row: int) -> Refused:
        """The refusal with the file of ``src`` and the line of its sample, from 1."""
        return self.model_copy(update={"file": str(src.root / SAMPLES_FILE), "row": row})


@dataclass
class Report(Tally[Refused]):
    """The :class:`Tally` of trajectories that were written or checked."""

    @property
    def n_without(self) -> int:
        """Samples that never had a trajectory; they are dropped if a dataset is checked."""
        return self.dropped[WITHOUT]

    @property
    def reasons(self) -> dict[str, int]:
        """How many samples each check refused, most frequent first."""
        return dict(Counter(row.check for row in self.rejections).most_common())

    def reject(self, rejection: Rejection, sample: Sample | None = None) -> Rejection:
        """Count and list a refused sample; a broken row or image is listed as the check "row" or "image"."""
        if isinstance(rejection, Refused):
            return super().reject(rejection)
        told = rejection.model_dump() | {"task": sample.task if sample else "", "check": "image" if sample else "row"}
        return super().reject(Refused.model_validate(told | {"reason": rejection.reason if sample else str(rejection)}))

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        counts = {"rows": self.n_rows, "kept": self.n_kept, "without": self.n_without, "rejected": self.n_rejected}
        return {**counts, "reasons": self.reasons, "tasks": dict(sorted(self.tasks.items())), **self.rejected_dict()}

    def nothing_kept(self, src: DatasetFolder, hint: str) -> DataError:
        """The error of a dataset in which no sample got a verified trajectory."""
        words = f"no sample of {src.root} got a verified trajectory, {self.n_rows} rows read{self.first()}"
        return DataError(words, hint=hint)


def attach(
    sample: Sample, writer: Writer, *, family: str = DEFAULT_FAMILY, config: VerifyConfig = DEFAULT
) -> Sample | Refused:
    """``sample`` with a verified trajectory and the names of the checks it passed, or the reason for its refusal."""
    try:
        trajectory = writer(sample)
    except MirgError as error:
        return Refused.of(sample, "writer", error.message)
    results = verify(sample, trajectory, family=family, config=config)
    for check, reason in failures(results).items():
        return Refused.of(sample, check, reason, trajectory.thinking)
    passed = trajectory.model_copy(update={"checks": tuple(results)})
    return sample.model_copy(update={"trajectory": passed})


def build_dataset(
    src: DatasetFolder,
    out: str | Path,
    *,
    writer: str | Writer = RULES,
    voice: Voice | None = None,
    seed: int = 0,
    looks: int = 0,
    overwrite: bool = False,
    family: str = DEFAULT_FAMILY,
    config: VerifyConfig = DEFAULT,
    on_progress: Callable[[int], None] | None = None,
) -> Report:
    """Write the samples of ``src`` that get a verified trajectory to ``out``, the others to its ``rejected.jsonl``.

    Only verified trajectories are kept; one that a sample already had is replaced. ``voice``, ``seed`` and ``looks``
    are those of the rules (:func:`rules_writer`); None is the default voice of the family. Raises ConfigError for an
    unknown writer, a voice or looks of another writer, or an ``out`` that holds what is read, DataError if nothing is
    kept or ``out`` cannot be written.
    """
    if isinstance(writer, str) and writer not in WRITERS:
        raise ConfigError(f"unknown writer {writer!r}", hint=f"known: {', '.join(WRITERS)}")
    if voice is not None and writer != RULES:
        raise ConfigError("a voice is for the writer rules", hint="leave out --voice, or choose --writer rules")
    if looks and writer != RULES:
        hint = "leave out --looks, or choose --writer rules; for a teacher, set look.max_looks in its recipe"
        raise ConfigError("--looks is for the writer rules", hint=hint)
    write = WRITERS[writer] if isinstance(writer, str) else writer
    name = writer if isinstance(writer, str) else getattr(writer, "__name__", "custom")
    if writer == RULES:
        chosen = voice or default_voice(family)
        write, name = rules_writer(chosen, seed=seed, looks=looks), f"{RULES}, {chosen} voice"
        name += f", up to {looks} looks" if looks else ""
    refuse_overwriting_inputs(Path(out), [src])
    checks_of(config)  # a plug-in that cannot be loaded is reported before anything is written
    report = Report()

    def judge(row: int, sample: Sample) -> Outcome:
        found = attach(sample, write, family=family, config=config)
        return Outcome(found) if isinstance(found, Sample) else Outcome(None, "", found.at(src, row))

    with writer_like(src.card, out, "mirg trajectories build", f"Trajectories: {name}.", overwrite=overwrite) as target:
        # Images that lie elsewhere are not copied, so nothing else would look at them.
        look = "header" if src.card.roots else "none"
        target.open_rejected()
        Derived(target, report, "own").write(src, judge, images=look, on_progress=on_progress)
        if not report.n_kept:
            raise report.nothing_kept(src, "mirg data check says what is wrong with the rows")
    return report


def check_dataset(
    src: DatasetFolder,
    *,
    family: str = DEFAULT_FAMILY,
    config: VerifyConfig = DEFAULT,
    on_progress: Callable[[int], None] | None = None,
) -> Report:
    """Verify the stored trajectories of ``src`` again, only from their text. Broken rows count as rejected.

    A plug-in of ``config`` need not have been among the checks when the trajectories were written.
    """
    checks_of(config)
    report = Report()

    def judge(row: int, sample: Sample) -> Outcome:
        stored = sample.trajectory
        if stored is None:
            return Outcome(None, WITHOUT)
        found = attach(sample, lambda _: stored, family=family, config=config)
        missing = sorted(checks_of(config).keys() & CHECKS.keys() - {*stored.checks})
        if missing and isinstance(found, Sample):
            reason = "passes, but was not recorded as passed when it was written"
            found = Refused.of(sample, missing[0], reason, stored.thinking)
        return Outcome(found) if isinstance(found, Sample) else Outcome(None, "", found.at(src, row))

    for _, sample, _ in sift(src, judge, report, on_progress=on_progress):
        report.keep(sample)
    return report

"""Whether a trajectory may be used for training: every check with its reason, repeatable from the stored text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mirg.frames import Family
from mirg.frames import family as family_named
from mirg.samples.schema import Sample, Trajectory
from mirg.trajectories.checks import CHECKS, Case, VerifyConfig, checks_of

__all__ = ["CHECKS", "DEFAULT", "Verdict", "VerifyConfig", "failures", "verify"]

DEFAULT = VerifyConfig()
# The finest frame that does not depend on the size of the image; a coarser one would move small boxes.
DEFAULT_FAMILY = "qwen3-vl"


@dataclass(frozen=True)
class Verdict:
    """The result of one check; ``reason`` is None exactly if it is passed."""

    check: str
    ok: bool
    reason: str | None = None


def verify(
    sample: Sample,
    trajectory: Trajectory,
    *,
    family: Family | str = DEFAULT_FAMILY,
    config: VerifyConfig = DEFAULT,
) -> list[Verdict]:
    """One verdict per check, in the order of :data:`CHECKS`; the language is checked only if one is configured.

    Never raises on any sample and trajectory; time is linear in the length of the thinking. ``family`` says in
    which frame the completion of the grammar check is written (ConfigError for an unknown name).
    """
    chosen = family_named(family) if isinstance(family, str) else family
    case = Case(sample, trajectory, chosen, config)
    verdicts = []
    for name, check in checks_of(config).items():
        reason = check(case)
        verdicts.append(Verdict(name, reason is None, reason))
    return verdicts


def failures(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts that are not passed; empty means that the trajectory may be kept."""
    return [verdict for verdict in verdicts if not verdict.ok]

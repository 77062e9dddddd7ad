"""Format reward: one think block, then one answer block that parses, nothing else."""

from __future__ import annotations

from mirg.answers.read import Reading
from mirg.rewards.part import BEST, Part

PER_PAIR = 0.25  # partial credit for each of the two blocks whose tags are well paired


def format_part(reading: Reading, *, partial: bool = False) -> Part:
    """1 where the format is kept, else 0; with ``partial``, 0.25 for each well-paired block (so 0.5 at most)."""
    if reading.format_score >= 1.0:
        return BEST
    value = PER_PAIR * reading.paired_tags if partial else 0.0
    return Part(value, reading.format_reason or "the format is not kept")

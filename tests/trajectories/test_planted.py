"""How good the checks are: replies with one planted defect each, and correct ones in many styles (``fakes.planted``).

``tools/verification_quality.py`` prints the whole table and keeps it in docs/results/verification.json.
"""

from __future__ import annotations

from collections import Counter

import pytest

from fakes import wordings
from fakes.planted import FAMILY, STYLES
from fakes.planted_defects import DEFECTS, MEANT, Planted, planted_set
from fakes.planted_score import HELD_OUT, Score, score
from mirg.trajectories.teacher.replies import read_reply

SEED = 11


@pytest.fixture(scope="module")
def planted() -> list[Planted]:
    return planted_set(SEED, n_correct=300, per_defect=14, per_wording=1)


@pytest.fixture(scope="module")
def scored(planted: list[Planted]) -> Score:
    return score(planted)


def test_the_set_is_large_and_varied(planted: list[Planted]) -> None:
    assert len(planted) >= 500
    counts = Counter(row.defect for row in planted)
    assert set(counts) == {"", *MEANT} and min(counts.values()) >= 12
    assert len({row.sample.task for row in planted}) >= 6
    assert len({row.style for row in planted if not row.defect}) == len(STYLES) + 1
    assert len({row.wording for row in planted if row.defect == "leak"}) >= 25
    assert len({row.wording for row in planted if row.defect == "conclusion_first"}) >= 10


def test_defects_are_found_and_correct_replies_pass(scored: Score) -> None:
    """The measure of the whole verification. Wordings held out are in their own row, see the next test."""
    assert scored.recall >= 0.98, scored.missed
    assert scored.false_rejections <= 0.02, scored.refused


@pytest.mark.parametrize("defect", [*DEFECTS, "leak", "conclusion_first", "other_language"])
def test_each_kind_of_defect_is_found_by_the_check_meant_for_it(scored: Score, defect: str) -> None:
    row = scored.defects[defect]
    assert row.found >= 0.98 * row.n, scored.missed
    assert row.by_meant >= 0.93 * row.n, "found, but for another reason"


def test_wordings_that_nothing_was_learnt_from_are_half_found(scored: Score) -> None:
    """What patterns do with words they were not written for: far from all, and the documentation says so."""
    held_out = scored.defects[f"leak, {HELD_OUT}"]
    assert held_out.n >= 12 and held_out.found >= 0.4 * held_out.n
    assert scored.defects[f"conclusion_first, {HELD_OUT}"].n >= 5


def test_wordings_are_not_given_twice() -> None:
    groups = [words for name, words in vars(wordings).items() if name.endswith(("_LEAKS", "HONEST"))]
    given = Counter(wording for words in groups for wording in words)
    assert len(groups) == 10 and [wording for wording, count in given.items() if count > 1] == []


def test_a_reply_is_read_before_it_is_checked(planted: list[Planted]) -> None:
    """What the reader refuses is in the right place: malformed replies, and images that are not there."""
    refused = Counter(row.defect for row in planted if isinstance(read_reply(row.text, row.sample, FAMILY), str))
    assert set(refused) <= {"malformed", "fabricated_image"} and refused["malformed"]

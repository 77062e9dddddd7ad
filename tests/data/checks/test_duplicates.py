"""What repeats is found from keys as it would be by comparing every pair."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.data.checks.duplicates import Duplicates, Repeat, text_key
from mirg.samples import ImageRef, Sample, Target

BOX = (0.1, 0.2, 0.3, 0.4)


def sample(images: str, question: str = "Where?", target: int = 1, **fields: Any) -> Sample:
    """``images`` is one letter for each image's content."""
    refs = tuple(ImageRef(path=f"{letter}.png", width=9, height=9, sha256=letter * 64) for letter in images)
    made = {"targets": (Target(image=target, box=BOX, label="ring"),), **fields}
    return Sample(id="s", task="t", images=refs, question=question, **made)


def twins(*samples: Sample) -> list[tuple[str, int, int]]:
    found = Duplicates()
    for row, one in enumerate(samples, 1):
        found.add(row, one, [ref.sha256 for ref in one.images])
    return [row[:3] for row in found.repeats() if row.kind != "copied_file"]


PAIRS = [
    (sample("ab"), sample("ab"), "duplicate", "all the same"),
    (sample("ab"), sample("ab", target=2), "conflicting_targets", "another answer to the same question"),
    (sample("ab"), sample("ba", target=2), "reordered", "the other order"),
    (sample("ab", "Is it in Image-1?"), sample("ba", "Is it in Image-2?", target=2), "reordered", "names follow"),
    (sample("ab", "Find Image-1's ring"), sample("ba", "Find Image-1's ring"), None, "asks about another image"),
    (sample("ab", "Find <box image=1>0.1,0.2,0.3,0.4</box>"), sample("ba", "Find <box image=2>0.1,0.2,0.3,0.4</box>"),
     "reordered", "boxes follow"),
    (sample("ab"), sample("ac"), None, "other images"),
    (sample("ab"), sample("ab", "When?"), None, "another question"),
    (sample("ab"), sample("abb"), None, "an image more"),
    (sample("ab"), sample("ab", targets=()), "conflicting_targets", "none is an answer too"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "kind", "why"), PAIRS, ids=[row[3].replace(" ", "_") for row in PAIRS])
def test_two_rows(first: Sample, second: Sample, kind: str | None, why: str) -> None:
    assert twins(first, second) == ([(kind, 1, 2)] if kind else []), why


def test_a_row_is_told_by_the_earliest_row_that_it_repeats_most_closely() -> None:
    found = twins(sample("ab"), sample("ba", target=2), sample("ba", target=2), sample("cd"), sample("ab"))
    assert found == [("reordered", 1, 2), ("duplicate", 2, 3), ("duplicate", 1, 5)]
    found = twins(sample("ab"), sample("ba", target=2), sample("ab", target=2))
    assert found == [("reordered", 1, 2), ("conflicting_targets", 1, 3)], "not by the row before it"


def test_the_order_of_findings_is_that_of_the_rows() -> None:
    """Keys differ from run to run; what is said must not."""
    pairs = [sample(letter, question=f"{n}?") for n, letter in enumerate("abcdefgh")]
    assert twins(*pairs, *pairs) == [("duplicate", k, k + 8) for k in range(1, 9)]


SAMPLES = st.builds(
    sample,
    st.text("abc", min_size=1, max_size=3),
    st.sampled_from(["Where?", "Image-1 or Image-2?"]),
    st.just(1),
)


@given(st.lists(SAMPLES, max_size=12))
def test_against_comparing_every_pair(samples: list[Sample]) -> None:
    def exact(s: Sample) -> object:
        return (s.question, [r.sha256 for r in s.images], s.targets)

    repeated = {k for k, s in enumerate(samples, 1) if any(exact(s) == exact(o) for o in samples[: k - 1])}
    assert {row for kind, _, row in twins(*samples) if kind == "duplicate"} == repeated
    for kind, first, row in twins(*samples):
        a, b = samples[first - 1], samples[row - 1]
        assert first < row and sorted(r.path for r in a.images) == sorted(r.path for r in b.images)
        assert kind != "reordered" or [r.path for r in a.images] != [r.path for r in b.images]


def test_one_content_under_two_names() -> None:
    found = Duplicates()
    refs = [("a.png", "1"), ("b.png", "2"), ("c.png", "1"), ("a.png", "1"), ("d.png", "1"), ("c.png", "1")]
    for row, (path, digest) in enumerate(refs, 1):
        one = sample("x").model_copy(update={"images": (ImageRef(path=path),)})
        found.add(row, one, [digest * 64])
    copies = [row for row in found.repeats() if row.kind == "copied_file"]
    assert [(c.first, c.row) for c in copies] == [(1, 3), (1, 5)], "once for each further name"
    assert copies[0] == Repeat("copied_file", 1, 3, text_key("a.png"), text_key("c.png"))


def test_images_without_digest_are_told_by_name() -> None:
    found = Duplicates()
    for row in (1, 2):
        found.add(row, sample("a"), [None])
    assert list(found.repeats()) == [Repeat("duplicate", 1, 2)]
    assert list(Duplicates().repeats()) == []

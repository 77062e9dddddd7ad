"""Labels that are written in two ways are found, others stay unchanged, and the order of rows changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.samples.labels import MOST, LabelCounts, spelling_key


def counted(*labels: str) -> LabelCounts:
    counts = LabelCounts()
    for row, label in enumerate(labels, 1):
        counts.add(label, row)
    return counts


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("dog", "Dog", "case"),
        ("traffic light", "traffic_light", "underscore"),
        ("traffic-light", "Traffic  Light ", "hyphen, two blanks, a blank at the end"),
        ("T\u00fcr", "Tu\u0308r", "composed and decomposed umlaut"),
        ("STRASSE", "stra\u00dfe", "sharp s"),
        ("t\u2010shirt", "t-shirt", "another hyphen"),
        ("\uff43\uff41\uff52", "car", "full width"),
    ],
)
def test_two_spellings(one: str, other: str, why: str) -> None:
    assert spelling_key(one) == spelling_key(other), why
    (found,) = counted(one, other, other).spellings()
    assert [(use.label, use.uses, use.row) for use in found.uses] == [(other, 2, 2), (one, 1, 1)] and not found.plural
    assert "seem to be one label" in str(found)


@pytest.mark.parametrize(
    ("labels", "plurals"),
    [
        (("dog", "dogs"), 1),
        (("bus", "buses"), 1),
        (("berry", "berries"), 1),
        (("Traffic Light", "traffic_lights"), 1),
        (("dogs",), 0),
        (("bus", "bu"), 0),
        (("glass", "grass"), 0),
        (("gas", "ga"), 0),
    ],
)
def test_plurals_count_only_if_both_forms_occur(labels: tuple[str, ...], plurals: int) -> None:
    found = counted(*labels).spellings()
    assert len(found) == plurals and all(group.plural for group in found)


def test_what_is_different_stays_different() -> None:
    assert not counted("cat", "car", "cart", "scar", "car 1", "car 2", "", "K\u00fcche", "Kuche").spellings()


def test_phrases_and_very_many_labels_are_not_compared() -> None:
    assert counted("old red fire truck", "Old red fire truck").spellings()
    assert not counted("an old red fire truck", "An old red fire truck").spellings()
    many = LabelCounts()
    for k in range(MOST + 2):
        assert many.too_many == (k > MOST)
        many.add(f"label {k}", k)
    many.add("LABEL 1", 1)
    assert many.too_many and not many.uses and not many.spellings()
    one = counted("a", "A")
    one.join(many)
    assert one.too_many and not one.spellings()


@given(st.lists(st.sampled_from(["dog", "Dog", "dogs", "bus", "BUS", "t-shirt", "T shirt", "cat"])), st.integers(0, 20))
def test_parts_are_joined_as_if_they_were_one(labels: list[str], cut: int) -> None:
    whole, first, second = LabelCounts(), LabelCounts(), LabelCounts()
    for row, label in enumerate(labels, 1):
        whole.add(label, row)
        (first if row <= cut else second).add(label, row)
    second.join(first)
    assert second.spellings() == whole.spellings()

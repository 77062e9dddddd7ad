"""The set of texts answers as Python's own does, with texts that share a bucket among them."""

from __future__ import annotations

from mirg.samples.ids import TextSet


def test_it_answers_as_a_set_of_python() -> None:
    found, expected = TextSet(), set()
    for number in range(4000):
        text = f"id {number % 3000}"
        assert found.add(text) is (text not in expected)
        expected.add(text)
    assert len(found) == len(expected) == 3000
    # Of 3,000 texts that are not in the set, about 137 fall into a bucket that holds another text.
    assert [f"id {n}" in found for n in range(6000)] == [f"id {n}" in expected for n in range(6000)]

"""The numbers of a multiple-choice evaluation: scores as published, chance levels, pairs, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirg.errors import EvaluationError
from mirg.evaluation.choices.items import META, TRUTH, Key
from mirg.evaluation.choices.records import ChoiceRecord, chance_of, count_score, make_record
from mirg.evaluation.choices.sets import SETS
from mirg.evaluation.choices.summary import difference, summarise, units, verdict
from mirg.samples import ImageRef, Sample

ABC = {"A": "one", "B": "two", "C": "three"}


def answered(
    name: str,
    said: str,
    answer: str = "B",
    *,
    task: str = "t",
    pair: str = "",
    side: str = "",
    n: int = 3,
    images: str = "",
) -> ChoiceRecord:
    """A record; ``answer`` T or F is a truth value, and a digit is a count of ``n`` images."""
    kind = "truth" if answer in TRUTH else "number" if answer.isdigit() else "option"
    options = {"truth": TRUTH, "number": {}, "option": ABC}[kind]
    key = {"kind": kind, "options": options, "answer": answer, "pair": pair, "side": side}
    refs = tuple(ImageRef(path=f"{images or name}-{k}.png") for k in range(n))
    meta = {META: key} | ({"image_set": pair} if pair else {})
    return make_record(Sample(id=name, task=task, images=refs, question="?", meta=meta), said)


@pytest.mark.parametrize(
    ("truth", "said", "n_images", "score", "why"),
    [
        (2, "2", 4, 1.0, "right"),
        (1, "2", 4, 1 - (1 / 3) ** 0.1, "one of at most three"),
        (2, "4", 4, 0.0, "the largest error possible"),
        (4, "5", 8, 1 - 0.5 * 0.25**0.1, "more images than four: the error weighs less"),
        (1, "2", 2, 0.0, "two images: every error weighs twice"),
        (2, "5", 4, 0.0, "more than there are images"),
        (2, "0", 4, 0.0, "none"),
        (2, "1.5", 4, 0.0, "half a thing"),
        (2, None, 4, 0.0, "unreadable"),
        (5, "5", 4, 1.0, "right, although there are fewer images"),
    ],
)
def test_counts(truth: int, said: str | None, n_images: int, score: float, why: str) -> None:
    assert count_score(truth, said, n_images) == pytest.approx(score), why


def test_one_record() -> None:
    right, wrong, unread = (answered("a", text) for text in ("<think>A</think>(B)", "C", "hm"))
    assert [record.outcome for record in (right, wrong, unread)] == ["right", "wrong_option", "unreadable"]
    assert (right.thinking, right.said, wrong.said, unread.said) == ("A", "B", "C", None)
    assert unread.failure == "the answer names no option" and unread.score == 0.0
    assert answered("a", "lone \ud800 B").said == "B", "what no file can hold"
    assert ChoiceRecord.model_validate_json(right.model_dump_json()) == right
    assert chance_of(right) == {"accuracy": 1 / 3, "score": 1 / 3}
    assert chance_of(answered("a", "T", "T")) == {"accuracy": 0.5, "score": 0.5}
    number = chance_of(answered("a", "2", "2", n=4))
    assert number["accuracy"] == 0.25 and 0.25 < number["score"] < 0.35


def test_tables() -> None:
    """Tasks with different numbers of items: the two means differ; pairs count if both questions are right."""
    rows = [
        *(answered(f"x{k}", "B" if k < 6 else "A", task="x") for k in range(8)),
        answered("p1", "T", "T", task="y", pair="y/1", side="true"),
        answered("n1", "F", "F", task="y", pair="y/1", side="false"),
        answered("p2", "T", "T", task="y", pair="y/2", side="true"),
        answered("n2", "T", "F", task="y", pair="y/2", side="false"),
        answered("p3", "T", "T", task="y", pair="y/3", side="true"),  # its counterpart could not be asked
        answered("c", "hm", "2", task="z", n=4),
    ]
    found = summarise(rows, SETS["vlm2"])
    tasks = found["tasks"]
    assert {task: (block["n"], block["n_units"]) for task, block in tasks.items()} == {
        "x": (8, 8),
        "y": (5, 2),
        "z": (1, 1),
    }
    assert [tasks[t]["accuracy"]["mean"] for t in "xyz"] == [0.75, 0.8, 0.0]
    assert [tasks[t]["score"]["mean"] for t in "xyz"] == [0.75, 0.5, 0.0]
    assert [tasks[t]["score_chance"] for t in "xy"] == [pytest.approx(1 / 3), 0.25]
    assert found["overall"]["accuracy"]["mean"] == pytest.approx(10 / 14)
    assert found["mean_of_tasks"]["score"]["mean"] == pytest.approx((0.75 + 0.5 + 0.0) / 3)
    assert found["mean_of_tasks"]["n_tasks"] == 3
    assert {side: block["accuracy"]["mean"] for side, block in found["sides"].items()} == {"false": 0.5, "true": 1.0}
    assert (found["pairs"]["n"], found["pairs"]["incomplete"], found["pairs"]["both_right"]["mean"]) == (2, 1, 0.5)
    assert found["outcomes"] == {"right": 10, "wrong_option": 3, "unreadable": 1}
    assert found["unreadable"] == {"the answer names no number": 1}
    for cell in (tasks["x"]["accuracy"], found["mean_of_tasks"]["score"]):
        assert 0 <= cell["low"] < cell["mean"] < cell["high"] <= 1


@pytest.mark.parametrize(("answer", "low", "high"), [("B", 0.5, 1.0), ("A", 0.0, 0.5)])
def test_all_right_or_all_wrong_has_an_interval(answer: str, low: float, high: float) -> None:
    """No bootstrap has a spread there."""
    found = summarise([answered(f"a{k}", answer, task="xy"[k % 2]) for k in range(20)], SETS["blink"])
    for cell in (found["overall"]["accuracy"], found["mean_of_tasks"]["score"]):
        assert low <= cell["low"] <= cell["mean"] <= cell["high"] <= high and cell["low"] < cell["high"]


RECORDS = st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from(["A", "B", "hm"])), min_size=1, max_size=30)


@settings(max_examples=25)  # a bootstrap each
@given(RECORDS)
def test_means(rows: Sequence[tuple[str, str]]) -> None:
    """The mean of the tasks is that of their scores, and outcomes add up."""
    records = [answered(f"i{k}", said, task=task) for k, (task, said) in enumerate(rows)]
    found = summarise(records, SETS["blink"])
    scores = [block["score"]["mean"] for block in found["tasks"].values()]
    assert found["mean_of_tasks"]["score"]["mean"] == pytest.approx(sum(scores) / len(scores))
    assert sum(found["outcomes"].values()) == len(records) == len(units(records))


def test_differences() -> None:
    """Item by item on what both answered; the two items of a pair are one image set."""
    before = [answered(f"x{k}", "B" if k % 2 else "A", task="xy"[k % 3 == 0]) for k in range(40)]
    after = [answered(f"x{k}", "B" if k % 2 or k < 20 else "A", task="xy"[k % 3 == 0]) for k in range(5, 41)]
    found = difference(before, after)
    assert (found["n"], found["only_before"], found["only_after"]) == (35, 5, 1)
    assert found["overall"]["mean"] == pytest.approx(7 / 35), "x6, x8 … x18 became right"
    assert found["overall"]["low"] > 0 and found["overall"]["p"] < 0.05
    means = [cell["mean"] for cell in found["tasks"].values()]
    assert found["mean_of_tasks"]["mean"] == pytest.approx(sum(means) / 2) and set(found["tasks"]) == {"x", "y"}
    back = difference(after, before)
    assert back["overall"]["mean"] == pytest.approx(-7 / 35) and back["overall"]["high"] < 0
    with pytest.raises(EvaluationError, match="no item in common"):
        difference(before, [answered("other", "B")])
    with pytest.raises(EvaluationError, match="item x0 is not the same"):
        difference(before, [answered("x0", "B", "C", task="y")])


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ((-0.05, -0.08, -0.01), "lower by 5.0 points"),
        ((0.05, 0.01, 0.08), "higher by 5.0 points"),
        ((-0.004, -0.021, 0.013), "no difference is shown; a loss of more than 2.1 points is excluded"),
        ((0.0, 0.0, 0.0), "no difference is shown"),
    ],
)
def test_words(cell: tuple[float, float, float], words: str) -> None:
    assert verdict(dict(zip(("mean", "low", "high"), cell, strict=True))) == words


def test_published_results_name_their_source() -> None:
    for wanted in SETS.values():
        for row in wanted.published:
            assert row.source and (row.score is not None or row.tasks)
            assert all(0 < value < 100 for value in (*row.tasks.values(), row.score or 1.0))
    assert Key(kind="number", options={}, answer="3").side == ""

"""The gallery of a page: items are built only from the shown answers, regardless of the number of records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from mirg.evaluation.compare import Evaluation
from mirg.evaluation.page_answers import Gallery, answer_part
from mirg.evaluation.records import Record
from mirg.report.cards import PER_OUTCOME, select
from mirg.report.data import GalleryItem, ReportData
from mirg.report.pages import render

RIGHT = "<think>hm</think><answer>Image-2: (100,200),(500,600)</answer>"
WRONG = "<think>hm</think><answer>Image-1: (100,200),(500,600)</answer>"
N = 400


class Counting(Gallery):
    """A gallery that counts the items made."""

    made: ClassVar[Counter[str]] = Counter()

    def item(self, model: str, record: Record) -> GalleryItem:
        self.made[model] += 1
        return super().item(model, record)


@pytest.fixture
def gallery(make_one: Callable[..., Record]) -> Counting:
    """Two models, two outcomes, two tasks, one of them rare."""

    def evaluated(name: str, right: int) -> Evaluation:
        records = tuple(
            make_one(RIGHT if k < right else WRONG, name=f"s{k:03d}", task="rare" if k % 50 == 0 else "common")
            for k in range(N)
        )
        return Evaluation(name, records)

    Counting.made.clear()
    return Counting((evaluated("base", 100), evaluated("RL", 300)), None, {})


def test_only_shown_answers_become_items(gallery: Counting) -> None:
    items = gallery.items()
    assert gallery.made == {"base": 2 * PER_OUTCOME, "RL": 2 * PER_OUTCOME} and gallery.n_answers == 2 * N
    assert "96 of 800 answers" in render(ReportData(title="t", gallery=items, n_answers=gallery.n_answers))
    assert Counter((i.model, i.outcome) for i in items) == {
        (model, outcome): PER_OUTCOME for model in ("base", "RL") for outcome in ("right", "wrong_image")
    }


def test_they_are_those_that_the_page_would_have_chosen(gallery: Counting) -> None:
    every = [gallery.item(e.name, record) for e in gallery.evaluated for record in e.records]
    chosen = select(every)
    assert sorted(gallery.items(), key=str) == sorted(chosen, key=str)
    assert select(gallery.items()) == chosen, "the page chooses again, and finds nothing to leave out"
    assert [i.model for i in gallery.items()] == sorted((i.model for i in chosen), key=["base", "RL"].index)


@pytest.mark.parametrize(
    ("completion", "shown", "why"),
    [
        (RIGHT, "Image-2: (100,200),(500,600)", "the text inside the answer tags"),
        ("Image-2: (100,200),(500,600)", "Image-2: (100,200),(500,600)", "no tags: everything"),
        ("no idea", "no idea", "nothing could be read: everything"),
        ("<answer>x</answer> so " + RIGHT, "Image-2: (100,200),(500,600)", "the last answer, as the reader takes it"),
        ("<think>a <answer>x</answer></think>none", "<think>a <answer>x</answer></think>none", "tags in the thinking"),
    ],
)
def test_the_answer_shown_is_the_answer_read(
    make_one: Callable[..., Record], completion: str, shown: Any, why: str
) -> None:
    assert answer_part(make_one(completion)) == shown, why

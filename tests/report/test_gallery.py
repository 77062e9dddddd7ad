"""The choice of answers is bounded, spread over tasks, and the same for every model where it can be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from mirg.report.cards import select
from mirg.report.data import GalleryItem


def test_every_task_has_its_turn(make_item: Callable[..., GalleryItem]) -> None:
    items = [make_item(sample_id=f"s{i}", task="rare" if i < 2 else "common") for i in range(100)]
    assert Counter(item.task for item in select(items, per_outcome=6)) == {"rare": 2, "common": 4}


def test_models_show_the_same_samples_whatever_the_order(make_item: Callable[..., GalleryItem]) -> None:
    items = [make_item(sample_id=f"s{i}", model=m) for m in ("base", "RL") for i in range(60)]
    first, second = select(items, 9), select(items[::-1], 9)
    assert {i.sample_id for i in first if i.model == "RL"} == {i.sample_id for i in first if i.model == "base"}
    assert {(i.sample_id, i.model) for i in first} == {(i.sample_id, i.model) for i in second}


def test_any_beginning_is_balanced(make_item: Callable[..., GalleryItem]) -> None:
    items = [make_item(sample_id=f"s{i}", outcome=o) for o in ("right", "unreadable") for i in range(20)]
    assert Counter(item.outcome for item in select(items, 10)[:8]) == {"right": 4, "unreadable": 4}


def test_ids_that_cannot_be_encoded_are_sorted_too(make_item: Callable[..., GalleryItem]) -> None:
    assert len(select([make_item(sample_id="\ud800")])) == 1

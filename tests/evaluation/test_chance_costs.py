"""What chance levels cost, counted in computations rather than seconds."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from mirg.evaluation import agreement
from mirg.evaluation import chance as chance_module
from mirg.evaluation.chance import chance, group_chance
from mirg.evaluation.records import Record
from mirg.geometry import Box

Make = Callable[..., Record]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the costly steps, one entry per call: IoUs computed, matchings solved."""
    found: list[str] = []

    def counted(name: str) -> None:
        real = getattr(agreement, name)

        def step(*arguments: Any) -> Any:
            found.append(name)
            return real(*arguments)

        monkeypatch.setattr(agreement, name, step)

    counted("iou_matrix")
    counted("match_ious")
    monkeypatch.setattr(chance_module, "_kept", {})
    return found


def several(make_one: Make, n: int, seed: int = 7) -> list[Record]:
    """``n`` items with two to four targets in three images."""
    rng = random.Random(seed)

    def target() -> tuple[int, Box]:
        x, y = rng.random() * 0.5, rng.random() * 0.5
        return (rng.randint(1, 3), (x, y, x + 0.1 + rng.random() * 0.4, y + 0.1 + rng.random() * 0.4))

    return [make_one("", name=str(k), targets=[target() for _ in range(rng.randint(2, 4))]) for k in range(n)]


def test_items_with_several_targets_are_affordable(make_one: Make, calls: list[str]) -> None:
    """Every answer is held against all items at once, and of many items only some give an answer to try."""
    records = several(make_one, 900)
    calls.clear()  # the records were scored, too
    group_chance(records)
    most = chance_module._MOST_MATCHINGS
    assert calls.count("iou_matrix") <= most / len(records) < 50, "one per answer tried, not one per pair"
    assert most / 2 < calls.count("match_ious") < 2 * most, "one per pair, and one per image where the images agree"


def test_the_levels_of_a_dataset_are_computed_once(make_one: Make, calls: list[str]) -> None:
    """For every model that answered it: completions play no part."""
    records = several(make_one, 40)
    first = chance(records)
    said = [record.model_copy(update={"completion": "no idea", "iou": 0.1, "joint": False}) for record in records]
    calls.clear()
    assert chance(said) == first and not calls
    first["overall"].clear()
    assert chance(records)["overall"], "nobody changes what is kept"


@pytest.mark.parametrize(
    "change",
    [
        {"form": "another question"},
        {"task": "another"},
        {"n_images": 9},
        {"image_hidden": False},
        {"targets": []},
        {"id": "another"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_truth_is_another_dataset(make_one: Make, calls: list[str], change: dict[str, Any]) -> None:
    records = several(make_one, 12)
    chance(records)
    chance([records[0].model_copy(update=change), *records[1:]])
    assert len(chance_module._kept) == 2


def test_only_a_few_datasets_are_kept(make_one: Make, calls: list[str]) -> None:
    for seed in range(7):
        chance(several(make_one, 3, seed))
    assert len(chance_module._kept) == chance_module._MOST_KEPT

"""The recipe of the builders: closed, checked, and shared out to the last sample."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mirg.config import load_recipe
from mirg.data.compose.recipe import TASK_NAMES, ComposeRecipe
from mirg.data.compose.tasks import TASKS
from mirg.errors import ConfigError


def test_every_task_has_a_builder() -> None:
    assert tuple(TASKS) == TASK_NAMES


@pytest.mark.parametrize(
    ("why", "values", "words"),
    [
        ("no source", {"source": ""}, "source"),
        ("a task that does not exist", {"weights": {"refers": 1}}, "did you mean 'refer'"),
        ("a task like no other", {"weights": {"xyz": 1}}, "one of common_object"),
        ("a negative weight", {"weights": {"refer": -1}}, "0 or more"),
        ("no task at all", {"weights": {"refer": 0}}, "no task has a weight"),
        ("one image", {"images": (1, 3)}, "images = "),
        ("a range that ends before it begins", {"frames": (5, 3)}, "frames = "),
        ("no area", {"target_area": (0.5, 0.5)}, "target_area"),
        ("no language", {"languages": {"en": 0}}, "weights of 0 or more"),
        ("an unknown similarity", {"distractors": "alike"}, "same_category"),
        ("an unknown alteration", {"alterations": ["painted"]}, "removed"),
        ("no alteration", {"alterations": []}, "at least 1"),
    ],
)
def test_what_is_refused(why: str, values: dict, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ComposeRecipe.model_validate({"source": "data", **values})


@pytest.mark.parametrize(
    ("why", "override", "words"),
    [
        ("an unknown key", "sources=data", "did you mean source"),
        ("an unknown task", "weights.refers=1", "did you mean 'refer'"),
        ("no number", "n=many", "n"),
        (
            "no image for the split",
            "test_share=1",
            "recipe compose/objects: test_share = 1 leaves no image for the split train: set split=test",
        ),
    ],
)
def test_what_is_refused_on_the_command_line(why: str, override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(ComposeRecipe, "compose/objects", [override])
    assert words in str(caught.value)


def test_the_shipped_recipe_has_every_task_and_one_can_be_left_out() -> None:
    shipped = load_recipe(ComposeRecipe, "compose/objects")
    assert set(shipped.tasks) == set(TASK_NAMES)
    without = load_recipe(ComposeRecipe, "compose/objects", ["weights.none=0"])
    assert set(TASK_NAMES) - set(without.tasks) == {"none"}
    alone = load_recipe(ComposeRecipe, "compose/objects", ["weights={refer: 1}"])
    assert set(alone.tasks) == {"refer"}, "a task that is not named gets none"
    assert ComposeRecipe(source="x", n=10, weights={"refer": 1, "none": 2}).quotas() == {"refer": 3, "none": 7}


@given(
    st.integers(1, 5000),
    st.dictionaries(st.sampled_from(TASK_NAMES), st.floats(0.01, 100), min_size=1),
)
def test_quotas_share_out_every_sample_by_weight(n: int, weights: dict[str, float]) -> None:
    quotas = ComposeRecipe(source="x", n=n, weights=weights).quotas()
    assert sum(quotas.values()) == n and set(quotas) <= set(weights)
    total = sum(weights.values())
    for task, weight in weights.items():
        assert abs(quotas.get(task, 0) - n * weight / total) < 1

"""A reward function of the user's: what it is given, what it counts, and what is said if something is wrong with it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pydantic import ValidationError

from fakes.completions import random_sample, right_completion
from mirg.config import dump_recipe
from mirg.errors import ConfigError, PluginError
from mirg.families import MIRG_TINY
from mirg.rewards import RewardConfig
from mirg.rewards.trl import plugin_reward, reward_functions
from mirg.training.recipe import GrpoRecipe, RewardSection

SAMPLE = random_sample(random.Random(2), MIRG_TINY, n_targets=2)
RIGHT = right_completion(SAMPLE, MIRG_TINY)

CODE = """
SEEN = []
NUMBER = 3

def score(text, sample):
    SEEN.append((text, sample))
    return len(text) % 2

def broken(text, sample):
    return sample.no_such_field

def one_argument(text):
    return 1.0

def image(text, sample):
    return 1.0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return path


def test_it_gets_the_text_and_the_sample(file: Path) -> None:
    from mirg.plugins import load_plugin

    reward = plugin_reward(f"{file}:score")
    said = ["abc", [{"role": "assistant", "content": "abcd"}]]
    assert reward(completions=said, sample=[SAMPLE] * 2, prompts=["", ""]) == [1.0, 0.0]
    assert load_plugin(f"{file}:SEEN") == [("abc", SAMPLE), ("abcd", SAMPLE)]
    assert reward(completions=["abc"], record=[SAMPLE.model_dump_json()]) == [1.0]
    assert reward.__name__ == "score"


def test_it_counts_beside_the_total_of_the_parts(file: Path) -> None:
    made = reward_functions(RewardConfig(), MIRG_TINY, None, [(plugin_reward(f"{file}:score"), 0.25)])
    assert [function.__name__ for function in made.functions] == ["format", "image", "object", "score"]
    assert made.weights == pytest.approx([0.1, 0.4, 0.5, 0.25])
    assert made.functions[3]([RIGHT], [SAMPLE]) == [len(RIGHT) % 2]


def test_it_may_be_the_only_reward(file: Path) -> None:
    none = {"format_weight": 0, "image_weight": 0, "object_weight": 0}
    section = RewardSection.model_validate(none | {"function": f"{file}:score"})
    made = reward_functions(section, MIRG_TINY, None, section.plugins())
    assert made.weights == [0, 0, 0, 1]
    for refused in (none, none | {"function": f"{file}:score", "function_weight": 0}):
        with pytest.raises(ValidationError, match="at least one part must count"):
            RewardSection.model_validate(refused)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NUMBER", "is not a function but int"),
        ("image", "has the name of one of mirg's rewards"),
        ("scores", "does not define 'scores'"),
    ],
)
def test_what_is_no_reward_is_refused_when_it_is_loaded(name: str, message: str, file: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        plugin_reward(f"{file}:{name}")


def test_an_error_inside_shows_its_line(file: Path) -> None:
    with pytest.raises(PluginError) as caught:
        plugin_reward(f"{file}:broken")(["abc"], [SAMPLE])
    line = CODE.splitlines().index("    return sample.no_such_field") + 1
    assert f'"{file}", line {line}, in broken' in caught.value.message
    assert "mirg/rewards" not in caught.value.message
    with pytest.raises(PluginError, match="takes 1 positional argument but 2 were given"):
        plugin_reward(f"{file}:one_argument")(["abc"], [SAMPLE])


@pytest.mark.parametrize("value", ["None", "'0.5'", "float('nan')", "float('inf')", "[1.0]", "{}"])
def test_a_value_that_is_no_finite_number_is_a_sentence(value: str, tmp_path: Path) -> None:
    path = tmp_path / "other.py"
    path.write_text(f"def score(text, sample):\n    return {value}\n")
    with pytest.raises(PluginError, match=f"returned .* for sample {SAMPLE.id}"):
        plugin_reward(f"{path}:score")(["abc"], [SAMPLE])


@pytest.mark.parametrize("value", ["True", "2", "-0.5", "__import__('numpy').float32(0.5)"])
def test_whatever_is_a_finite_number_counts(value: str, tmp_path: Path) -> None:
    path = tmp_path / "number.py"
    path.write_text(f"def score(text, sample):\n    return {value}\n")
    (found,) = plugin_reward(f"{path}:score")(["abc"], [SAMPLE])
    assert type(found) is float


def test_a_recipe_without_a_plugin_is_written_as_before() -> None:
    """Otherwise a run folder of an earlier version would be refused as one of another recipe."""
    recipe = GrpoRecipe(model="m", data="d")
    assert "function" not in dump_recipe(recipe)
    named = GrpoRecipe.model_validate({"model": "m", "data": "d", "reward": {"function": "mine.py:score"}})
    assert "function: mine.py:score" in dump_recipe(named) and "function_weight: 1.0" in dump_recipe(named)

"""The TRL adapter: one named function per part, weights that give the total, one scoring per completion."""

from __future__ import annotations

import random
from typing import get_args

import pytest

from fakes.completions import mutants, random_sample, right_completion
from mirg.answers.prompts import write_completion
from mirg.errors import ConfigError, DataError
from mirg.families import FAMILIES, MIRG_TINY, QWEN25_VL, PixelLimits
from mirg.rewards import Arm, RewardConfig, score
from mirg.rewards.trl import completion_text, reward_functions, total_reward

SAMPLE = random_sample(random.Random(2), MIRG_TINY, n_targets=2)
RECORD = SAMPLE.model_dump_json()
RIGHT = right_completion(SAMPLE, MIRG_TINY)


@pytest.mark.parametrize("arm", get_args(Arm))
def test_the_weighted_parts_are_the_total(arm: Arm) -> None:
    config = RewardConfig(arm=arm, partial_format=True)
    for text, sample, family in mutants(7, 60):
        made = reward_functions(config, family)
        record = [sample.model_dump_json()]
        parts = [f(completions=[text], record=record, prompts=[""], trainer_state=None)[0] for f in made.functions]
        expected = score(text, sample, family, config)
        assert tuple(parts) == expected.values
        assert sum(w * p for w, p in zip(made.weights, parts, strict=True)) == pytest.approx(expected.total, abs=1e-12)
        assert total_reward(config, family)(completions=[text], record=record) == [expected.total]


@pytest.mark.parametrize("arm", get_args(Arm))
def test_names_are_what_trl_logs(arm: Arm) -> None:
    """The image's too, even if its weight is 0: it is logged."""
    made = reward_functions(RewardConfig(arm=arm), MIRG_TINY)
    assert [f.__name__ for f in made.functions] == ["format", "image", "object"]
    assert len(made.weights) == 3 and sum(made.weights) == pytest.approx(1.0)
    assert (made.weights[1] == 0.0) is (arm in {"object_only", "object_in_image"})


def test_each_completion_is_scored_once() -> None:
    made = reward_functions(RewardConfig(), MIRG_TINY)
    for function in made.functions:
        assert len(function(completions=[RIGHT, "x", RIGHT], record=[RECORD] * 3)) == 3
    assert made.scorer.scored == 2
    assert made.scorer("x", RECORD).reasons["image"].startswith("no answer block")
    assert made.scorer.scored == 2


def test_samples_of_one_id_are_scored_by_their_own_truth() -> None:
    """As after another round of annotation: the cache goes by the sample, not by its name."""
    moved = SAMPLE.model_copy(update={"targets": SAMPLE.targets[:1]})
    scorer = reward_functions(RewardConfig(), MIRG_TINY).scorer
    assert scorer(RIGHT, SAMPLE).total == 1.0 > scorer(RIGHT, moved).total


def test_pixels_are_those_of_the_limits() -> None:
    sample, limits = random_sample(random.Random(5), QWEN25_VL, n_targets=1), PixelLimits(28 * 28, 90_000)
    text = write_completion("Found: red ring.", sample.targets, sample.sizes, QWEN25_VL, limits=limits)
    for given, right in ((limits, True), (None, False)):
        functions = reward_functions(RewardConfig(), QWEN25_VL, given).functions
        total = total_reward(RewardConfig(), QWEN25_VL, given)
        for reward in (functions[2], total):
            (value,) = reward(completions=[text], record=[sample.model_dump_json()])
            assert (value > 0.9) is right, reward.__name__


def test_every_function_is_given_whole_turns() -> None:
    """The chat template writes the beginning of an answer; functions of plug-ins are given it, too."""
    given: list[object] = []

    def mine(completions: list[object], **_: object) -> list[float]:
        given.extend(completions)
        return [0.5] * len(completions)

    made = reward_functions(RewardConfig(), MIRG_TINY, plugins=[(mine, 2.0)], opened="<think>")
    rest = [RIGHT.removeprefix("<think>"), "x"]
    values = [function(completions=rest, record=[RECORD] * 2) for function in made.functions]
    assert values == [[1.0, 0.0]] * 3 + [[0.5, 0.5]]
    assert given == [RIGHT, "<think>x"] and made.weights[3] == 2.0


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("abc", "abc"),
        ([{"role": "assistant", "content": "abc"}], "abc"),
        ([{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "bc"}]}], "abc"),
        ([{"role": "assistant", "content": None}], ""),
        ([], ""),
        (None, ""),
    ],
)
def test_completions_come_as_text_or_messages(completion: object, text: str) -> None:
    assert completion_text(completion) == text


def test_conversational_completions_score_the_same() -> None:
    (_, image, _), _, _ = reward_functions(RewardConfig(), MIRG_TINY)
    assert image(completions=[[{"role": "assistant", "content": RIGHT}]], record=[RECORD]) == [1.0]


def test_a_missing_or_broken_record_is_an_error() -> None:
    function = reward_functions(RewardConfig(), FAMILIES["qwen3-vl"]).functions[0]
    with pytest.raises(ConfigError, match="neither a column 'sample' nor a column 'record'"):
        function(completions=["a"], question=["b"])
    with pytest.raises(DataError, match="not a sample"):
        function(completions=["a"], record=["{}"])

"""RL leaves out the prompts that teach it nothing, by the pass rates and rewards that were measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.training import rows
from mirg.config import load_recipe
from mirg.errors import ConfigError, DataError
from mirg.models.load import LoadedModel
from mirg.samples import Carrier, DatasetFolder, DatasetWriter
from mirg.training.data import grpo_rows, row_lengths
from mirg.training.grpo import train_grpo
from mirg.training.recipe import GrpoRecipe, MeasuredConfig, PassRateConfig, PromptConfig, RewardStdConfig

RATES = [0.0, 0.125, 0.5, 0.875, 1.0, None, True, "0.5", 0, 1, 0.25, 0.75]  # of the 12 samples, in their order
PARTIALLY_SOLVED = PassRateConfig(above=0.0, below=1.0)
NONE = PromptConfig(instructions="none")


@pytest.fixture(scope="module")
def rated(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the tests with :data:`RATES`."""
    source, out = DatasetFolder.open(data), tmp_path_factory.mktemp("rated") / "data"
    with DatasetWriter(out, name="rated") as writer:
        carrier = Carrier(source, writer)
        for k, (sample, rate) in enumerate(zip(source, RATES, strict=True)):
            meta = sample.meta if rate is None else {**sample.meta, "pass_rate": rate, "reward_std": k / 20}
            writer.add(carrier.carry(sample.model_copy(update={"meta": meta})))
    return out


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        (PassRateConfig(), list(range(12))),
        (PARTIALLY_SOLVED, [1, 2, 3, 10, 11]),
        (PassRateConfig(above=0.0), [1, 2, 3, 4, 9, 10, 11]),
        (PassRateConfig(below=1.0), [0, 1, 2, 3, 8, 10, 11]),
        (PassRateConfig(above=0.25, below=0.875), [2, 11]),  # both bounds are exclusive
        (RewardStdConfig(above=0.1), [3, 4, 6, 7, 8, 9, 10, 11]),
    ],
)
def test_what_is_left_out(rated: Path, loaded: LoadedModel, wanted: MeasuredConfig, kept: list[int]) -> None:
    names = [sample.id for sample in DatasetFolder.open(rated)]
    prepared = grpo_rows(str(rated), loaded, NONE, measured=[wanted])
    assert prepared.rows["id"] == [names[k] for k in kept]
    assert [r.id for r in prepared.rejections] == [name for k, name in enumerate(names) if k not in kept]
    assert all(r.reason and r.hint for r in prepared.rejections), "counted, each with its reason"


def test_the_reason_says_the_rate(rated: Path, loaded: LoadedModel) -> None:
    rejections = grpo_rows(str(rated), loaded, NONE, measured=[PARTIALLY_SOLVED]).rejections
    assert rejections[0].reason == "its pass rate 0 is not above 0"
    assert rejections[1].reason == "its pass rate 1 is not below 1"
    assert rejections[2].reason == "the sample has no pass rate"


def test_only_what_was_not_measured_is_a_warning(
    rated: Path, loaded: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """Samples outside the bounds were left out on request: they are counted."""
    with caplog.at_level("INFO", "mirg"):
        grpo_rows(str(rated), loaded, NONE, measured=[PARTIALLY_SOLVED])
    said = [(record.levelname, record.getMessage().partition(": ")[2]) for record in caplog.records]
    counted = ("INFO", "5 samples, 3 rejected, 4 left out by what was measured")
    assert said == [counted, *[("WARNING", "the sample has no pass rate")] * 3]


def test_bounds_that_leave_nothing_are_named(rated: Path, loaded: LoadedModel, tmp_path: Path) -> None:
    """A model that is never right: no fault of the samples, so `data check` would not show it."""
    source, out = DatasetFolder.open(rated), tmp_path / "never"
    with DatasetWriter(out, name="never") as writer:
        carrier = Carrier(source, writer)
        for sample in source:
            writer.add(carrier.carry(sample.model_copy(update={"meta": {**sample.meta, "pass_rate": 0}})))
    with pytest.raises(DataError, match="leaves out all 12 prompts, .* its pass rate 0 is not above 0") as caught:
        grpo_rows(str(out), loaded, NONE, measured=[PARTIALLY_SOLVED])
    assert "pass_rate" in str(caught.value.hint)


def test_unrated_samples_are_sent_to_the_command_that_rates_them(data: Path, loaded: LoadedModel) -> None:
    """`data check` finds nothing wrong with them."""
    with pytest.raises(DataError, match="no usable sample: the sample has no pass rate") as caught:
        grpo_rows(str(data), loaded, NONE, measured=[PARTIALLY_SOLVED])
    assert "mirg data difficulty" in caught.value.hint and "check" not in caught.value.hint


def test_every_order_of_a_sample_has_its_rate(rated: Path, loaded: LoadedModel) -> None:
    one, two = (len(grpo_rows(str(rated), loaded, NONE, orders=n, measured=[PARTIALLY_SOLVED])) for n in (1, 2))
    assert one == 5 < two


def test_a_run_trains_on_the_rest_alone(
    rated: Path, loaded: LoadedModel, grpo_recipe: Callable[..., Any], tmp_path: Path
) -> None:
    recipe = grpo_recipe(data=str(rated), steps=1, pass_rate={"above": 0, "below": 1})
    train_grpo(recipe, tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "model" / "mirg.json").read_text())
    assert (facts["samples"], facts["rejected_samples"]) == (5, 7)
    assert len(rows(tmp_path / "run" / "rejected.jsonl")) == 7
    assert len(row_lengths(recipe, loaded)) == 5, "as many as are estimated"


@pytest.mark.parametrize(
    "settings",
    [
        ["pass_rate.above=1"],
        ["pass_rate.below=0"],
        ["pass_rate.above=0.5", "pass_rate.below=0.5"],
        ["pass_rate.abov=0"],
    ],
)
def test_bounds_between_which_nothing_lies_are_refused(settings: list[str]) -> None:
    with pytest.raises(ConfigError, match="pass_rate"):
        load_recipe(GrpoRecipe, "tiny/grpo", settings)


def test_a_prompt_that_fails_one_of_two_bounds_is_left_out(rated: Path, loaded: LoadedModel) -> None:
    prepared = grpo_rows(str(rated), loaded, NONE, measured=[PARTIALLY_SOLVED, RewardStdConfig(above=0.1)])
    assert len(prepared.rows) == 3, "3, 10 and 11"
    assert "its reward std 0.1 is not above 0.1" in [row.reason for row in prepared.rejections]

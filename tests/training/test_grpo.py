"""GRPO end to end on tiny models that know the form of an answer, so that rewards differ within a group."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fakes.tiny import read_data
from fakes.training import answer, favour, rows, weights
from mirg.engines.load import load_engine
from mirg.errors import ConfigError, DataError
from mirg.families import family
from mirg.models.load import forbidden_tokens, load_model
from mirg.models.vision import FeatureCache
from mirg.rewards import RewardConfig, score
from mirg.training.data import EpochSampler, exchange
from mirg.training.grpo import PlainGRPOTrainer, train_grpo
from mirg.training.launch import grpo_arguments, vision_cache
from mirg.training.run import RunFolder
from mirg.training.trainer import ResumableTrainer

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, grpo_recipe: Make) -> Callable[[str], Path]:
    """``run(kind)``: a finished run of two steps."""
    made: dict[str, Path] = {}

    def once(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("grpo") / kind
            train_grpo(grpo_recipe(kind), made[kind])
        return made[kind]

    return once


@pytest.mark.parametrize("kind", ["qwen3_vl", "qwen2_5_vl", pytest.param("qwen2_vl", marks=pytest.mark.slow)])
def test_grpo_learns_from_rewards_and_its_model_answers(
    kind: str, run: Callable[[str], Path], skilled: Callable[[str], Path], data: Path
) -> None:
    out = run(kind)
    metrics = rows(out / "metrics.jsonl")
    assert [row["step"] for row in metrics] == [1, 2]
    assert {"loss", "reward", "rewards/format/mean", "rewards/image/mean", "rewards/object/mean"} <= metrics[0].keys()
    assert {"frac_reward_zero_std", "completions/mean_length", "entropy"} <= metrics[0].keys()
    assert max(row["reward_std"] for row in metrics) > 0, "no reward differs: the run would prove nothing"
    assert max(row["grad_norm"] for row in metrics) > 0
    engine = load_engine(str(out))
    assert engine.instructions == "none"  # type: ignore[attr-defined]
    assert answer(engine, *read_data(data)[0]).tokens > 0
    start, end = weights(skilled(kind)), weights(out)
    assert any(not torch.equal(start[name], end[name]) for name in start)


def test_rollouts_hold_parts_and_reasons(run: Callable[[str], Path], data: Path) -> None:
    samples = {sample.id: sample for sample, _ in read_data(data)}
    rollouts = rows(run("qwen3_vl") / "rollouts.jsonl")
    assert [row["step"] for row in rollouts] == [1] * 8 + [2] * 8
    config = RewardConfig()
    for row in rollouts:
        again = score(row["completion"], samples[row["id"]], family("mirg-tiny"), config)
        assert row["total"] == pytest.approx(again.total)
        for part in ("format", "image", "object"):
            assert 0 <= row[part] <= 1
            assert row[part] == 1 or row["reasons"][part]


# Every setting that reaches another branch of TRL's trainer, each with what shows that it was taken.
SETTINGS = {
    "object only": ({"reward": {"arm": "object_only"}}, "rewards/image/mean"),
    "normalised parts": ({"aggregation": "normalize_then_sum"}, "reward_std"),
    "reference": ({"beta": 0.1}, "kl"),
    "reuse": ({"iterations": 2, "micro_batch": 4}, "clip_ratio/high_mean"),
    "sequence": ({"loss": "luspo", "scale_rewards": "none"}, "loss"),
    "low rank": ({"lora": {"rank": 4}, "beta": 0.1, "dtype": "bfloat16"}, "kl"),
}


# (recipe keys, MiB or what is refused, why)
CACHES: list[tuple[dict[str, Any], int | str, str]] = [
    ({}, 0, "the tower is trained"),
    ({"freeze_vision": True}, 4096, "on without asking"),
    ({"freeze_vision": True, "packed": False}, 0, "TRL's own pass knows nothing of it"),
    ({"freeze_vision": True, "vision_cache": 7}, 7, "as asked"),
    ({"freeze_vision": True, "vision_cache": 0}, 0, "switched off"),
    ({"vision_cache": 0}, 0, "nothing is requested"),
    ({"vision_cache": 7}, "vision_cache = 7 keeps features of a vision tower that is trained", "would be wrong"),
    ({"freeze_vision": True, "packed": False, "vision_cache": 7}, "vision_cache needs packed groups", "no effect"),
]


@pytest.mark.parametrize(("keys", "expected", "why"), CACHES)
def test_when_features_are_kept(
    keys: dict[str, Any], expected: int | str, why: str, tmp_path: Path, grpo_recipe: Make
) -> None:
    recipe = grpo_recipe(**keys)
    if isinstance(expected, int):
        assert vision_cache(recipe) == expected * 2**20, why
        return
    with pytest.raises(ConfigError, match=expected):
        train_grpo(recipe, tmp_path / "run")


def test_a_run_says_how_often_features_were_found(tmp_path: Path, grpo_recipe: Make) -> None:
    """Updates find what their rollouts computed, and later epochs find everything."""
    recipe = grpo_recipe(freeze_vision=True, steps=9, max_new_tokens=8, lora={"rank": 4})
    train_grpo(recipe, tmp_path / "run")
    first, second, *_, last = [row["vision/cache_hits"] for row in rows(tmp_path / "run" / "metrics.jsonl")]
    assert first == 0 and 0 < second < 1 and last == 1


def test_a_finished_run_holds_no_memory(tmp_path: Path, grpo_recipe: Make) -> None:
    """Without waiting for Python's collector, which counts objects and not their bytes."""
    gc.collect()
    gc.disable()
    try:
        train_grpo(grpo_recipe(freeze_vision=True, steps=1, max_new_tokens=8), tmp_path / "run")
        held = [kind for kind in map(type, gc.get_objects()) if issubclass(kind, (FeatureCache, ResumableTrainer))]
    finally:
        gc.enable()
    assert held == []


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name: str, tmp_path: Path, grpo_recipe: Make) -> None:
    keys, shown = SETTINGS[name]
    assert train_grpo(grpo_recipe(**keys), tmp_path / "run").step == 2
    assert all(row[shown] is not None for row in rows(tmp_path / "run" / "metrics.jsonl"))
    drawn = {row["step"] for row in rows(tmp_path / "run" / "rollouts.jsonl")}
    assert len(drawn) == 2 // keys.get("iterations", 1), "completions are drawn once for all of their passes"


def test_the_arm_decides_the_weights(grpo_recipe: Make) -> None:
    from mirg.rewards.trl import reward_functions

    for arm, image in (("dual", 0.4), ("gated", 0.4), ("object_only", 0.0)):
        recipe = grpo_recipe(reward={"arm": arm})
        assert reward_functions(recipe.reward, family("mirg-tiny")).weights[1] == pytest.approx(image)


def test_the_reference_is_the_start_also_after_a_lora_run(
    tmp_path: Path, sft_recipe: Make, grpo_recipe: Make, data: Path
) -> None:
    """TRL would load it from the base model: the divergence of the first step, 0 at the start, would not be 0."""
    from mirg.training.sft import train_sft

    adapted = tmp_path / "lora"
    train_sft(sft_recipe(lora={"rank": 4}, steps=2, batch_size=4), adapted)
    train_grpo(grpo_recipe(model=str(adapted), beta=0.5, steps=1), tmp_path / "run")
    assert rows(tmp_path / "run" / "metrics.jsonl")[0]["kl"] == pytest.approx(0, abs=1e-7)


def test_numbers_that_do_not_divide_are_refused(tmp_path: Path, grpo_recipe: Make, loaded: Any) -> None:
    run = RunFolder(tmp_path, "grpo")
    with pytest.raises(ConfigError, match="micro_batch = 3 in 1 processes does not divide 8 completions"):
        grpo_arguments(grpo_recipe(micro_batch=3), run, loaded, 2, [1, 1, 1])
    with pytest.raises(ConfigError, match="save_every = 3 is no multiple of iterations = 2"):
        grpo_arguments(grpo_recipe(save_every=3, iterations=2), run, loaded, 2, [1, 1, 1])


@pytest.mark.parametrize("token", ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|im_start|>"])
def test_no_vision_token_is_sampled_in_a_rollout(
    token: str, tmp_path: Path, grpo_recipe: Make, loaded: Any, data: Path
) -> None:
    """Promise 10: an image token in a completion ends a run hours later, when features are counted."""
    from mirg.rewards.trl import reward_functions
    from mirg.training.data import grpo_rows

    recipe = grpo_recipe(max_new_tokens=8)
    rewards = reward_functions(recipe.reward, loaded.family, loaded.limits)
    favourite = loaded.tokenizer.convert_tokens_to_ids(token)
    model = copy.deepcopy(loaded.model)
    favour(model, favourite)
    trainer: Any = PlainGRPOTrainer(
        model=model,
        args=grpo_arguments(recipe, RunFolder(tmp_path, "grpo"), loaded, 1, rewards.weights),
        reward_funcs=rewards.functions,
        train_dataset=grpo_rows(str(data), loaded, recipe.prompt).rows,
        processing_class=loaded.processor,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    made = trainer._generate_and_score_completions(batch)
    banned = set(forbidden_tokens(loaded.tokenizer, loaded.family))
    assert favourite in banned
    said = set(made["completion_ids"][made["completion_mask"].bool()].tolist())
    assert said and not said & banned


@pytest.mark.parametrize(
    ("packed", "calls"),
    [(True, {1: "each of the 2 prompts by itself", 2: ""}), (False, {1: "to generate", 2: "for the loss"})],
    ids=["one encoding a group", "TRL's own way"],
)
def test_images_of_a_group_are_prepared_once(
    packed: bool, calls: dict[int, str], tmp_path: Path, grpo_recipe: Make, skilled: Callable[[str], Path]
) -> None:
    """The G copies of a prompt share its images; TRL's own way prepares the images of all prompts twice."""
    loaded = load_model(str(skilled("qwen3_vl")))
    base = type(loaded.processor.image_processor).__mro__[1]  # type: ignore[attr-defined]
    counts: list[int] = []
    original = base._preprocess

    def counting(self: Any, images: list[Any], **keywords: Any) -> Any:
        counts.append(len(images))
        return original(self, images, **keywords)

    base._preprocess = counting
    try:
        train_grpo(grpo_recipe(steps=1, packed=packed), tmp_path / "run")
    finally:
        base._preprocess = original
    assert len(counts) == len(calls)
    prompts_of_a_call = 1 if packed else 2
    assert all(2 * prompts_of_a_call <= count <= 3 * prompts_of_a_call for count in counts), f"not 8 prompts: {counts}"


def test_epochs_are_orders_of_their_own_and_repeatable() -> None:
    from trl.trainer.utils import RepeatSampler

    def order(epochs: list[int]) -> list[list[int]]:
        now = {"epoch": 0}
        sampler = RepeatSampler(range(6), mini_repeat_count=2, batch_size=2, seed=3)
        seeded = EpochSampler(sampler, 3, lambda: now["epoch"])
        out = []
        for epoch in epochs:
            now["epoch"] = epoch
            out.append(list(seeded))
        return out

    whole = order([0, 1, 2])
    assert whole[0] != whole[1] != whole[2]
    assert order([2, 1]) == [whole[2], whole[1]], "an epoch does not depend on earlier ones"
    assert all(sorted(set(epoch)) == list(range(6)) and len(epoch) == 12 for epoch in whole)


@given(st.permutations(range(9)), st.lists(st.integers(0, 8), unique=True, max_size=9))
def test_rows_change_places_in_pairs(order: list[int], first: list[int]) -> None:
    swap = exchange(order, first)
    changed = [swap.get(row, row) for row in order]
    assert sorted(changed) == sorted(order) and set(changed[: len(first)]) == set(first)
    assert all(swap[swap[row]] == row for row in swap), "a row that leaves the first step takes the other's place"
    untouched = {row for row in order if row not in swap}
    assert all(changed[k] == row for k, row in enumerate(order) if row in untouched)


@given(
    st.lists(st.integers(1, 30), min_size=4, max_size=20),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_the_first_step_takes_the_longest(tokens: list[int], prompts: int, group: int, passes: int, seed: int) -> None:
    from trl.trainer.utils import RepeatSampler

    from mirg.training.data import Length, longest_rows

    first = longest_rows([Length(str(k), n, ()) for k, n in enumerate(tokens)], prompts)
    assert sorted((tokens[row] for row in first), reverse=True) == sorted(tokens, reverse=True)[:prompts]

    def order(epoch: int, first: list[int]) -> list[int]:
        base = RepeatSampler(
            range(len(tokens)), mini_repeat_count=group, batch_size=prompts, repeat_count=passes, seed=seed
        )
        return list(EpochSampler(base, seed, lambda: epoch, first))

    begin = order(0, first)
    step = prompts * group * passes
    assert {row: begin[:step].count(row) for row in first} == dict.fromkeys(first, group * passes)
    assert len(begin) == len(order(0, [])) == len(tokens) // prompts * step
    assert all(begin.count(row) == group * passes for row in set(begin)), "every prompt once an epoch"
    assert order(1, first) == order(1, []) and order(0, first) == begin


def test_the_run_begins_with_the_longest(tmp_path: Path, grpo_recipe: Make, data: Path, loaded: Any, caplog) -> None:
    from mirg.training.data import grpo_rows, longest_rows

    recipe = grpo_recipe(steps=1, max_new_tokens=8)
    lengths = grpo_rows(str(data), loaded, recipe.prompt).lengths
    with caplog.at_level("INFO", logger="mirg"):
        train_grpo(recipe, tmp_path / "run")
    most = max(lengths, key=lambda length: length.tokens)
    assert f"the longest prompts come first: up to {most.tokens} tokens, sample {most.id}" in caplog.text
    seen = {row["id"] for row in rows(tmp_path / "run" / "rollouts.jsonl")}
    assert seen == {lengths[row].id for row in longest_rows(lengths, recipe.prompts_per_step)}


def test_fewer_prompts_than_a_step_takes_are_refused(tmp_path: Path, grpo_recipe: Make, data: Path) -> None:
    """TRL's sampler would give none, and the run would end without a step."""
    with pytest.raises(DataError, match="12 prompts are fewer than the 14 of one step"):
        train_grpo(grpo_recipe(prompts_per_step=7, admission={"policy": "resample"}), tmp_path)

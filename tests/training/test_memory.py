"""The estimate of ``--dry-run`` against what torch keeps and allocates: the same sums, from two sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from fakes.families import FAMILY_MODELS
from fakes.memory import kept_bytes, peak_bytes
from fakes.tiny import tiny_pair, write_tiny
from fakes.trees import noise, turn
from mirg.cli.main import app
from mirg.config import dump_recipe, load_recipe
from mirg.engines.look_turns import crop_sizes
from mirg.families import PixelLimits
from mirg.models.images import with_own_cells
from mirg.models.load import LoadedModel, load_model, wrap
from mirg.models.packing import enable_packed_forward, pack, score_packed
from mirg.models.prompts import Branch, Prompt, encode
from mirg.models.sampling import Sampling, complete
from mirg.models.turns import complete_in_turns
from mirg.training.data import Length, grpo_rows, image_tokens, row_lengths, sft_rows
from mirg.training.grpo import train_grpo
from mirg.training.launch import prepare_model
from mirg.training.looks import look_room
from mirg.training.memory import Estimate, estimate, estimate_of
from mirg.training.recipe import GrpoRecipe, SftRecipe
from mirg.training.sft import train_sft

Make = Callable[..., Any]
CLOSE = 0.1
SIZES = {"width": 96, "heads": 3, "kv_heads": 3, "mlp": 160, "layers": 4, "vision_width": 64, "vision_mlp": 128}
WIDE = {"width": 192, "heads": 6, "kv_heads": 6, "mlp": 600, "layers": 6}
LORA = {"lora": {"rank": 4}}
FROZEN = {"freeze_vision": True}
AGAIN = {"gradient_checkpointing": True}
BF16 = {"dtype": "bfloat16"}
LONG = {"group_size": 8, "max_new_tokens": 64}


def prepared(kind: str, side: int, prompts: int, bf16: bool, **sizes: Any) -> tuple[LoadedModel, list[Prompt]]:
    """A random model, and prompts of four images of ``side`` pixels."""
    model, processor = tiny_pair(kind, **(SIZES | sizes))
    loaded = wrap(model, processor, path="", limits=PixelLimits(side * side, side * side))
    loaded.model.to(torch.bfloat16 if bf16 else torch.float32)  # type: ignore[arg-type]
    content: list[dict[str, Any]] = [{"type": "image", "text": None}] * 4 + [{"type": "text", "text": "red ring"}]
    images = [noise((side, side), k / 4) for k in range(4)]
    made = [encode(loaded.processor, [{"role": "user", "content": content}], images, "x") for _ in range(prompts)]
    return loaded, made


def estimated(recipe: GrpoRecipe | SftRecipe, loaded: LoadedModel, prompts: Sequence[Prompt]) -> Estimate:
    """The estimate for ``prompts``; the model gets the recipe's adapters."""
    image: Any = loaded.processor
    visual = [list(prompt.ids).count(image.image_token_id) for prompt in prompts]
    lengths = [Length("x", len(p.ids) - n, (n // 4,) * 4) for p, n in zip(prompts, visual, strict=True)]
    return estimate_of(recipe, loaded, lengths, "cpu")


def recipe_of(prompts: int, **keys: Any) -> GrpoRecipe:
    small = {"group_size": 4, "max_new_tokens": 16, "model": "m", "data": "d", "prompts_per_step": prompts}
    return GrpoRecipe.model_validate(small | keys)


def check_update(found: Estimate, recipe: GrpoRecipe | SftRecipe, model: Any, forward: Any, inputs: Any) -> None:
    """What the forward pass keeps and what the update allocates are what was estimated."""
    moments = [parts for name, parts in found.moments.items() if name.startswith("update")]
    parts = moments[0]
    copies = 0 if recipe.gradient_checkpointing else parts.get("copies of weights", 0)
    kept = kept_bytes(forward, [*model.parameters(), *model.buffers(), *inputs.values()])
    assert parts["activations"] + copies == pytest.approx(kept, rel=CLOSE)

    forward().backward()
    model.zero_grad()
    there = ("weights", "optimizer", "pixels")  # before the update begins
    peak = max(sum(size for name, size in parts.items() if name not in there) for parts in moments)
    assert peak == pytest.approx(peak_bytes(lambda: forward().backward()), rel=CLOSE)


# (family, recipe keys, sizes of the model, side of the images, prompts, why this row)
CASES: list[tuple[str, dict[str, Any], dict[str, int], int, int, str]] = [
    ("qwen3_vl", {}, {}, 224, 1, "a trunk under 256 tokens, explicit scores"),
    ("qwen2_5_vl", {}, {}, 224, 1, "the fused kernel in the trunk, windows in the tower"),
    ("qwen2_vl", {}, {}, 224, 1, "the quick activation"),
    ("qwen3_vl", LONG, WIDE, 224, 1, "completions weigh more, wide and deep"),
    ("qwen2_5_vl", LONG, {"kv_heads": 1}, 112, 1, "heads that share keys"),
    ("qwen2_vl", {}, {}, 224, 2, "two groups in one row"),
    ("qwen3_vl", AGAIN, {}, 224, 1, "inputs of the layers, and one of them again"),
    ("qwen3_vl", FROZEN | AGAIN | LONG, {}, 224, 1, "the tower is not made again"),
    ("qwen3_vl", LORA, {}, 224, 1, "norms keep less, adapters little"),
    ("qwen2_5_vl", LORA | FROZEN, {}, 224, 1, "nothing of the tower"),
    ("qwen2_vl", LORA | FROZEN | AGAIN, {}, 224, 1, "transformers lets gradients through this frozen tower"),
    ("qwen3_vl", {"lora": {"rank": 4, "dropout": 0.1}}, {}, 224, 1, "masks and dropped inputs"),
    ("qwen3_vl", BF16, {}, 224, 1, "autocast copies weights and inputs"),
    ("qwen2_5_vl", BF16 | LORA, {}, 224, 1, "a base in half precision"),
]


def each_day(cases: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The rows of a table, the last of which says why; every second one only in the slow tests."""
    return [pytest.param(*row[:-1], id=row[-1], marks=pytest.mark.slow if k % 2 else ()) for k, row in enumerate(cases)]


@pytest.mark.parametrize(("kind", "keys", "sizes", "side", "prompts"), each_day(CASES))
def test_an_update(kind: str, keys: dict[str, Any], sizes: dict[str, int], side: int, prompts: int) -> None:
    recipe = recipe_of(prompts, **keys)
    bf16 = recipe.dtype == "bfloat16"
    loaded, shown = prepared(kind, side, prompts, bf16 and recipe.lora.rank > 0, **sizes)
    found = estimated(recipe, loaded, shown)
    model: Any = loaded.model
    model.train()
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    enable_packed_forward(model)
    packed = pack(model, shown, [[[21] * recipe.max_new_tokens] * recipe.group_size] * prompts)

    def forward() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return score_packed(model, packed)[0].sum()

    check_update(found, recipe, model, forward, packed.inputs)


LOOK = {"look": {"max_looks": 2, "crop_pixels": 112 * 112}}


class Longest:
    """An environment whose replies are as long as they were counted, to each of the first turns."""

    def __init__(self, loaded: LoadedModel, recipe: GrpoRecipe) -> None:
        self.budget, self.room = recipe.look, look_room(recipe.look, loaded)
        family, token = with_own_cells(loaded.family, loaded.processor), loaded.model.config.image_token_id
        size = max(crop_sizes(family, loaded.limits, recipe.look), key=lambda one: image_tokens(one, loaded))
        self.crops = [turn(loaded, noise(size, k)) for k in range(recipe.look.max_looks)]
        assert [list(said.ids).count(token) for said in self.crops] == list(self.room.crops)

    def pauses(self, ids: Sequence[int]) -> bool:
        return True

    def reply(self, prompt: int, branch: Branch) -> Prompt | None:
        made = branch.replies
        if made >= self.budget.turns - 1:
            return None
        shown = self.crops[made] if made < len(self.crops) else Prompt([])
        visual = self.room.crops[made] if made < len(self.crops) else 0
        words = self.room.text // (self.budget.turns - 1) - (len(shown.ids) - visual)
        return Prompt([*shown.ids, *[22] * words], shown.inputs)


def test_an_update_with_looks() -> None:
    recipe = recipe_of(1, **LOOK)
    loaded, shown = prepared("qwen3_vl", 112, 1, False)
    model: Any = loaded.model
    branch, environment = Branch([]).extended([21] * (recipe.max_new_tokens - 3), own=True), Longest(loaded, recipe)
    while said := environment.reply(0, branch):
        branch = branch.extended(said.ids, own=False, inputs=said.inputs).extended([21], own=True)
    found = estimated(recipe, loaded, shown)
    enable_packed_forward(model.train())
    packed = pack(model, shown, [[branch] * recipe.group_size])
    check_update(found, recipe, model, lambda: score_packed(model, packed)[0].sum(), packed.inputs)


@pytest.mark.slow
def test_rollouts_with_looks() -> None:
    """Of completions that are as long as they can be."""
    recipe = recipe_of(2, **LOOK, max_new_tokens=64)
    loaded, shown = prepared("qwen3_vl", 112, 2, False)
    enable_packed_forward(loaded.model)
    parts = estimated(recipe, loaded, shown).moments["rollouts"]
    given = sum(prompt.pixels.nbytes for prompt in shown if prompt.pixels is not None)
    expected = parts["cache"] + parts["pixels"] + parts["temporary"] - given
    environment = Longest(loaded, recipe)
    sampling = Sampling(recipe.max_new_tokens, stops=[])

    def work() -> None:
        complete_in_turns(loaded.model, shown, [recipe.group_size] * 2, sampling, environment)

    assert expected == pytest.approx(peak_bytes(work), rel=2 * CLOSE)


@pytest.mark.parametrize("name", ["internvl3", "smolvlm2"])
def test_an_update_of_a_model_with_tiles(name: str, tmp_path: Path) -> None:
    """Every layer of the tower attends within a tile."""
    loaded = load_model(str(FAMILY_MODELS[name](tmp_path)))
    content: list[dict[str, Any]] = [{"type": "image", "text": None}] * 4 + [{"type": "text", "text": "red ring"}]
    images = [noise((224, 112), k / 4) for k in range(4)]
    shown = [encode(loaded.processor, [{"role": "user", "content": content}], images, "x")]
    recipe = recipe_of(1)
    found = estimated(recipe, loaded, shown)
    enable_packed_forward(loaded.model.train())
    packed = pack(loaded.model, shown, [[[21] * recipe.max_new_tokens] * recipe.group_size])
    check_update(found, recipe, loaded.model, lambda: score_packed(loaded.model, packed)[0].sum(), packed.inputs)


# (family, recipe keys, sizes of the model, implementation of attention, samples of the batch, why this row)
PADDED: list[tuple[str, dict[str, Any], dict[str, int], str, int, str]] = [
    ("qwen3_vl", {}, {}, "eager", 2, "narrow models keep the weights of the softmax"),
    ("qwen2_5_vl", {}, {"kv_heads": 1}, "eager", 1, "one sample, heads that share keys"),
    ("qwen2_5_vl", LORA | BF16 | AGAIN, {}, "sdpa", 2, "the 7B recipe with adapters"),
    ("qwen2_5_vl", LORA, WIDE, "sdpa", 3, "the mask as numbers"),
    ("qwen2_vl", FROZEN, WIDE, "sdpa", 2, "a frozen tower"),
    ("qwen3_vl", BF16, {}, "sdpa", 1, "autocast copies weights and inputs"),
    ("qwen3_vl", AGAIN, WIDE, "sdpa", 2, "inputs of the layers, and one of them again"),
]


@pytest.mark.parametrize(("kind", "keys", "sizes", "attention", "samples"), each_day(PADDED))
def test_a_batch_of_sft(
    kind: str,
    keys: dict[str, Any],
    sizes: dict[str, int],
    attention: str,
    samples: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of samples of two lengths, in the forward pass that TRL's trainer makes."""
    from trl.trainer.utils import add_fused_lm_head

    recipe = SftRecipe.model_validate({"model": "m", "data": "d", "batch_size": samples} | keys)
    bf16 = recipe.dtype == "bfloat16"
    loaded, shown = prepared(kind, 224, samples, bf16 and recipe.lora.rank > 0, **sizes)
    model: Any = loaded.model
    model.set_attn_implementation({"text_config": attention})
    monkeypatch.setattr("mirg.training.memory.NARROW", 10**6 if attention == "eager" else 0)
    found = estimated(recipe, loaded, shown)
    model.train()
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    add_fused_lm_head(model)
    inputs = padded_batch(loaded, shown)

    def forward() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return model(**inputs, fused_lm_head=True).loss

    check_update(found, recipe, model, forward, inputs)


def padded_batch(loaded: LoadedModel, prompts: Sequence[Prompt]) -> dict[str, torch.Tensor]:
    """The prompts as one batch; the first has a token less than the others, so that there is a mask."""
    processor: Any = loaded.processor
    ids = torch.tensor([list(prompt.ids) for prompt in prompts])
    mask = torch.ones_like(ids)
    if len(prompts) > 1:
        mask[0, -1] = 0
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": ids.masked_fill(ids == processor.image_token_id, -100),
        "mm_token_type_ids": (ids == processor.image_token_id).int(),
        "pixel_values": torch.cat([prompt.pixels for prompt in prompts if prompt.pixels is not None]),
        "image_grid_thw": torch.cat([prompt.grid for prompt in prompts if prompt.grid is not None]),
    }


# (stage, model, recipe keys, why this row)
RUNS: list[tuple[str, str, dict[str, Any], str]] = [
    ("sft", "qwen2_5_vl", {"accumulation": 2}, "gradients are there while activations are"),
    ("sft", "qwen3_vl", LORA | AGAIN, "the recipes with adapters"),
    ("sft", "qwen3_5", {}, "linear attention is counted like attention"),
    ("grpo", "qwen3_vl", {}, "TRL's own step"),
    ("grpo", "qwen2_5_vl", LORA | AGAIN, "TRL's own step with adapters"),
    ("grpo", "qwen3_5", {}, "a family that cannot be packed"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "kind", "keys"), [run[:3] for run in RUNS], ids=[f"{r[0]}: {r[3]}" for r in RUNS])
def test_the_peak_of_a_real_run(stage: str, kind: str, keys: dict[str, Any], data: Path, tmp_path: Path) -> None:
    """Two optimiser steps or more of the command's function: loading, batches, backward passes, AdamW."""
    if kind == "qwen3_5":
        FAMILY_MODELS["qwen3.5"](tmp_path / "model")
    else:
        write_tiny(tmp_path / "model", kind, **WIDE)
    common = {"model": str(tmp_path / "model"), "data": str(data), "steps": 2, "prompt": {"instructions": "none"}}
    recipe: Any
    if stage == "sft":
        recipe = SftRecipe.model_validate(common | {"batch_size": 4} | keys)
    else:
        common |= {"steps": 6}  # every prompt once: the longest ones may meet AdamW's averages late
        common |= {"packed": False, "prompts_per_step": 2, "group_size": 4, "micro_batch": 4, "max_new_tokens": 8}
        recipe = GrpoRecipe.model_validate(common | keys)
    measured = peak_bytes(lambda: {"sft": train_sft, "grpo": train_grpo}[stage](recipe, tmp_path / "run"))
    assert estimate(recipe).peak == pytest.approx(measured, rel=CLOSE)


@pytest.mark.parametrize(
    ("kind", "sizes", "keys", "why"),
    [
        ("qwen3_vl", {}, {}, "the patches weigh most"),
        ("qwen2_5_vl", {"kv_heads": 1}, {}, "the scores of the tower"),
        pytest.param(
            *("qwen3_vl", WIDE, {"group_size": 16, "max_new_tokens": 65}, "keys and values of the completions"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_rollouts(kind: str, sizes: dict[str, int], keys: dict[str, Any], why: str) -> None:
    recipe = recipe_of(2, **keys)
    loaded, shown = prepared(kind, 224, 2, False, **sizes)
    enable_packed_forward(loaded.model)
    parts = estimated(recipe, loaded, shown).moments["rollouts"]
    given = sum(prompt.pixels.nbytes for prompt in shown if prompt.pixels is not None)
    expected = parts["cache"] + parts["pixels"] + parts["temporary"] - given
    sampling = Sampling(recipe.max_new_tokens, stops=[])

    def work() -> None:
        complete(loaded.model, shown, [recipe.group_size] * 2, sampling)

    assert expected == pytest.approx(peak_bytes(work), rel=CLOSE), why


def test_weights_are_those_that_are_trained(folders: dict[str, Path], data: Path) -> None:
    """Counted without weights, against the model that a run loads."""
    for keys in ({}, FROZEN, LORA, LORA | FROZEN, LORA | BF16, {"beta": 0.1}, LORA | {"beta": 0.1}):
        recipe = recipe_of(1, **keys, model=str(folders["qwen2_5_vl"]), data=str(data))
        found = estimate(recipe)
        model: Any = prepare_model(recipe).model
        if recipe.lora.rank:
            from peft import get_peft_model

            from mirg.training.launch import lora

            model = get_peft_model(model, lora(recipe))
        held = sum(p.numel() * p.element_size() for p in model.parameters())
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        expected = {"weights": held, "optimizer": 8 * trained, "gradients": 4 * trained}
        expected |= {"reference": held} if recipe.beta and not recipe.lora.rank else {}
        assert found.moments["optimizer"] == expected, keys


def test_lengths_without_images_are_those_of_the_run(folders: dict[str, Path], data: Path, sft_recipe: Make) -> None:
    loaded = load_model(str(folders["qwen3_vl"]))
    recipe = recipe_of(1, model=str(folders["qwen3_vl"]), data=str(data), image_orders=2)
    assert row_lengths(recipe, loaded) == grpo_rows(str(data), loaded, recipe.prompt, orders=2).lengths
    sft = sft_recipe()
    assert row_lengths(sft, loaded) == sft_rows(str(data), loaded, sft.prompt, sft.max_tokens).lengths


@pytest.mark.parametrize(
    ("keys", "less", "why"),
    [
        ({"micro_batch": 4}, True, "a group at a time"),
        (AGAIN, True, ""),
        (FROZEN, True, ""),
        ({"max_new_tokens": 8}, True, ""),
        ({"beta": 0.1}, False, "a reference model"),
        ({"processes": 2, "prompts_per_step": 4}, False, "gradients are averaged in buckets"),
        ({"admission": {"policy": "resample"}}, False, "twice the prompts are held"),
        (LOOK, False, "every completion has crops"),
    ],
)
def test_what_a_key_changes(keys: dict[str, Any], less: bool, why: str, folders: dict[str, Path], data: Path) -> None:
    common = {"model": str(folders["qwen3_vl"]), "data": str(data), "micro_batch": 8}
    before, after = (estimate(recipe_of(2, **(common | changed))).peak for changed in ({}, keys))
    assert after < before if less else after > before, why


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_dry_run_stays_a_recipe(
    stage: str, folders: dict[str, Path], data: Path, sft_recipe: Make, tmp_path: Path
) -> None:
    recipe = sft_recipe() if stage == "sft" else recipe_of(2, model=str(folders["qwen3_vl"]), data=str(data))
    given = tmp_path / "given.yaml"
    given.write_text(dump_recipe(recipe))
    result = CliRunner().invoke(app, [stage, str(given), "--dry-run"])
    assert result.exit_code == 0, result.output
    printed = tmp_path / "printed.yaml"
    printed.write_text(result.stdout)
    assert load_recipe(type(recipe), printed) == recipe
    comments = [line for line in result.stdout.splitlines() if line.startswith("#")]
    assert any(line.startswith("# memory of one process on ") for line in comments)
    longest = max(row_lengths(recipe, load_model(recipe.model)), key=lambda length: length.tokens)
    assert any(f"longest of the data: {longest.tokens} tokens" in line for line in comments)


@pytest.mark.parametrize(
    ("missing", "words"),
    [("model", "nor a hub name that is on this machine"), ("data", "is not a folder")],
)
def test_what_cannot_be_read_is_said_in_a_line(missing: str, words: str, folders: dict[str, Path], data: Path) -> None:
    keys = {"model": str(folders["qwen3_vl"]), "data": str(data)} | {missing: "nobody/nothing"}
    settings = [part for key, value in keys.items() for part in ("-s", f"{key}={value}")]
    result = CliRunner().invoke(app, ["grpo", "tiny/grpo", "--dry-run", *settings])
    assert result.exit_code == 0, result.output
    assert yaml.safe_load(result.stdout)[missing] == "nobody/nothing"
    lines = [line for line in result.stdout.splitlines() if line.startswith("#")]
    assert lines[0].startswith("# memory is not known: ") and words in lines[0]
    assert lines[-1].startswith("# launch: mirg grpo tiny/grpo ")

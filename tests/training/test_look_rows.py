"""Rows of SFT out of trajectories with looks: the turns and their crops, and no loss on anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fakes.training import losses_by_sample, sft_batch
from mirg.answers.looks import LookBudget, joined
from mirg.answers.markup import look_markup
from mirg.answers.prompts import write_completion
from mirg.engines.looking import Crop, LookEnvironment
from mirg.errors import DataError
from mirg.families import PixelLimits
from mirg.models.load import LoadedModel, load_model
from mirg.models.prompts import encode
from mirg.samples import DatasetWriter, Sample, Target
from mirg.samples.schema import Trajectory
from mirg.training.data import EARLIER, Prepared, grpo_rows, row_lengths, sft_rows, turn_spans
from mirg.training.recipe import PromptConfig, SftRecipe
from mirg.training.sft import TurnLabels, train_sft

TWO = LookBudget(max_looks=2, crop_pixels=8192)
FULL = PromptConfig()
TARGET = Target(image=2, box=(0.4, 0.4, 0.48, 0.52), label="red ring")
BOX, OTHER = (0.32, 0.28, 0.6, 0.64), (0.0, 0.0, 0.4, 0.6)
CHAIN = (
    f"I look closer. {look_markup(1, OTHER)} Image-1a: no red ring. {look_markup(2, BOX)}Image-2a: red ring. "
    "Found: red ring Image-2. Box: Image-2 red ring <box image=2>0.4,0.4,0.48,0.52</box>."
)


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen2_5_vl"])
def model(request: pytest.FixtureRequest, folders: dict[str, Path]) -> LoadedModel:
    """A model whose processor keeps the shape of images, so that their numbers of tokens differ."""
    return load_model(str(folders[request.param]), limits=PixelLimits(2 * 32 * 32, 20 * 32 * 32))


@pytest.fixture(scope="module")
def looking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample whose trajectory looks twice, one with a look outside the budget of one, and one without looks."""
    rng = np.random.default_rng(7)
    folder = tmp_path_factory.mktemp("looking") / "data"
    with DatasetWriter(folder, name="looking") as out:
        sizes = [(120, 200), (400, 260)]
        images = tuple(
            out.add_image(Image.fromarray(rng.integers(0, 255, (h, w, 3), dtype=np.uint8)), f"i{k}")
            for k, (w, h) in enumerate(sizes)
        )
        for k, chain in enumerate([CHAIN, CHAIN.replace(look_markup(1, OTHER), ""), CHAIN.partition("Found")[2]]):
            told = Trajectory(thinking=chain, answer=(TARGET,), writer="w")
            out.add(
                Sample(id=f"s{k}", task="refer", images=images, question="Where?", targets=(TARGET,), trajectory=told)
            )
    return folder


@pytest.fixture
def by_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a chat template that ends a turn with another token than an answer."""
    monkeypatch.setattr("mirg.training.data.turn_spans", lambda *_: [])


def test_all_turns_of_a_trajectory_are_one_row(model: LoadedModel, looking: Path) -> None:
    """The loss is on what the model says in each turn, and it is that of a row for each turn."""
    prepared = sft_rows(str(looking), model, FULL, 4096, TWO)
    rows = [prepared.rows[k] for k in range(len(prepared))]
    assert [(row["id"], len(row["images"]), len(row[EARLIER])) for row in rows] == [
        ("s0", 4, 2), ("s1", 3, 1), ("s2", 2, 0)
    ]  # fmt: skip
    batch = sft_batch(model, prepared)
    for k, row in enumerate(rows):
        ids, labels = batch["input_ids"][k], batch["labels"][k]
        assert model.tokenizer.decode(ids[labels != -100]) == "".join([*row[EARLIER], row["completion"]])
        assert prepared.lengths[k].tokens == int(batch["attention_mask"][k].sum())
    whole, by_turn = losses_by_sample(model, prepared), losses_by_sample(model, _by_turn(looking, model))
    assert whole == pytest.approx(by_turn, rel=1e-6)


def _by_turn(data: Path, model: LoadedModel) -> Prepared:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mirg.training.data.turn_spans", lambda *_: [])
        return sft_rows(str(data), model, FULL, 4096, TWO)


def test_a_turn_is_found_where_the_model_said_it(loaded: LoadedModel) -> None:
    """Turns are sought from the end: a question may have the words of a turn. None is found if one is missing."""
    tokenizer = loaded.tokenizer
    end = tokenizer.eos_token

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    turns = [f"one{end}", f"two{end}"]
    parts = [ids(part) for part in (f"one{end}two{end}", "user", turns[0], "crop", turns[1], "crop")]
    starts = [sum(map(len, parts[:k])) for k in range(len(parts) + 1)]
    found = turn_spans([token for part in parts for token in part], turns, tokenizer)
    assert found == [(starts[2], starts[3]), (starts[4], starts[5])]
    assert turn_spans(ids("two"), turns, tokenizer) == turn_spans(ids(f"two{end}one{end}"), turns, tokenizer) == []


def test_a_batch_without_a_turn_of_its_rows_is_refused(loaded: LoadedModel) -> None:
    batch = {"input_ids": torch.tensor([[1, 2, 3]]), "labels": torch.full((1, 3), -100)}
    with pytest.raises(DataError, match="other tokens"):
        TurnLabels(lambda rows: batch, loaded.tokenizer)([{EARLIER: ["a turn"]}])


@pytest.mark.usefixtures("by_turn")
def test_a_turn_is_a_row_with_the_crops_seen_by_then(model: LoadedModel, looking: Path) -> None:
    """The turns, joined, are the completion that the writer writes; the crops are those of the environment."""
    prepared = sft_rows(str(looking), model, FULL, 4096, TWO)
    rows = [prepared.rows[k] for k in range(len(prepared))]
    assert [row["id"] for row in rows] == ["s0"] * 3 + ["s1"] * 2 + ["s2"]
    assert [len(row["images"]) for row in rows] == [2, 3, 4, 2, 3, 2]
    end = model.tokenizer.eos_token
    said = [row["completion"].partition(end)[0] for row in rows[:3]]
    whole = write_completion(
        CHAIN, (TARGET,), [i.size for i in rows[0]["images"][:2]], model.family, limits=model.limits
    )
    assert joined(said).replace("</look> ", "</look>") == whole.replace("</look> ", "</look>")
    environment = LookEnvironment(rows[0]["images"], model.family, TWO, model.limits)
    for count in (1, 2):
        crop = environment.answer(said[:count])
        assert isinstance(crop, Crop) and crop.image.tobytes() == rows[2]["images"][1 + count].tobytes()
        assert f"{crop.name}: " in rows[2]["prompt"]
    assert "at most 2 times" in rows[0]["prompt"] and rows[1]["prompt"].startswith(rows[0]["prompt"] + said[0])


@pytest.mark.usefixtures("by_turn")
def test_only_what_the_model_says_carries_loss(model: LoadedModel, looking: Path) -> None:
    prepared = sft_rows(str(looking), model, FULL, 4096, TWO)
    rows = [prepared.rows[k] for k in range(len(prepared))]
    batch = sft_batch(model, prepared)
    processor: Any = model.processor
    for k, row in enumerate(rows):
        ids, labels = batch["input_ids"][k], batch["labels"][k]
        assert model.tokenizer.decode(ids[labels != -100]) == row["completion"]
        assert prepared.lengths[k].tokens == int(batch["attention_mask"][k].sum())
        assert not bool((labels == processor.image_token_id).any())
    assert int((batch["input_ids"] == processor.image_token_id).sum()) * 4 == len(batch["pixel_values"])


@pytest.mark.usefixtures("by_turn")
def test_a_row_is_the_prompt_that_an_engine_writes(model: LoadedModel, looking: Path) -> None:
    """What SFT teaches a turn after is, to the token, what the chat template makes of the conversation so far."""
    row = sft_rows(str(looking), model, FULL, 4096, TWO).rows[1]
    asked = grpo_rows(str(looking), model, FULL, look=TWO).rows[0]["prompt"]
    turn = row["prompt"].split("assistant\n")[1].partition("<|im_end|>")[0]
    told = {"role": "assistant", "content": [{"type": "text", "text": turn}]}
    crop = LookEnvironment(row["images"][:2], model.family, TWO, model.limits).answer([turn])
    assert isinstance(crop, Crop)
    conversation = encode(model.processor, [*asked, told, crop.message], [*row["images"][:2], crop.image], "s0")
    made = model.processor(text=[row["prompt"]], images=row["images"])
    assert list(made["input_ids"][0]) == list(conversation.ids)


@pytest.mark.parametrize(
    ("budget", "left", "reason"),
    [(LookBudget(), [], "No look is left."), (LookBudget(max_looks=1), ["s1", "s2"], "No look is left.")],
)
def test_more_looks_than_the_budget_are_refused(looking: Path, loaded: LoadedModel, budget, left, reason) -> None:
    prepared = sft_rows(str(looking), loaded, FULL, 4096, budget)
    assert [row["id"] for row in prepared.rows] == (left or ["s2"])
    assert all(reason in rejection.reason for rejection in prepared.rejections) and prepared.rejections


def test_lengths_are_known_without_pixels(looking: Path, loaded: LoadedModel) -> None:
    recipe = SftRecipe(model="m", data=str(looking), look=TWO)
    assert row_lengths(recipe, loaded) == sft_rows(str(looking), loaded, FULL, 32768, TWO).lengths


def test_sft_learns_from_looks(looking: Path, tmp_path: Path, sft_recipe: Any) -> None:
    recipe = sft_recipe(data=str(looking), look={"max_looks": 2, "crop_pixels": 4096}, steps=2)
    train_sft(recipe, tmp_path / "run")
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_a_look_in_an_image_that_is_not_there_is_refused_by_name(tmp_path: Path, loaded: LoadedModel) -> None:
    with DatasetWriter(tmp_path / "data", name="bad") as out:
        ref = out.add_image(Image.new("RGB", (90, 60)), "i0")
        told = Trajectory(thinking=f"a {look_markup(3, BOX)}b", answer=(), writer="w")
        out.add(Sample(id="s0", task="none", images=(ref,), question="Where?", trajectory=told))
    with pytest.raises(DataError, match="Image-3 does not exist"):
        sft_rows(str(tmp_path / "data"), loaded, FULL, 4096, TWO)

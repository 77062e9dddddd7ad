"""GRPO with looks: rollouts in turns, an update without the environment's tokens, and what is counted before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from fakes.tiny import LOOK, read_data
from fakes.training import as_trl, first_batch, loss_and_gradients, make_trainer, rows
from fakes.vllm import Engine, install
from mirg.answers.looks import Look, LookBudget, crop_size, replay
from mirg.answers.prompts import messages
from mirg.cli.main import app
from mirg.config import dump_recipe
from mirg.engines.base import Completion, Generation, Request
from mirg.engines.look_turns import LookTurns
from mirg.engines.looking import Crop, Looked, LookEnvironment, Refusal, looked
from mirg.engines.transformers import TransformersEngine
from mirg.errors import ConfigError
from mirg.models.load import LoadedModel, load_model
from mirg.models.prompts import Branch, Prompt
from mirg.training.grpo import PlainGRPOTrainer, train_grpo
from mirg.training.looks import counted_room, look_room

Make = Callable[..., Any]
SLOW = pytest.mark.slow


class Rounds:
    """An engine without turns: the driver of looks asks it again, with everything before."""

    def __init__(self, engine: TransformersEngine) -> None:
        self.engine, self.name, self.family = engine, engine.name, engine.family
        self.limits, self.fingerprint = engine.limits, engine.fingerprint

    def generate(self, requests: list[Request], settings: Generation) -> list[Completion]:
        return self.engine.generate(requests, settings)


@pytest.fixture(scope="module")
def engine(skilled: Make) -> TransformersEngine:
    return TransformersEngine(load_model(str(skilled("looking"))))


def asked(engine: TransformersEngine, data: Path, count: int) -> tuple[list[Request], list[LookEnvironment]]:
    items = read_data(data)[:count]
    prompts = [messages(sample, engine.family, engine.limits, "none", max_looks=2) for sample, _ in items]
    requests = [Request(sample.id, prompt, images) for (sample, images), prompt in zip(items, prompts, strict=True)]
    budget = LookBudget.model_validate(LOOK)
    return requests, [LookEnvironment(images, engine.family, budget, engine.limits) for _, images in items]


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that has not learnt to look: a third of the tokens are looks, and chance decides what follows them."""

    def answer(self: LookEnvironment, turns: Sequence[str]) -> Crop | Refusal | None:
        count, chance = len(turns), sum(map(ord, turns[-1])) % 5
        if count > 3 or chance == 0:
            return None
        if chance == 1:
            return Refusal("No look is left.")
        image = self.images[count % len(self.images)]
        size = crop_size((40, 20 + 10 * count), self.family, self.budget, self.limits)
        return Crop(image.resize(size), Look(1, (0.0, 0.0, 1.0, 1.0)), (0, 0, 1, 1), f"Image-1{'abc'[count - 1]}")

    monkeypatch.setattr(LookTurns, "pauses", lambda self, ids: len(ids) > 3 and ids[-1] % 3 == 0)
    monkeypatch.setattr(LookEnvironment, "answer", answer)


@SLOW
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "generate"])
def test_the_engine_says_what_it_says_in_rounds(
    packed: bool, engine: TransformersEngine, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turns, answers, tokens and how each turn ended; some completions look twice, some not at all."""
    monkeypatch.setattr(engine, "_packed", packed)
    requests, environments = asked(engine, data, 4)
    settings = Generation(max_new_tokens=96)
    ours: list[list[Looked]] = engine.look(requests, environments, settings, 1)
    assert ours == looked(Rounds(engine), requests, environments, settings, 1)
    assert {len(one.answers) for (one,) in ours} == {0, 1, 2}
    assert ours == [
        engine.look([one], [place], settings, 1)[0] for one, place in zip(requests, environments, strict=True)
    ]


@SLOW
def test_tokens_of_all_turns_are_bounded(engine: TransformersEngine, data: Path) -> None:
    """A completion that is cut off says so; one whose tokens are used up by a look gets no reply."""
    requests, environments = asked(engine, data, 4)
    whole = engine.look(requests, environments, Generation(max_new_tokens=96), 1)
    most = whole[2][0].turns[0].tokens
    short = engine.look(requests, environments, Generation(max_new_tokens=most), 1)
    assert [len(one.turns) for (one,) in short] == [1] * 4 and most < whole[2][0].completion.tokens
    longer = engine.look(requests, environments, Generation(max_new_tokens=most + 3), 1)
    assert max(one.completion.tokens for (one,) in longer) == most + 3
    assert {one.completion.finish for (one,) in longer} == {"stop", "length"}


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"temperature": 1.5},
    "reference, low rank": {"temperature": 1.5, "beta": 0.3, "lora": {"rank": 4}},
    "each completion by itself": {"temperature": 1.5, "loss": "grpo"},
}


@pytest.mark.parametrize("name", [n if n == "plain" else pytest.param(n, marks=SLOW) for n in SETTINGS])
@pytest.mark.usefixtures("anywhere")
def test_the_packed_update_is_trls(name: str, tmp_path: Path, grpo_recipe: Make) -> None:
    """Loss to 1e-5 and gradients to 1e-5 relative, with TRL's mask of tools and images behind the prompt's."""
    trainer = make_trainer(grpo_recipe(look=LOOK, **SETTINGS[name]), tmp_path)
    batch = first_batch(trainer)
    crops = [len(branch.image_keys) for branch in batch.branches]
    assert max(crops) > min(crops), "looks are not ragged: the comparison would prove little"
    columns = batch.columns
    own = columns["completion_mask"] * columns["tool_mask"]
    assert torch.equal(batch.written, own) and torch.equal(batch.take([1]).written, own[[1]])
    assert own.sum() == sum(branch.written for branch in batch.branches) == columns["num_items_in_batch"]
    batch.columns["advantages"] = torch.linspace(-1, 1, len(crops))
    loss, ours = loss_and_gradients(trainer, batch)
    logs = trainer._get_per_token_logps_and_entropies(
        trainer.model,
        torch.cat([columns["prompt_ids"], columns["completion_ids"]], 1),
        torch.cat([columns["prompt_mask"], columns["completion_mask"]], 1),
        columns["completion_ids"].shape[1],
    )[0]
    assert not logs[own == 0].any() and (logs[own == 1] < 0).all(), "tokens of the environment have no log-probability"
    theirs_batch = as_trl(trainer, batch)
    trainer.__class__ = PlainGRPOTrainer
    expected, theirs = loss_and_gradients(trainer, theirs_batch)
    assert loss == pytest.approx(expected, abs=1e-5)
    for key, grad in theirs.items():
        assert (ours[key] - grad).norm() <= 1e-5 * grad.norm() + 1e-7, key


@SLOW
def test_rewards_are_given_what_the_model_wrote(tmp_path: Path, grpo_recipe: Make) -> None:
    """All turns as one text, without the words of the environment; so are lengths and ``rollouts.jsonl``."""
    recipe = grpo_recipe("looking", micro_batch=4)
    trainer = make_trainer(recipe, tmp_path)
    seen: dict[str, list[Any]] = {}

    def looking(completions: list[Any], completion_ids: list[Any], **_: Any) -> list[float]:
        seen["texts"] = [said[0]["content"] for said in completions]
        seen["lengths"] = [len(ids) for ids in completion_ids]
        return [0.0] * len(completions)

    trainer.reward_funcs[0] = looking
    batch = first_batch(trainer)
    assert seen["lengths"] == [branch.written for branch in batch.branches]
    assert seen["texts"] == batch.texts and not any("Image-1a" in text or "user" in text for text in batch.texts)
    sizes = [row["sample"].sizes for row in batch.rows]
    made = [
        sum(step.refusal is None for step in replay(text, size, trainer.alarms._loaded.family, recipe.look))
        for text, size in zip(batch.texts, sizes, strict=True)
    ]
    assert made == [len(branch.image_keys) for branch in batch.branches] and max(made) == 2
    parts = trainer._admit(batch).deal(2)
    assert [len(part.branches) for part in parts] == [4, 4]
    assert all(
        list(branch.ids) == part.columns["completion_ids"][k][: len(branch)].tolist()
        for part in parts
        for k, branch in enumerate(part.branches)
    )


@SLOW
@pytest.mark.parametrize("mode", ["server", "colocate"])
@pytest.mark.usefixtures("anywhere")
def test_vllm_is_asked_again_with_the_crops(
    mode: str, tmp_path: Path, grpo_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log-probabilities are those of the update, and its prompts were compared with the trainer's in each turn."""
    rollouts = {"backend": "vllm", "mode": mode, "check_order": False}
    recipe = grpo_recipe(look=LOOK, rollouts=rollouts, temperature=1.5)
    install(monkeypatch, Engine(recipe.model), mode)
    trainer = make_trainer(recipe, tmp_path)
    batch = first_batch(trainer)
    assert len({len(branch.image_keys) for branch in batch.branches}) > 1
    columns = batch.columns
    own = (columns["completion_mask"] * columns["tool_mask"]).bool()
    assert not columns["sampling_per_token_logps"][~own].any()
    # TRL's correction compares with the unmodified model, which may also say what rollouts may not.
    assert (columns["old_per_token_logps"] <= columns["sampling_per_token_logps"] + 1e-5)[own].all()


@SLOW
def test_a_run_with_looks(tmp_path: Path, grpo_recipe: Make) -> None:
    recipe = grpo_recipe("looking", reward={"looks": {"look_image": 0.2}})
    assert train_grpo(recipe, tmp_path / "run").step == 2
    said = rows(tmp_path / "run" / "rollouts.jsonl")
    assert any("</look>" in row["completion"] for row in said) and not any(
        "Image-1a" in row["completion"] for row in said
    )
    assert all(row["grad_norm"] > 0 for row in rows(tmp_path / "run" / "metrics.jsonl"))


# What is counted and refused before.


def test_no_reply_is_longer_than_what_was_counted(loaded: LoadedModel, data: Path) -> None:
    """Crops of several proportions, and the longest refusals."""
    budget = LookBudget.model_validate(LOOK)
    room = look_room(budget, loaded)
    _, images = read_data(data)[1]
    places = [LookEnvironment(images, loaded.family, budget, loaded.limits)]
    looks = LookTurns(loaded.processor, places, [Prompt([1])])
    token: Any = loaded.processor
    for box in (
        "Image-1: (0,0),(999,999)",
        "Image-2: (1,1),(999,60)",
        "Image-1: (9,9),(1,1)",
        "Image-7: (1,1),(9,9)",
        "x",
    ):
        ids = loaded.tokenizer(f"<think><look>{box}</look>")["input_ids"]
        assert looks.pauses(ids) and not looks.pauses(ids[:-1])
        reply = looks.reply(0, Branch([]).extended(ids, own=True))
        assert reply is not None
        visual = list(reply.ids).count(token.image_token_id)
        assert visual <= room.crops[0] and len(reply.ids) - visual <= room.text / (budget.turns - 1), box
        end = loaded.tokenizer.eos_token_id  # written by the model, it is not written again
        after = looks.reply(0, Branch([]).extended([*ids, end], own=True))
        assert after is not None and [end, *after.ids] == list(reply.ids)


def test_looks_need_packed_groups(tmp_path: Path, grpo_recipe: Make) -> None:
    with pytest.raises(ConfigError, match="look.max_looks needs packed groups"):
        train_grpo(grpo_recipe(look=LOOK, packed=False), tmp_path / "run")


def test_more_than_a_model_reads_is_said(
    loaded: LoadedModel, grpo_recipe: Make, caplog: pytest.LogCaptureFixture
) -> None:
    counted_room(10, grpo_recipe(look=LOOK, max_new_tokens=200_000), loaded)
    assert "tokens of looks are more than the" in caplog.text


def test_a_dry_run_counts_looks(grpo_recipe: Make, tmp_path: Path) -> None:
    peaks = []
    for keys in ({"look": LOOK}, {}):
        recipe = grpo_recipe(**keys)
        (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
        said = CliRunner().invoke(app, ["grpo", str(tmp_path / "recipe.yaml"), "--dry-run"]).output
        (line,) = [line for line in said.splitlines() if "looks: up to" in line] or [""]
        peaks.append(line)
    assert "up to 2 in a completion of up to 4 turns" in peaks[0] and "has up to 5 images" in peaks[0]
    assert not peaks[1]


def test_there_is_no_room_to_count_without_looks(loaded: LoadedModel, grpo_recipe: Make) -> None:
    assert look_room(LookBudget(), loaded).tokens == 0
    assert counted_room(10, grpo_recipe(max_new_tokens=8), loaded) == 18

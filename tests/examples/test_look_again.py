"""The one-file look-again step runs, stays short, and computes what the package computes on packed rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from mirg.answers.looks import LookBudget
from mirg.engines.look_turns import LookTurns
from mirg.engines.looking import LookEnvironment
from mirg.models.load import LoadedModel
from mirg.models.packing import enable_packed_forward, pack, score_packed
from mirg.models.prompts import Branch, Prompt, encode

BUDGET = LookBudget(max_looks=2, crop_pixels=2304)
LOOKS = [
    "<look>Image-2: (100,200),(600,700)</look>",
    "<look>Image-9: (1,1),(9,9)</look>",
    "<look>Image-1: (0,0),(999,400)</look>",
]


@pytest.fixture(scope="module")
def example(load_script: Callable[[str], ModuleType]) -> Any:
    return load_script("examples/look_again.py")


@pytest.fixture(scope="module")
def loaded(example: Any) -> LoadedModel:
    return example.replace(example.tiny_model(), instructions="none")


@pytest.fixture(scope="module")
def item(example: Any) -> Any:
    """A sample of several images, and the environment of its looks."""
    ((sample, images),) = example.iter_samples(("refer",), 1, split="rl", seed=3, config=example.WORLD)
    return sample, images


def talked(example: Any, loaded: LoadedModel, item: Any, looks: list[str]) -> Any:
    """A conversation whose turns are written here."""
    sample, images = item
    environment = LookEnvironment(images, loaded.family, BUDGET, loaded.limits)
    talk = example.begin(loaded, sample, images, BUDGET)
    for text in [*looks, "</think><answer>none</answer>"]:
        example.say(loaded, talk, loaded.tokenizer(f"<think>{text}" if not talk.turns else text)["input_ids"])
        if answer := environment.answer(talk.turns):
            example.reply(loaded, talk, answer)
    return talk


@pytest.fixture(scope="module")
def talks(example: Any, loaded: LoadedModel, item: Any) -> list[Any]:
    """A group: no look, a look and a refusal, two looks."""
    made = [talked(example, loaded, item, looks) for looks in ([], LOOKS[:2], [LOOKS[0], LOOKS[2]])]
    assert [len(talk.images) - len(item[1]) for talk in made] == [0, 1, 2]
    return made


def test_it_is_one_short_file_without_trl(repository: Path) -> None:
    text = (repository / "examples" / "look_again.py").read_text(encoding="utf-8")
    assert text.count("\n") < 200
    assert not re.search(
        r"^\s*(from|import) (trl|mirg\.training|mirg\.models\.(packing|turns|sampling))", text, re.MULTILINE
    )


@pytest.mark.slow
def test_it_runs(example: Any, capsys: pytest.CaptureFixture[str]) -> None:
    example.main(warm_up_steps=100)
    out = capsys.readouterr().out
    assert out.count(" crops ") == 6 and " 1 crops " in out
    assert re.search(r"loss [+-]\d\.\d{4} over \d+ tokens of the model", out)


def test_a_rollout_ends_in_bounds(example: Any, loaded: LoadedModel, item: Any) -> None:
    sample, images = item
    talk = example.begin(loaded, sample, images, BUDGET)
    torch.manual_seed(0)
    example.roll_out(loaded, talk, LookEnvironment(images, loaded.family, BUDGET, loaded.limits), 12)
    assert 1 <= sum(talk.own) <= 12 and len(talk.own) == len(talk.ids) - talk.begin


def test_it_computes_what_packed_rows_compute(example: Any, loaded: LoadedModel, item: Any, talks: list[Any]) -> None:
    """Log-probabilities and gradients of the loss to 1e-5; the replies are those of the package, token for token."""
    sample, images = item
    model: Any = loaded.model
    asked = example.messages(sample, loaded.family, loaded.limits, "none", max_looks=2)
    prompt: Prompt = encode(loaded.processor, asked, images, sample.id)
    looks = LookTurns(loaded.processor, [LookEnvironment(images, loaded.family, BUDGET, loaded.limits)], [prompt])
    group = []
    for talk in talks:
        branch = Branch([])
        for turn in talk.turns:
            branch = branch.extended(loaded.tokenizer(turn)["input_ids"], own=True)
            if said := looks.reply(0, branch):
                branch = branch.extended(said.ids, own=False, inputs=said.inputs)
        assert [*prompt.ids, *branch.ids] == talk.ids and list(branch.own) == talk.own
        group.append(branch)
    rewards = torch.tensor([0.1, 0.9, 0.4])
    mine = [example.log_probs(loaded, talk) for talk in talks]
    old = [logs.detach() + 0.1 * torch.randn_like(logs) for logs in mine]
    model.zero_grad()
    example.grpo_loss(mine, old, rewards).backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    enable_packed_forward(model)
    model.zero_grad()
    packed, _ = score_packed(model, pack(model, [prompt], [group]))
    torch.testing.assert_close(packed, torch.cat(mine), atol=1e-5, rtol=0)
    example.grpo_loss(list(packed.split([branch.written for branch in group])), old, rewards).backward()
    for name, p in model.named_parameters():
        if name in expected:
            assert (p.grad - expected[name]).norm() <= 1e-5 * expected[name].norm() + 1e-7, name

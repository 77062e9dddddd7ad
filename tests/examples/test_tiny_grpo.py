"""The one-file GRPO runs, stays short, and computes the loss of the trainer on the same batch."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from mirg.models.load import LoadedModel

GROUP = 3


@pytest.fixture(scope="module")
def example(load_script: Callable[[str], ModuleType]) -> Any:
    return load_script("examples/tiny_grpo.py")


@pytest.fixture(scope="module")
def loaded(example: Any) -> LoadedModel:
    loaded = example.tiny_model()
    loaded.model.train()
    return loaded


@pytest.fixture(scope="module")
def items(example: Any) -> list[Any]:
    """Four samples of 2 and 3 images: prompts of unlike length."""
    items = list(example.iter_samples(example.TASKS, 4, split="validation", seed=1, config=example.WORLD))
    assert len({len(images) for _, images in items}) > 1
    return items


@pytest.fixture(scope="module")
def batch(example: Any, loaded: LoadedModel, items: list[Any]) -> Any:
    """Real completions of G rows for each prompt, some of them cut short as if the turn had ended there."""
    torch.manual_seed(0)
    batch = example.sample_completions(loaded, [item for item in items for _ in range(GROUP)], 16)
    lengths = torch.randint(1, batch.completion_ids.shape[1] + 1, (len(batch.completion_ids), 1))
    mask = (torch.arange(batch.completion_ids.shape[1])[None] < lengths).int() * batch.completion_mask
    return example.Batch(batch.prompt, batch.completion_ids, mask)


def test_it_is_one_short_file_without_trl(repository: Path) -> None:
    text = (repository / "examples" / "tiny_grpo.py").read_text(encoding="utf-8")
    assert text.count("\n") < 250
    assert not re.search(r"^\s*(from|import) (trl|mirg\.training)", text, re.MULTILINE)


@pytest.mark.slow
def test_it_runs(example: Any, capsys: pytest.CaptureFixture[str]) -> None:
    example.main(steps=2, prompts=2, group=4, warm_up_steps=40)
    lines = capsys.readouterr().out.splitlines()
    losses = [float(line.split()[-1]) for line in lines if line.startswith("warm-up")]
    assert losses[-1] < losses[0] / 4
    steps = [line for line in lines if line.startswith("step")]
    assert len(steps) == 2 and all("groups of equals" in line for line in steps)
    assert any(float(line.split("format ")[1].split(",")[0]) > 0 for line in steps), "something was rewarded"


def test_it_runs_on_a_model_by_path(example: Any, loaded: LoadedModel, tmp_path: Path, capsys: Any) -> None:
    loaded.model.save_pretrained(tmp_path)
    loaded.processor.save_pretrained(tmp_path)
    example.main(model=str(tmp_path), steps=1, prompts=1, group=2, max_new_tokens=8)
    out = capsys.readouterr().out
    assert "step   1/1" in out and "warm-up" not in out


def test_completions_end_with_the_turn_and_hold_no_vision_token(example: Any, loaded: LoadedModel, batch: Any) -> None:
    forbidden = set(example.forbidden_tokens(loaded.tokenizer, loaded.family))
    pad = loaded.tokenizer.pad_token_id
    kept = batch.completion_ids[batch.completion_mask.bool()].tolist()
    assert not forbidden & (set(kept) - {pad})


def test_log_probs_are_those_of_each_row_alone(example: Any, loaded: LoadedModel, items: list[Any], batch: Any) -> None:
    """Padding on the left and neighbours in the batch change nothing."""
    together = example.token_log_probs(loaded.model, batch)
    for row in (0, GROUP * 3):
        single = example.Batch(
            example.encode(loaded, [items[row // GROUP]]),
            batch.completion_ids[row : row + 1],
            batch.completion_mask[row : row + 1],
        )
        alone = example.token_log_probs(loaded.model, single)
        kept = single.completion_mask.bool()
        assert torch.allclose(alone[kept], together[row : row + 1][kept], atol=1e-5)


def test_advantages(example: Any) -> None:
    rewards = torch.tensor([[0.0, 0.5, 1.0], [0.3, 0.3, 0.3]])
    found = example.group_advantages(rewards)
    assert torch.allclose(found[0], torch.tensor([-1.0, 0.0, 1.0]), atol=1e-3)
    assert torch.equal(found[1], torch.zeros(3)), "a group of equals teaches nothing"


@pytest.mark.parametrize(
    ("ratio", "advantage", "slope", "why"),
    [
        (1.0, 1.0, -1.0, "on policy: the plain policy gradient"),
        (1.27, 1.0, -1.27, "still inside the raised upper bound"),
        (1.29, 1.0, 0.0, "far enough up"),
        (0.79, -1.0, 0.0, "far enough down"),
        (0.79, 1.0, -0.79, "below the range but pulled back up: not clipped"),
        (1.29, -1.0, 1.29, "above the range but pushed down: not clipped"),
    ],
)
def test_clipping(example: Any, ratio: float, advantage: float, slope: float, why: str) -> None:
    new = torch.tensor([[ratio]]).log().requires_grad_()
    loss = example.grpo_loss(new, torch.zeros(1, 1), torch.tensor([advantage]), torch.ones(1, 1))
    (gradient,) = torch.autograd.grad(loss, new)
    assert gradient.item() == pytest.approx(slope, abs=1e-5), why


def test_the_loss_is_that_of_the_trainer(example: Any, loaded: LoadedModel, batch: Any, tmp_path: Path) -> None:
    """Loss to 1e-5 and gradients, off policy, so that both sides of the clipping act."""
    torch.manual_seed(1)
    advantages = torch.randn(len(batch.completion_ids))
    model: Any = loaded.model
    new = example.token_log_probs(model, batch)
    old = (new + 0.3 * torch.randn_like(new)).detach()
    ours = example.grpo_loss(new, old, advantages, batch.completion_mask)
    model.zero_grad()
    ours.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()

    trainer = make_trainer(loaded, batch, tmp_path)
    grids = batch.prompt["image_grid_thw"]
    theirs = trainer._compute_loss(
        trainer.model,
        {
            "prompt_ids": batch.prompt["input_ids"],
            "prompt_mask": batch.prompt["attention_mask"],
            "completion_ids": batch.completion_ids,
            "completion_mask": batch.completion_mask,
            "advantages": advantages,
            "old_per_token_logps": old,
            "num_items_in_batch": batch.completion_mask.sum(),
            "pixel_values": batch.prompt["pixel_values"],
            "image_grid_thw": grids,
            "num_images": images_per_row(loaded, batch, len(grids)),
            **with_completion(batch),
        },
    )
    assert abs(ours.item()) > 1e-3
    assert abs(ours.item() - theirs.item()) < 1e-5
    theirs.backward()
    largest = max(gradient.abs().max().item() for gradient in gradients.values())
    found = {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}
    assert found.keys() == gradients.keys() and largest > 1e-3
    for name, gradient in found.items():
        assert torch.allclose(gradient, gradients[name], atol=1e-5 * largest, rtol=1e-3), name


def make_trainer(loaded: LoadedModel, batch: Any, folder: Path) -> Any:
    """The trainer of `mirg grpo` around the same weights; its data plays no part."""
    import datasets
    from trl.trainer.grpo_config import GRPOConfig

    from mirg.training.grpo import PlainGRPOTrainer

    rows = datasets.Dataset.from_list([{"prompt": [{"role": "user", "content": "Find it."}]}] * 4)
    trainer: Any = PlainGRPOTrainer(
        model=loaded.model,
        args=GRPOConfig(
            output_dir=str(folder),
            per_device_train_batch_size=len(batch.completion_ids),
            num_generations=GROUP,
            loss_type="dapo",
            epsilon=0.2,
            epsilon_high=0.28,
            beta=0.0,
            temperature=1.0,
            gradient_checkpointing=False,
            bf16=False,
            report_to="none",
            use_cpu=True,
        ),
        reward_funcs=[lambda completions, **_: [0.0] * len(completions)],
        train_dataset=rows,
        processing_class=loaded.processor,
    )
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer


def images_per_row(loaded: LoadedModel, batch: Any, total: int) -> list[int]:
    start = loaded.tokenizer.convert_tokens_to_ids("<|vision_start|>")
    counts = (batch.prompt["input_ids"] == start).sum(dim=1).tolist()
    assert sum(counts) == total
    return counts


def with_completion(batch: Any) -> dict[str, torch.Tensor]:
    """TRL pads the token types with zeros for the completion before it computes the loss."""
    types = batch.prompt.get("mm_token_type_ids")
    return {} if types is None else {"mm_token_type_ids": torch.cat([types, torch.zeros_like(batch.completion_ids)], 1)}

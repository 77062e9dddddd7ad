"""Image-aware GRPO in one file, without TRL: samples, prompts, rollouts, rewards, advantages, loss, update.

    python examples/tiny_grpo.py                                    # a random tiny model, half a minute on one core
    python examples/tiny_grpo.py --model runs/demo/sft --steps 100  # the model of `make demo` after SFT

`mirg grpo` does the same on TRL, with resuming, checkpoints, adapters and several GPUs; a test holds the losses equal.
This file deviates from the papers and from TRL as follows:

* GRPO (arXiv 2402.03300) averages the loss over completions. This is DAPO's loss (arXiv 2503.14476): the mean over all
  completion tokens of the batch, the ratio clipped to [0.8, 1.28], no KL term to a reference model.
* DAPO samples again until every group holds better and worse answers; here a group of equals just gives no gradient.
* MIRG-RL (arXiv 2509.21788) has one reward for the object and one for the image: `mirg.rewards` is our reading of it.
* Nothing is shared between the G completions of a prompt: its images are encoded G times. TRL does that too.
* A random model gets no reward, so it is first trained on right answers (`warm_up`): SFT in ten lines.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
import typer
from PIL import Image

from mirg.answers.prompts import messages, write_completion
from mirg.data.scenes.generate import corpus, iter_samples, names
from mirg.data.scenes.world import WorldConfig
from mirg.models.load import LoadedModel, forbidden_tokens, load_model, wrap
from mirg.models.tiny import TinyConfig, build_tiny
from mirg.rewards import RewardConfig, Score, score
from mirg.rewards.total import PARTS
from mirg.samples import Sample
from mirg.trajectories.writer import write_thinking

Item = tuple[Sample, list[Image.Image]]  # a sample and its images, Image-1 first
WORLD = WorldConfig(side=72, images=(2, 3), objects=(1, 2), object_side=(0.3, 0.5), clutter=0)
TASKS = ("group_grounding", "refer", "none")
CLIP_LOW, CLIP_HIGH = 0.2, 0.28
STD_FLOOR = 1e-4  # TRL's: a group whose rewards hardly differ is not blown up


# 1. The model: a real Qwen3-VL class, only small. Load any other by name or path.


def tiny_model() -> LoadedModel:
    """A random model of 0.56 M parameters; object names, image labels and coordinates are one token each."""
    sizes = TinyConfig(
        width=96, layers=2, mlp=192, vision_width=64, vision_layers=2, vision_mlp=128, patch=12, image_side=72
    )
    # Labels like Image-2 get their tokens later; split here, so that they do not become parts of longer ones.
    words = [text.replace("Image-", "Image- ") for text in corpus(n=200, config=WORLD, tasks=TASKS)]
    model, processor = build_tiny(sizes, corpus=words, names=names())
    # No instructions in the prompt: it learns the form of an answer by example.
    return replace(wrap(model, processor, path="tiny"), instructions="none")


# 2. Prompts and completions. One row of the batch is one prompt with one completion.


@dataclass(frozen=True)
class Batch:
    """``prompt``: the processor's tensors, padded on the left, one row for each completion; ids and mask are (B, C)."""

    prompt: dict[str, torch.Tensor]
    completion_ids: torch.Tensor
    completion_mask: torch.Tensor  # 1 up to and including the end of the turn


def encode(loaded: LoadedModel, items: list[Item]) -> dict[str, torch.Tensor]:
    """What the model reads: ``Image-1: <image> … question``, the images in the order of the prompt."""
    processor: Any = loaded.processor
    prompts = [messages(sample, loaded.family, loaded.limits, loaded.instructions) for sample, _ in items]
    texts = [processor.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True) for prompt in prompts]
    images = [image for _, its in items for image in its]
    return dict(processor(text=texts, images=images, padding=True, return_tensors="pt").to(loaded.model.device))


@torch.no_grad()
def sample_completions(loaded: LoadedModel, items: list[Item], max_new_tokens: int) -> Batch:
    """One completion for each item; give an item G times for a group of G.

    Sampled with temperature 1 and nothing else: top-p or top-k would draw from another distribution than the loss is
    about. Vision tokens are forbidden: one of them in a completion breaks the next forward pass.
    """
    prompt = encode(loaded, items)
    model: Any = loaded.model
    ids = model.generate(
        **prompt, max_new_tokens=max_new_tokens, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
        suppress_tokens=forbidden_tokens(loaded.tokenizer, loaded.family),
    )[:, prompt["input_ids"].shape[1] :]  # fmt: skip
    ends = (ids == loaded.tokenizer.eos_token_id).int()
    return Batch(prompt, ids, (ends.cumsum(dim=1) - ends == 0).int())


def token_log_probs(model: Any, batch: Batch) -> torch.Tensor:
    """Log-probability of every completion token, (B, C); the images are encoded again, this time with gradient."""
    prompt, ids = dict(batch.prompt), batch.completion_ids
    prompt["input_ids"] = torch.cat([prompt["input_ids"], ids], dim=1)
    prompt["attention_mask"] = torch.cat([prompt["attention_mask"], batch.completion_mask], dim=1)
    if "mm_token_type_ids" in prompt:  # 1 for tokens of an image: rotary positions need it
        prompt["mm_token_type_ids"] = torch.cat([prompt["mm_token_type_ids"], torch.zeros_like(ids)], dim=1)
    # The logits of a position are about the NEXT token: the prompt's last one predicts the completion's first.
    logits = model(**prompt).logits[:, -ids.shape[1] - 1 : -1]
    return logits.float().log_softmax(dim=-1).gather(-1, ids[..., None])[..., 0]


# 3. From rewards to the loss.


def reward_completions(loaded: LoadedModel, items: list[Item], batch: Batch) -> list[Score]:
    """The dual reward: format, right images, right boxes inside the right images; each part with its reason."""
    texts = loaded.tokenizer.batch_decode(batch.completion_ids, skip_special_tokens=True)
    config = RewardConfig(arm="dual")
    return [score(text, item[0], loaded.family, config, loaded.limits) for text, item in zip(texts, items, strict=True)]


def group_advantages(rewards_PG: torch.Tensor) -> torch.Tensor:
    """How much better than its siblings, in standard deviations of the group, (P, G). This replaces a value network."""
    centred = rewards_PG - rewards_PG.mean(dim=1, keepdim=True)
    return centred / (rewards_PG.std(dim=1, keepdim=True) + STD_FLOOR)


def grpo_loss(new: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The clipped surrogate, averaged over all completion tokens (DAPO).

    ``new`` and ``old`` are log-probabilities (B, C), ``advantages`` (B,), ``mask`` (B, C). The ratio starts at 1; once
    it has left the clip range in the direction that the advantage pulls it, the token gives no gradient any more.
    """
    ratio = torch.exp(new - old)
    clipped = ratio.clamp(1 - CLIP_LOW, 1 + CLIP_HIGH)
    gain = torch.min(ratio * advantages[:, None], clipped * advantages[:, None])
    return -(gain * mask).sum() / mask.sum().clamp(min=1)


# 4. The loop.


def warm_up(loaded: LoadedModel, items: list[Item], optimizer: torch.optim.Optimizer, steps: int, size: int) -> None:
    """Supervised fine-tuning: raise the probability of right completions, until the format is there to be rewarded."""
    tokenizer = loaded.tokenizer
    for step in range(steps):
        chosen = [items[(step * size + k) % len(items)] for k in range(size)]
        samples = [sample for sample, _ in chosen]
        texts = [write_completion(write_thinking(s), s.targets, s.sizes, loaded.family) for s in samples]
        ends = [text + tokenizer.eos_token for text in texts]
        # Completions are padded on the right, prompts on the left.
        right = tokenizer(ends, padding=True, padding_side="right", add_special_tokens=False, return_tensors="pt")
        right = right.to(loaded.model.device)
        batch = Batch(encode(loaded, chosen), right["input_ids"], right["attention_mask"])
        loss = -(token_log_probs(loaded.model, batch) * batch.completion_mask).sum() / batch.completion_mask.sum()
        update(loaded, optimizer, loss)
        if step % 20 == 0 or step == steps - 1:
            typer.echo(f"warm-up {step + 1:3d}/{steps}  loss {loss.item():.3f}")


def update(loaded: LoadedModel, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """One AdamW step with the gradient's norm held below 1."""
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(loaded.model.parameters(), 1.0)
    optimizer.step()


def grpo_step(
    loaded: LoadedModel, items: list[Item], optimizer: torch.optim.Optimizer, group: int, updates: int, tokens: int
) -> tuple[list[Score], float]:
    """Sample G completions of every prompt, score them, and learn from the differences inside each group."""
    rows = [item for item in items for _ in range(group)]
    batch = sample_completions(loaded, rows, tokens)
    scores = reward_completions(loaded, rows, batch)
    rewards = torch.tensor([found.total for found in scores])
    advantages = group_advantages(rewards.view(len(items), group)).flatten().to(batch.completion_ids.device)
    with torch.no_grad():
        old = token_log_probs(loaded.model, batch)
    loss = torch.zeros(())
    for _ in range(updates):  # from the second update on the policy is no longer the one that sampled: clipping matters
        loss = grpo_loss(token_log_probs(loaded.model, batch), old, advantages, batch.completion_mask)
        update(loaded, optimizer, loss)
    return scores, loss.item()


def main(
    model: Annotated[str, typer.Option(help="Model folder, run folder or hub name; empty: a random tiny model.")] = "",
    steps: Annotated[int, typer.Option(help="GRPO steps.")] = 5,
    prompts: Annotated[int, typer.Option(help="Prompts per step (P).")] = 4,
    group: Annotated[int, typer.Option(help="Completions per prompt (G).")] = 8,
    updates: Annotated[int, typer.Option(help="Optimiser updates on each batch.")] = 2,
    warm_up_steps: Annotated[int, typer.Option(help="Supervised steps before, for a random model.")] = 60,
    learning_rate: float = 1e-4,
    max_new_tokens: int = 64,
    seed: int = 0,
) -> None:
    """A few steps of image-aware GRPO on scenes that are drawn in memory."""
    torch.manual_seed(seed)
    loaded = load_model(model, dtype="float32") if model else tiny_model()
    loaded.model.train()
    if not model:
        shown = list(iter_samples(TASKS, 256, split="train", seed=seed, config=WORLD))
        warm_up(loaded, shown, torch.optim.AdamW(loaded.model.parameters(), lr=2e-3), warm_up_steps, size=16)
    items = list(iter_samples(TASKS, 64, split="rl", seed=seed, config=WORLD))
    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=learning_rate, weight_decay=0.0)
    order = random.Random(seed)
    for step in range(steps):
        chosen = order.sample(items, min(prompts, len(items)))
        scores, loss = grpo_step(loaded, chosen, optimizer, group, updates, max_new_tokens)
        typer.echo(f"step {step + 1:3d}/{steps}  loss {loss:+.4f}  {summary(scores, group)}")
        best = max(scores, key=lambda found: found.total)
        why = "; ".join(f"{part}: {reason}" for part, reason in best.reasons.items())
        typer.echo(f"    best {best.total:.2f}: {best.reading.answer_text!r}  {why}")


def summary(scores: list[Score], group: int) -> str:
    """The mean reward and its parts, and how many groups hold nothing to learn from."""
    total = sum(found.total for found in scores) / len(scores)
    parts = (sum(found.values[k] for found in scores) / len(scores) for k in range(3))
    named = ", ".join(f"{name} {value:.2f}" for name, value in zip(PARTS, parts, strict=True))
    equal = [len({found.total for found in scores[k : k + group]}) == 1 for k in range(0, len(scores), group)]
    return f"reward {total:.3f} ({named})  groups of equals {sum(equal)}/{len(equal)}"


if __name__ == "__main__":
    typer.run(main)

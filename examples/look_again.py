"""Looking again in one file, without TRL and without packed rows: one group from its rollouts to the update.

    python examples/look_again.py                                   # a random tiny model, a minute on one core
    python examples/look_again.py --model RUN --max-looks 2         # a model that has learnt to look

The model asks for a part of an image inside its thinking, `<look>Image-2: (x1,y1),(x2,y2)</look>`. The environment cuts
it from the original pixels and shows it as `Image-2a`. The model continues its thinking, and answers with boxes of the
whole images. `mirg grpo` does the same on packed rows if its recipe has `look.max_looks`; a test holds both equal.

* Only tokens that the model wrote have a loss (MGPO, arXiv 2507.05920), those of all turns with the advantage of the
  completion. Crops and the words around them are read, never learnt.
* Nothing is shared here: every turn of every completion reads all images again. `mirg.models.turns` shares the prompt.
* A random model never looks, so it is first trained on written completions with a look (`warm_up`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import torch
import typer
from PIL import Image

from mirg.answers.looks import LookBudget, joined, split_turns
from mirg.answers.markup import look_markup
from mirg.answers.prompts import messages, write_completion
from mirg.data.scenes.generate import corpus, iter_samples, names
from mirg.data.scenes.world import WorldConfig
from mirg.engines.looking import Crop, LookEnvironment, Refusal
from mirg.models.load import LoadedModel, forbidden_tokens, load_model, wrap
from mirg.models.prompts import further_turn
from mirg.models.tiny import TinyConfig, build_tiny
from mirg.rewards import RewardConfig, score
from mirg.samples import Sample

WORLD = WorldConfig(side=72, images=(2, 3), objects=(1, 2), object_side=(0.3, 0.5), clutter=0)
CROP = 2304  # pixels of a crop as the model sees it
CLIP_LOW, CLIP_HIGH = 0.2, 0.28  # of DAPO (arXiv 2503.14476), as is the mean over tokens


def tiny_model() -> LoadedModel:
    """A random model of the Qwen3-VL class with 0.5 M parameters."""
    sizes = TinyConfig(width=96, layers=2, mlp=192, vision_width=64, vision_mlp=128, patch=12, image_side=72)
    words = [text.replace("Image-", "Image- ") for text in corpus(n=200, config=WORLD, tasks=("refer",))]
    return wrap(*build_tiny(sizes, corpus=words, names=names()), path="tiny")


# 1. A conversation: the tokens of prompt, model and environment in one sequence, and every image in its order.


@dataclass
class Conversation:
    """``own`` says which tokens the model wrote, ``turns`` are these as text; ``begin`` is where the prompt ends."""

    ids: list[int]
    images: list[Image.Image]
    begin: int
    own: list[bool] = field(default_factory=list)
    turns: list[str] = field(default_factory=list)

    def inputs(self, processor: Any) -> dict[str, torch.Tensor]:
        """What the model takes: one row of tokens, the patches of all images, and which tokens are those of images."""
        ids = torch.tensor([self.ids])
        seen = processor.image_processor(images=self.images, return_tensors="pt")
        kinds = (ids == processor.image_token_id).int()  # the rotary positions of a crop have rows and columns, too
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": kinds, **seen}


def begin(loaded: LoadedModel, sample: Sample, images: list[Image.Image], budget: LookBudget) -> Conversation:
    """The prompt: ``Image-1: <image> … question``, and how to look and to answer if the model needs instructions."""
    processor: Any = loaded.processor
    asked = messages(sample, loaded.family, loaded.limits, loaded.instructions, max_looks=budget.max_looks)
    text = processor.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    ids = list(processor(text=[text], images=images)["input_ids"][0])
    return Conversation(ids, list(images), len(ids))


def say(loaded: LoadedModel, talk: Conversation, ids: list[int]) -> None:
    """A turn of the model."""
    talk.ids += ids
    talk.own += [True] * len(ids)
    talk.turns.append(loaded.tokenizer.decode(ids, skip_special_tokens=True))


def reply(loaded: LoadedModel, talk: Conversation, answer: Crop | Refusal) -> None:
    """The turn of the environment as the chat template writes it: the crop after its name, or words of refusal."""
    processor: Any = loaded.processor
    text = further_turn(processor, answer.message, "a look").text
    if talk.ids[-1] == loaded.tokenizer.eos_token_id:  # the model has ended its turn itself
        text = text.removeprefix(loaded.tokenizer.eos_token)
    shown = [answer.image] if isinstance(answer, Crop) else []
    ids = list(processor(text=[text], images=shown or None)["input_ids"][0])
    talk.ids += ids
    talk.own += [False] * len(ids)
    talk.images += shown


# 2. Rollouts and their log-probabilities.


@torch.no_grad()
def roll_out(loaded: LoadedModel, talk: Conversation, environment: LookEnvironment, max_new_tokens: int) -> None:
    """Turns of model and environment, until the model answers or has written ``max_new_tokens`` tokens."""
    model: Any = loaded.model
    while (left := max_new_tokens - sum(talk.own)) > 0:
        made = model.generate(
            **talk.inputs(loaded.processor), max_new_tokens=left, do_sample=True,
            temperature=1.0, top_k=0, top_p=1.0, suppress_tokens=forbidden_tokens(loaded.tokenizer, loaded.family),
            stop_strings=["</look>"], tokenizer=loaded.tokenizer,
        )  # fmt: skip
        say(loaded, talk, made[0, len(talk.ids) :].tolist())
        answer = environment.answer(talk.turns)
        if answer is None or sum(talk.own) >= max_new_tokens:
            return
        reply(loaded, talk, answer)


def log_probs(loaded: LoadedModel, talk: Conversation) -> torch.Tensor:
    """Of the tokens that the model wrote, in order, given everything before each of them."""
    model: Any = loaded.model
    logits = model(**talk.inputs(loaded.processor)).logits[0, talk.begin - 1 : -1]  # each is about the NEXT token
    said = torch.tensor(talk.ids[talk.begin :])
    return logits.float().log_softmax(-1).gather(-1, said[:, None])[torch.tensor(talk.own), 0]


# 3. The update.


def grpo_loss(new: list[torch.Tensor], old: list[torch.Tensor], rewards_G: torch.Tensor) -> torch.Tensor:
    """The clipped surrogate, averaged over all written tokens of the group; advantages are relative to the group."""
    advantages = (rewards_G - rewards_G.mean()) / (rewards_G.std() + 1e-4)
    gains = []
    for now, before, advantage in zip(new, old, advantages, strict=True):
        ratio = torch.exp(now - before)
        gains.append(torch.min(ratio * advantage, ratio.clamp(1 - CLIP_LOW, 1 + CLIP_HIGH) * advantage))
    return -torch.cat(gains).mean()


def update(loaded: LoadedModel, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """One step with the gradient's norm held below 1."""
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(loaded.model.parameters(), 1.0)
    optimizer.step()


def warm_up(loaded: LoadedModel, items: list[Any], budget: LookBudget, steps: int) -> None:
    """Supervised fine-tuning on written completions: look at the target, then answer. The crop itself is not learnt."""
    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=2e-3)
    losses: list[torch.Tensor] = []
    for step in range(steps):
        losses = []
        for sample, images in [items[(4 * step + k) % len(items)] for k in range(4)]:
            talk, places = begin(loaded, sample, images, budget), LookEnvironment(images, loaded.family, budget)
            target = sample.targets[0]
            thinking = f"A closer look.{look_markup(target.image, target.box)}Here it is."
            text = write_completion(thinking, sample.targets, sample.sizes, loaded.family, limits=loaded.limits)
            for turn in split_turns(text):
                say(loaded, talk, loaded.tokenizer(turn)["input_ids"])
                if answer := places.answer(talk.turns):
                    reply(loaded, talk, answer)
            say(loaded, talk, [loaded.tokenizer.eos_token_id])
            losses.append(-log_probs(loaded, talk))
        update(loaded, optimizer, torch.cat(losses).mean())
    typer.echo(f"loss of the last written completions {torch.cat(losses).mean().item():.3f}")


def main(
    model: Annotated[str, typer.Option(help="Model folder or run folder; empty: a random tiny model.")] = "",
    group: Annotated[int, typer.Option(help="Completions of the prompt (G).")] = 6,
    max_looks: Annotated[int, typer.Option(help="Looks of a completion.")] = 2,
    warm_up_steps: Annotated[int, typer.Option(help="Supervised steps before, for a random model.")] = 100,
    max_new_tokens: int = 96,
    seed: int = 0,
) -> None:
    """Roll out one group with looks, score it, and take one step."""
    torch.manual_seed(seed)
    budget = LookBudget(max_looks=max_looks, crop_pixels=CROP)
    loaded = load_model(model, dtype="float32") if model else replace(tiny_model(), instructions="none")
    if not model:
        warm_up(loaded, list(iter_samples(("refer",), 64, split="train", config=WORLD)), budget, warm_up_steps)
    ((sample, images),) = iter_samples(("refer",), 1, split="rl", seed=seed, config=WORLD)
    environment = LookEnvironment(images, loaded.family, budget, loaded.limits)
    talks = [begin(loaded, sample, images, budget) for _ in range(group)]
    for talk in talks:
        roll_out(loaded, talk, environment, max_new_tokens)
    scores = [score(joined(talk.turns), sample, loaded.family, RewardConfig(), loaded.limits) for talk in talks]
    for talk, found in zip(talks, scores, strict=True):
        typer.echo(f"{found.total:.2f}  {len(talk.images) - len(images)} crops  {joined(talk.turns)!r}")
    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=1e-4, weight_decay=0.0)
    new = [log_probs(loaded, talk) for talk in talks]
    loss = grpo_loss(new, [logs.detach() for logs in new], torch.tensor([found.total for found in scores]))
    update(loaded, optimizer, loss)
    typer.echo(f"loss {loss.item():+.4f} over {sum(sum(talk.own) for talk in talks)} tokens of the model")


if __name__ == "__main__":
    typer.run(main)

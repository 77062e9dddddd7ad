"""Prompts with images of several sizes, ragged groups of completions, and the slow way to score them."""

from __future__ import annotations

import inspect
import random
from collections.abc import Collection, Sequence
from typing import Any

import torch
from PIL import Image

from fakes.tiny import tiny_pair
from mirg.families import PixelLimits
from mirg.models.load import LoadedModel, wrap
from mirg.models.packing import enable_packed_forward
from mirg.models.prompts import Branch, Prompt, encode

SIZES = ((56, 56), (112, 56), (56, 140), (84, 84))
Groups = list[list[list[int]]]


def tiny_loaded(kind: str, **changes: Any) -> LoadedModel:
    """A random model that keeps the sizes of its images, ready for packed rows."""
    model, processor = tiny_pair(kind, **changes)
    loaded = wrap(model, processor, path="", limits=PixelLimits(56 * 56, 160 * 160))
    enable_packed_forward(loaded.model)
    return loaded


def prompts(loaded: LoadedModel, images: Sequence[int] = (2, 3, 1, 0), seed: int = 0) -> list[Prompt]:
    """One prompt for each number of ``images``, with images of different sizes and texts of different lengths."""
    draw = random.Random(seed)
    made = []
    for number, count in enumerate(images):
        content: list[dict[str, Any]] = []
        for k in range(count):
            content += [{"type": "text", "text": f"Image-{k + 1}: "}, {"type": "image", "text": None}]
        content.append({"type": "text", "text": "red ring " * draw.randint(1, 6)})
        shown = [noise(draw.choice(SIZES), draw.random()) for _ in range(count)]
        made.append(encode(loaded.processor, [{"role": "user", "content": content}], shown, f"p{number}"))
    return made


def noise(size: tuple[int, int], seed: float) -> Image.Image:
    """An image of random pixels."""
    return Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1]))


def completions(counts: Sequence[int], seed: int = 0, longest: int = 12) -> Groups:
    """Random token ids: ``counts[n]`` completions of 1 to ``longest`` tokens for prompt n."""
    draw = random.Random(seed)
    return [
        [[draw.randrange(20, 200) for _ in range(draw.randint(1, longest))] for _ in range(count)] for count in counts
    ]


class Showing:
    """An environment that shows an image after each of some tokens, at most ``most`` times, and then says so."""

    def __init__(self, loaded: LoadedModel, tokens: Collection[int], most: int = 2) -> None:
        self.loaded, self.tokens, self.most = loaded, set(tokens), most

    def pauses(self, ids: Sequence[int]) -> bool:
        return ids[-1] in self.tokens

    def reply(self, prompt: int, branch: Branch) -> Prompt | None:
        asked = sum(1 for own, after in zip(branch.own, [*branch.own[1:], False], strict=True) if own and not after)
        if not self.pauses(branch.ids) or asked > self.most + 1:
            return None
        size = SIZES[(prompt + asked) % len(SIZES)]
        return turn(self.loaded, noise(size, branch.ids[0] + asked) if asked <= self.most else None)


def turn(loaded: LoadedModel, image: Image.Image | None) -> Prompt:
    """A turn of the user with an image, or with a refusal, up to where the model continues."""
    shown: list[dict[str, Any]] = [{"type": "image", "text": None}] if image else []
    content = [{"type": "text", "text": "Image-1a: "}, *shown, {"type": "text", "text": " red ring"}]
    return encode(loaded.processor, [{"role": "user", "content": content}], [image] if image else [], "turn")


def looking(loaded: LoadedModel, looks: Sequence[Sequence[int]], seed: int = 0) -> list[list[Branch]]:
    """Random completions: ``looks[n][k]`` images are shown in the k-th completion of prompt n, after a refusal."""
    draw, made = random.Random(seed), []
    for numbers in looks:
        group = []
        for number in numbers:
            branch = Branch([])
            for k in range(number + 1):
                ids = [draw.randrange(20, 200) for _ in range(draw.randint(1, 6))]
                branch = branch.extended(ids, own=True)
                if k < number:
                    for image in [None, noise(SIZES[(k + number) % 4], draw.random())][k % 2 == 0 :]:
                        said = turn(loaded, image)
                        branch = branch.extended(said.ids, own=False, inputs=said.inputs)
            group.append(branch)
        made.append(group)
    return made


def one_by_one(loaded: LoadedModel, shown: Sequence[Prompt], groups: Sequence[Sequence[Any]]) -> torch.Tensor:
    """The slow reference: each completion with its own copy of the prompt, through the model's own forward pass."""
    model: Any = loaded.model
    scores = []
    for prompt, group in zip(shown, groups, strict=True):
        for said in group:
            branch = said if isinstance(said, Branch) else Branch([]).extended(said, own=True)
            whole = branch.after(prompt)
            tokens, own = torch.tensor([list(whole.ids)]), torch.tensor(branch.own)
            seen = dict(whole.inputs)
            if "mm_token_type_ids" in inspect.signature(type(model).forward).parameters:
                seen["mm_token_type_ids"] = (tokens == model.config.image_token_id).int()
            logits = model(input_ids=tokens, **seen).logits[0, len(prompt.ids) - 1 : -1][own]
            labels = torch.tensor(branch.ids)[own]
            scores.append(logits.float().log_softmax(-1).gather(-1, labels[:, None])[:, 0])
    return torch.cat(scores)

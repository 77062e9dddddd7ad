"""A tiny model with the head that its vision is read with: building it, saving it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from mirg.data.scenes.generate import corpus
from mirg.models.load import wrap
from mirg.models.tiny import GRID, MAX_IMAGES, TinyConfig, build_tiny
from research.perception.batches import Vocabulary
from research.perception.initial import (
    compose_names,
    initialise_alike,
    look_at_neighbours,
    match_same_words,
    order_coordinates,
)
from research.perception.names import ComposedNames
from research.perception.recipe import PerceptionRecipe
from research.perception.vision import VisionHead

# The words of the exercises that no question of the corpus has.
_WORDS = (
    "user\nassistant\nLocate: Point: Describe the images. Point to everything in Found: in none of the images. none."
)
_MORE_WORDS = "Name: Which image has: Describe Image- . Compare Image- and Image- . Same. Different."
_WORDY = ("locate", "describe", "point")  # exercises whose words are in the first list


@dataclass
class Eyes:
    """What the stages share: the model, its tokenizer facts, the head that vision is read with."""

    model: Any
    processor: Any
    config: TinyConfig
    head: VisionHead
    image_text: str
    vocabulary: Vocabulary
    label_ids: torch.Tensor  # "Image-k" at the start of a line of the prompt
    spoken_ids: torch.Tensor  # " Image-k" in running text
    owner: torch.nn.Linear
    index: dict[str, int]  # the place of a name among the head's
    composed: ComposedNames | None = None

    def compose(self) -> None:
        """After a change of the word embedding: make names sums again, where the recipe wants that."""
        if self.composed is not None:
            self.composed.apply(self.embedding)

    @property
    def readers(self) -> torch.nn.ModuleDict:
        """What is trained beside the model and thrown away at the end."""
        return torch.nn.ModuleDict({"head": self.head, "owner": self.owner})

    @property
    def embedding(self) -> torch.Tensor:
        """The word embedding, (vocabulary, width); the output layer shares it."""
        return self.model.get_input_embeddings().weight


def config_of(recipe: PerceptionRecipe) -> TinyConfig:
    """The sizes of the recipe's model: those that it names, its world's images, its seed."""
    return TinyConfig(**{"image_side": recipe.world.side, "seed": recipe.seed, **recipe.tiny})


def new_eyes(recipe: PerceptionRecipe) -> Eyes:
    """A model without eyesight; :mod:`research.perception.initial` says how embeddings and vision tower start."""
    config = config_of(recipe)
    names = recipe.world.vocabulary
    drafts = corpus(seed=recipe.seed, n=400, config=recipe.world, tasks=recipe.tasks)
    texts = [text.replace("Image-", "Image- ") for text in drafts]
    texts = [text.replace("</box>", ").").replace("<box image=", "(0,0),(0,0). (") for text in texts]
    words = _WORDS if set(recipe.exercises) <= set(_WORDY) else f"{_WORDS}\n{_MORE_WORDS}"
    model, processor = build_tiny(config, corpus=[*texts, *[words] * 400], names=names)
    tokenizer: Any = processor.tokenizer  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(recipe.seed)
    embedding = cast(torch.nn.Embedding, model.get_input_embeddings()).weight
    compose_names(embedding, {n: tokenizer.convert_tokens_to_ids(f" {n}") for n in names}, generator)
    for k in range(1, MAX_IMAGES + 1):
        first, second = (tokenizer.convert_tokens_to_ids(token) for token in (f"Image-{k}", f" Image-{k}"))
        initialise_alike(embedding, first, second, generator)
    order_coordinates(embedding, [tokenizer.convert_tokens_to_ids(str(c)) for c in GRID], generator)
    look_at_neighbours(model.model.visual, generator)
    match_same_words(model.model.language_model)
    eyes = eyes_of(model, processor, config, recipe)
    eyes.compose()
    return eyes


def eyes_of(model: Any, processor: Any, config: TinyConfig, recipe: PerceptionRecipe) -> Eyes:
    """``model`` with a new head for the names of the recipe's world; its seed decides the head's weights."""
    loaded = wrap(model, processor, path="")
    tokenizer = loaded.tokenizer
    names = recipe.world.vocabulary
    name_ids = [tokenizer.convert_tokens_to_ids(f" {name}") for name in names]
    torch.manual_seed(recipe.seed)
    head = VisionHead(config.width, name_ids, [tokenizer.convert_tokens_to_ids(str(c)) for c in GRID])
    cells = (config.image_side // config.patch // 2) ** 2
    return Eyes(
        model=model,
        processor=processor,
        config=config,
        head=head,
        image_text="<|vision_start|>" + "<|image_pad|>" * cells + "<|vision_end|>",
        vocabulary=Vocabulary(tokenizer.pad_token_id, model.config.image_token_id),
        label_ids=torch.tensor([tokenizer.convert_tokens_to_ids(f"Image-{k}") for k in range(1, MAX_IMAGES + 1)]),
        spoken_ids=torch.tensor([tokenizer.convert_tokens_to_ids(f" Image-{k}") for k in range(1, MAX_IMAGES + 1)]),
        owner=torch.nn.Linear(config.width, MAX_IMAGES),
        index={name: k for k, name in enumerate(names)},
        composed=ComposedNames(names, name_ids, recipe.world.names) if recipe.composed_names else None,
    )


def save_eyes(eyes: Eyes, folder: Path) -> None:
    """Model and processor: what a finished run gives away."""
    folder.mkdir(parents=True, exist_ok=True)
    eyes.model.save_pretrained(folder)
    eyes.processor.save_pretrained(folder)

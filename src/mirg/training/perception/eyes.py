"""A tiny model with the head that its vision is read with: building it, saving it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from mirg.models.load import wrap
from mirg.models.tiny import GRID, MAX_IMAGES, TinyConfig, build_tiny
from mirg.scenes.corpus import corpus
from mirg.scenes.objects import NAMES
from mirg.training.checkpoints import seal
from mirg.training.perception.batches import Vocabulary
from mirg.training.perception.initial import (
    compose_names,
    liken,
    look_at_neighbours,
    match_same_words,
    order_coordinates,
)
from mirg.training.perception.vision import VisionHead
from mirg.training.recipe import PerceptionRecipe

HEAD_FILE = "head.safetensors"
# The words of the exercises that no question of the corpus has.
_WORDS = (
    "user\nassistant\nLocate: Point: Describe the images. Point to everything in Found: in none of the images. none."
)


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

    @property
    def readers(self) -> torch.nn.ModuleDict:
        """What is trained beside the model and thrown away at the end."""
        return torch.nn.ModuleDict({"head": self.head, "owner": self.owner})

    @property
    def embedding(self) -> torch.Tensor:
        """The word embedding, (vocabulary, width); the output layer shares it."""
        return self.model.get_input_embeddings().weight


def new_eyes(recipe: PerceptionRecipe) -> Eyes:
    """A model without eyesight; :mod:`mirg.training.perception.initial` says how embeddings and vision tower start."""
    config = TinyConfig(**{"image_side": recipe.world.side, "seed": recipe.seed, **recipe.tiny})
    texts = [text.replace("Image-", "Image- ") for text in corpus(seed=recipe.seed, n=400, config=recipe.world)]
    texts = [text.replace("</box>", ").").replace("<box image=", "(0,0),(0,0). (") for text in texts]
    model, processor = build_tiny(config, corpus=[*texts, *[_WORDS] * 400], names=NAMES)
    tokenizer: Any = processor.tokenizer  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(recipe.seed)
    embedding = cast(torch.nn.Embedding, model.get_input_embeddings()).weight
    compose_names(embedding, {n: tokenizer.convert_tokens_to_ids(f" {n}") for n in NAMES}, generator)
    for k in range(1, MAX_IMAGES + 1):
        first, second = (tokenizer.convert_tokens_to_ids(token) for token in (f"Image-{k}", f" Image-{k}"))
        liken(embedding, first, second, generator)
    order_coordinates(embedding, [tokenizer.convert_tokens_to_ids(str(c)) for c in GRID], generator)
    look_at_neighbours(model.model.visual, generator)
    match_same_words(model.model.language_model)
    return eyes_of(model, processor, config, recipe.seed)


def eyes_of(model: Any, processor: Any, config: TinyConfig, seed: int) -> Eyes:
    """``model`` with a new head; ``seed`` decides the head's weights."""
    loaded = wrap(model, processor, path="")
    tokenizer = loaded.tokenizer
    torch.manual_seed(seed)
    head = VisionHead(
        config.width,
        [tokenizer.convert_tokens_to_ids(f" {name}") for name in NAMES],
        [tokenizer.convert_tokens_to_ids(str(c)) for c in GRID],
    )
    cells = (config.image_side // config.patch // 2) ** 2
    image_text = "<|vision_start|>" + "<|image_pad|>" * cells + "<|vision_end|>"
    vocabulary = Vocabulary(tokenizer.pad_token_id, model.config.image_token_id)
    labels = torch.tensor([tokenizer.convert_tokens_to_ids(f"Image-{k}") for k in range(1, MAX_IMAGES + 1)])
    spoken = torch.tensor([tokenizer.convert_tokens_to_ids(f" Image-{k}") for k in range(1, MAX_IMAGES + 1)])
    owner = torch.nn.Linear(config.width, len(labels))
    return Eyes(model, processor, config, head, image_text, vocabulary, labels, spoken, owner)


def save_eyes(eyes: Eyes, folder: Path) -> None:
    """Model and processor: what a finished run gives away."""
    folder.mkdir(parents=True, exist_ok=True)
    eyes.model.save_pretrained(folder)
    eyes.processor.save_pretrained(folder)


def save_checkpoint(eyes: Eyes, folder: Path) -> None:
    """Everything to go on from: model, processor and readers, complete once sealed. What lay there before goes."""
    from safetensors.torch import save_file

    shutil.rmtree(folder, ignore_errors=True)
    save_eyes(eyes, folder)
    save_file({k: v.contiguous() for k, v in eyes.readers.state_dict().items()}, folder / HEAD_FILE)
    seal(folder)

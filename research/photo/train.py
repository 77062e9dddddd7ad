"""From a recipe to a model folder: the tower, then the language model.

Every batch is a pure function of (seed, stage, step). A run that was stopped continues from its last saved step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from mirg.console import logger
from mirg.models.tiny import GRID, MAX_IMAGES, TinyConfig, build_tiny
from mirg.models.vision import pack_vision_attention, patches_by_product
from mirg.storage import sole_writer
from mirg.training.run import Progress, RunFolder
from research.perception.initial import initialise_alike, look_at_neighbours, order_coordinates
from research.perception.optimise import Optimiser, autocast
from research.photo.corpus import corpus
from research.photo.language import (
    END_LAYER,
    LanguageReaders,
    draw_batch,
    language_loss,
    match_same_places,
    read_by_label,
)
from research.photo.pictures import read_photos, render
from research.photo.recipe import PhotoRecipe
from research.photo.teacher import Teacher
from research.photo.tower import TowerReaders, draw_pairs, pair_loss, see, teacher_loss

_HELD_OUT = 48  # pairs, and exercises, of photographs that are only measured on
_SMOOTHING = 0.95
Photos = Sequence[Image.Image]
Measured = tuple[torch.Tensor, dict[str, float]]  # a loss, and what to log


def train_photo(recipe: PhotoRecipe, output: str | Path) -> Path:
    """Run both stages and return the model folder; a finished run returns at once."""
    run = RunFolder.open(output, recipe)
    if run.finished:
        run.refuse_damaged_model()
        return run.model
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    with sole_writer(run.path):
        photos, held_out = read_photos(recipe.photos), read_photos(recipe.held_out)
        logger.info("%d photographs to learn from, %d to measure on", len(photos), len(held_out))
        config = TinyConfig.model_validate({"seed": recipe.seed, **recipe.tiny})
        model, processor = build_tiny(config, corpus=corpus(photos, recipe.seed), names=[])
        pack_vision_attention(model)
        patches_by_product(model.model.visual)
        state = _tower(recipe, run, model, config, photos, held_out)
        _language(recipe, run, model, processor, state, photos, held_out)
        run.close()

        def save(folder: Path) -> None:
            folder.mkdir(parents=True, exist_ok=True)
            model.save_pretrained(folder)
            processor.save_pretrained(folder)

        facts = {"seed": recipe.seed, "steps": recipe.tower_steps + recipe.language_steps}
        return run.save_model(save, facts | {"family": model.config.mirg_family, "instructions": "none"})


def _tower(
    recipe: PhotoRecipe, run: RunFolder, model: Any, config: TinyConfig, photos: Photos, held_out: Photos
) -> torch.Tensor:
    """Train the vision tower; returns the projection in which the same places are alike."""
    visual, readers = model.model.visual, TowerReaders(config.vision_width, config.width)
    look_at_neighbours(visual, torch.Generator().manual_seed(recipe.seed))
    teacher = Teacher(recipe.teacher) if recipe.teacher else None
    asked = draw_pairs(np.random.default_rng(99), held_out, _HELD_OUT) if held_out else None

    def loss(rng: np.random.Generator) -> Measured:
        found, measured = pair_loss(visual, readers, draw_pairs(rng, photos, recipe.tower_batch), photos)
        if teacher is not None:
            views, features = teacher.draw(rng, recipe.teacher_batch)
            gap, measured["teacher"] = teacher_loss(visual, readers, views, features)
            found = found + recipe.teacher_weight * gap
        return found, measured

    stage = Stage(run, recipe, "tower", recipe.tower_steps, 0, {"visual": visual, "readers": readers})
    stage.train(recipe.tower_learning_rate, loss, asked and (lambda: pair_loss(visual, readers, asked, held_out)))
    return readers.same.weight.detach()


def _language(
    recipe: PhotoRecipe,
    run: RunFolder,
    model: Any,
    processor: Any,
    same: torch.Tensor,
    photos: Photos,
    held_out: Photos,
) -> None:
    """Train the language model and the merger of the visual tokens; the rest of the tower is not trained any more."""
    tokenizer = processor.tokenizer
    prepare_language(model, tokenizer, same, photos, recipe.seed)
    readers = LanguageReaders(model.config.text_config.hidden_size)
    asked = draw_batch(np.random.default_rng(99), held_out, _HELD_OUT) if held_out else None

    def loss(rng: np.random.Generator) -> Measured:
        return language_loss(model, tokenizer, readers, draw_batch(rng, photos, recipe.language_batch), photos)

    modules = {"model": model, "readers": readers}
    stage = Stage(run, recipe, "language", recipe.language_steps, recipe.tower_steps, modules)
    model.train()
    rate = recipe.language_learning_rate
    stage.train(rate, loss, asked and (lambda: language_loss(model, tokenizer, readers, asked, held_out)))


class Stage:
    """The steps of one stage. What it trains is in ``NAME.safetensors`` of the run, written every few steps.

    A batch is a pure function of (seed, stage, step), so a run that was stopped ends with the same weights.
    """

    def __init__(
        self, run: RunFolder, recipe: PhotoRecipe, name: str, steps: int, offset: int, modules: dict[str, nn.Module]
    ) -> None:
        self._run, self._recipe, self._name, self._steps, self._offset = run, recipe, name, steps, offset
        self._path, self._modules = run.path / f"{name}.safetensors", modules

    def train(self, rate: float, loss: Callable[[np.random.Generator], Measured], held_out: Any) -> None:
        """Take the steps that are left; ``held_out``, if there is one, is measured whenever a line is logged."""
        optimiser = Optimiser(list(self._modules.values()), self._steps, rate)
        self._load(optimiser)
        progress, mean = Progress(self._name, self._steps, optimiser.done), dict[str, float]()
        while optimiser.done < self._steps:
            rng = np.random.default_rng((self._recipe.seed, 1 + (self._offset > 0), optimiser.done))
            with autocast(self._recipe.dtype):
                found, measured = loss(rng)
            optimiser.step(found)
            for key, value in measured.items():
                mean[key] = _SMOOTHING * mean.get(key, value) + (1 - _SMOOTHING) * value
            progress.step(optimiser.done, mean)
            last = optimiser.done == self._steps
            if last or optimiser.done % self._recipe.log_every == 0:
                with torch.no_grad(), autocast(self._recipe.dtype):
                    apart = held_out()[1] if held_out else {}
                self._run.log(self._offset + optimiser.done, mean | {f"held_out/{k}": v for k, v in apart.items()})
            if last or optimiser.done % self._recipe.save_every == 0:
                self._save(optimiser)

    def _save(self, optimiser: Optimiser) -> None:
        kept = {f"optimiser.{name}": tensor for name, tensor in optimiser.state().items()}
        for part, module in self._modules.items():  # the output layer of the model is its word embedding
            state = {name: tensor for name, tensor in module.state_dict().items() if not name.startswith("lm_head")}
            kept |= {f"{part}.{name}": tensor for name, tensor in state.items()}
        draft = self._path.with_suffix(".draft")
        save_file({name: t.contiguous() for name, t in kept.items()}, draft, metadata={"done": str(optimiser.done)})
        draft.replace(self._path)

    def _load(self, optimiser: Optimiser) -> None:
        done = 0
        if self._path.is_file():
            with safe_open(self._path, framework="pt") as opened:
                done = int((opened.metadata() or {})["done"])
            kept = load_file(self._path)
            for part, module in self._modules.items():
                module.load_state_dict(_part(kept, part), strict=False)
            optimiser.restore(_part(kept, "optimiser"), done)
        if done < self._steps:
            self._run.rewind(self._offset + done)


def _part(kept: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(f"{name}."): tensor for key, tensor in kept.items() if key.startswith(f"{name}.")}


@torch.no_grad()
def prepare_language(model: Any, tokenizer: Any, same: torch.Tensor, photos: Photos, seed: int) -> None:
    """Where the language model starts from, and what of the tower is trained with it."""
    generator, embedding = torch.Generator().manual_seed(seed), model.get_input_embeddings().weight
    ids = tokenizer.convert_tokens_to_ids
    order_coordinates(embedding, [ids(str(c)) for c in GRID], generator)
    for k in range(1, MAX_IMAGES + 1):
        initialise_alike(embedding, ids(f"Image-{k}"), ids(f" Image-{k}"), generator)
    visual = model.model.visual
    pictures = draw_pairs(np.random.default_rng(3), photos, 40).pictures
    tokens = torch.cat([see(visual, [render(picture, photos)]) for picture in pictures])
    scale = 1.0 / tokens.norm(dim=-1).mean()  # the length of a word's vector
    visual.merger.linear_fc2.weight.mul_(scale)
    visual.merger.linear_fc2.bias.mul_(scale)
    match_same_places(model.model.language_model, same, tokens * scale)
    read_by_label(model.model.language_model.layers, END_LAYER + 1)
    for name, weight in visual.named_parameters():
        weight.requires_grad_(name.startswith(("merger", "deepstack")))

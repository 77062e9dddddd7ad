"""From a recipe to a model folder: the tower, then the language model.

Every batch is a pure function of (seed, stage, step). A stage that is finished is not repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

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

TOWER_FILE = "tower.safetensors"
_HELD_OUT = 48  # pairs, and exercises, of photographs that are only measured on
_SMOOTHING = 0.95
Photos = Sequence[Image.Image]


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
    visual, path = model.model.visual, run.path / TOWER_FILE
    readers = TowerReaders(config.vision_width, config.width)
    if not path.is_file():
        look_at_neighbours(visual, torch.Generator().manual_seed(recipe.seed))
        optimiser = Optimiser([visual, readers], recipe.tower_steps, recipe.tower_learning_rate)
        teacher = Teacher(recipe.teacher) if recipe.teacher else None
        asked = draw_pairs(np.random.default_rng(99), held_out, _HELD_OUT) if held_out else None
        log = _Log(run, "tower", recipe.tower_steps, recipe.log_every)
        for step in range(recipe.tower_steps):
            rng = np.random.default_rng((recipe.seed, 1, step))
            pairs = draw_pairs(rng, photos, recipe.tower_batch)
            with autocast(recipe.dtype):
                loss, measured = pair_loss(visual, readers, pairs, photos)
                if teacher is not None:
                    views, features = teacher.draw(rng, recipe.teacher_batch)
                    gap, measured["teacher"] = teacher_loss(visual, readers, views, features)
                    loss = loss + recipe.teacher_weight * gap
            optimiser.step(loss)
            if log.due(measured) and asked is not None:
                with torch.no_grad(), autocast(recipe.dtype):
                    log.held_out(pair_loss(visual, readers, asked, held_out)[1])
        whole = {f"visual.{k}": v for k, v in visual.state_dict().items()} | {"same": readers.same.weight}
        save_file({name: tensor.detach().contiguous() for name, tensor in whole.items()}, path)
    kept = load_file(path)
    same = kept.pop("same")
    visual.load_state_dict({name.removeprefix("visual."): tensor for name, tensor in kept.items()})
    return same


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
    prepare_language(model, processor.tokenizer, same, photos, recipe.seed)
    readers = LanguageReaders(model.config.text_config.hidden_size)
    optimiser = Optimiser([model, readers], recipe.language_steps, recipe.language_learning_rate)
    asked = draw_batch(np.random.default_rng(99), held_out, _HELD_OUT) if held_out else None
    log = _Log(run, "language", recipe.language_steps, recipe.log_every, recipe.tower_steps)
    model.train()
    for step in range(recipe.language_steps):
        batch = draw_batch(np.random.default_rng((recipe.seed, 2, step)), photos, recipe.language_batch)
        with autocast(recipe.dtype):
            loss, measured = language_loss(model, processor.tokenizer, readers, batch, photos)
        optimiser.step(loss)
        if log.due(measured) and asked is not None:
            with torch.no_grad(), autocast(recipe.dtype):
                log.held_out(language_loss(model, processor.tokenizer, readers, asked, held_out)[1])


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


class _Log:
    """Smoothed measurements of a stage, written every few steps."""

    def __init__(self, run: RunFolder, stage: str, steps: int, every: int, offset: int = 0) -> None:
        self._run, self._every, self._offset, self._steps = run, every, offset, steps
        self._progress = Progress(stage, steps, 0)
        self._mean: dict[str, float] = {}
        self._done = 0

    def due(self, measured: dict[str, float]) -> bool:
        """Take in one step; whether its values were written."""
        for key, value in measured.items():
            self._mean[key] = _SMOOTHING * self._mean.get(key, value) + (1 - _SMOOTHING) * value
        self._done += 1
        self._progress.step(self._done, self._mean)
        if self._done % self._every and self._done != self._steps:
            return False
        self._run.log(self._offset + self._done, dict(self._mean))
        return True

    def held_out(self, measured: dict[str, float]) -> None:
        """Write what was measured on photographs that are not learnt from."""
        self._run.log(self._offset + self._done, {f"held_out/{key}": value for key, value in measured.items()})

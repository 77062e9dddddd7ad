"""The three stages of perception, each a plain loop: vision, look-up, locate.

Every batch is a pure function of (seed, stage, step, curriculum level), so the same recipe gives the same model. A finished stage is
kept as a checkpoint, and a run that was stopped starts again at the stage it was in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mirg.console import logger
from mirg.frames import family
from mirg.models.load import load_model, wrap
from mirg.models.tiny import GRID, MAX_IMAGES, TINY_FAMILY, TinyConfig, build_tiny
from mirg.scenes.corpus import corpus
from mirg.scenes.objects import NAMES
from mirg.scenes.render import render
from mirg.scenes.world import Scene, WorldConfig, sample_scene
from mirg.training.perception.batches import IGNORED, Vocabulary, pixel_values, token_batch
from mirg.training.perception.exercises import (
    LEVELS,
    POINT_LEVELS,
    Exercise,
    Part,
    check,
    describe,
    locate,
    look_up,
    point,
)
from mirg.training.perception.initial import (
    compose_names,
    liken,
    look_at_neighbours,
    match_same_words,
    order_coordinates,
)
from mirg.training.perception.vision import VisionHead, cell_targets
from mirg.training.recipe import PerceptionRecipe
from mirg.training.run import Progress, RunFolder

_INDEX = {name: k for k, name in enumerate(NAMES)}
# Vision curriculum: most objects in an image, their sides, textured or not. The last level is the recipe's world.
_EASY_VISION = ((1, (0.45, 0.7)), (2, (0.35, 0.6)))
_VISION_PASS, _POINT_PASS, _LOOKUP_PASS, _LOCATE_PASS = 0.75, 0.85, 0.93, 0.9
_USER = "<|im_start|>user\n"
_SMOOTHING = 0.95
_OWNER_LAYER, _OWNER_WEIGHT = 0, 0.3


Stage = tuple[str, Callable[["Eyes", PerceptionRecipe, RunFolder, int], None], int]  # name, loop, steps


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
    def embedding(self) -> torch.Tensor:
        return self.model.get_input_embeddings().weight


def train_perception(recipe: PerceptionRecipe, output: str | Path) -> Path:
    """Run all stages and return the model folder; a finished run returns at once."""
    run = RunFolder.open(output, recipe)
    if run.finished:
        logger.info("perception is finished: %s", run.model)
        return run.model
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    stages = _stages(recipe)
    eyes, done = _resume(recipe, run, stages)
    offset = 0
    for number, (name, stage, steps) in enumerate(stages):
        if number >= done:
            stage(eyes, recipe, run, offset)
            _save(eyes, run.checkpoints / name)
        offset += steps
    run.close()
    return run.save_model(lambda folder: _save(eyes, folder), {"seed": recipe.seed, "steps": offset})


def _stages(recipe: PerceptionRecipe) -> list[Stage]:
    stages: list[Stage] = [
        ("vision", _vision_stage, recipe.vision_steps),
        ("point", _point_stage, recipe.point_steps),
        ("look-up", _lookup_stage, recipe.lookup_steps),
        ("locate", _locate_stage, recipe.locate_steps),
    ]
    return [stage for stage in stages if stage[2]]


def new_eyes(recipe: PerceptionRecipe) -> Eyes:
    """A model without eyesight, its embeddings and vision tower set as ``mirg.training.perception.initial`` describes."""
    config = TinyConfig(**{"image_side": recipe.world.side, "seed": recipe.seed, **recipe.tiny})
    texts = [text.replace("Image-", "Image- ") for text in corpus(seed=recipe.seed, n=400, config=recipe.world)]
    extra = ["user\nassistant\nLocate: Check: Describe. yes; no; none none; none. (0,0),(0,0). (0,0); yes."] * 400
    model, processor = build_tiny(config, corpus=[*texts, *extra], names=NAMES)
    tokenizer: Any = processor.tokenizer  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(recipe.seed)
    embedding = model.get_input_embeddings().weight
    compose_names(embedding, {n: tokenizer.convert_tokens_to_ids(f" {n}") for n in NAMES}, generator)
    for k in range(1, MAX_IMAGES + 1):
        same = [tokenizer.convert_tokens_to_ids(token) for token in (f"Image-{k}", f" Image-{k}")]
        liken(embedding, *same, generator)
    order_coordinates(embedding, [tokenizer.convert_tokens_to_ids(str(c)) for c in GRID], generator)
    look_at_neighbours(model.model.visual, generator)
    match_same_words(model.model.language_model)
    return _eyes(model, processor, config, recipe.seed)


def _eyes(model: Any, processor: Any, config: TinyConfig, seed: int) -> Eyes:
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


def _resume(recipe: PerceptionRecipe, run: RunFolder, stages: Sequence[Stage]) -> tuple[Eyes, int]:
    """The eyes as the last finished stage left them, and how many stages that is."""
    from safetensors.torch import load_file

    for done in range(len(stages), 0, -1):
        folder = run.checkpoints / stages[done - 1][0]
        if (folder / "head.safetensors").is_file():
            loaded = load_model(str(folder))
            eyes = _eyes(loaded.model, loaded.processor, new_eyes(recipe).config, recipe.seed)
            eyes.head.load_state_dict(load_file(folder / "head.safetensors"))
            run.rewind(sum(steps for _, _, steps in stages[:done]))
            return eyes, done
    run.rewind(0)
    return new_eyes(recipe), 0


def _save(eyes: Eyes, folder: Path) -> None:
    """``head.safetensors`` comes last: it marks the checkpoint as complete."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    eyes.model.save_pretrained(folder)
    eyes.processor.save_pretrained(folder)
    if folder.parent.name == "checkpoints":
        save_file({k: v.contiguous() for k, v in eyes.head.state_dict().items()}, folder / "head.safetensors")


def autocast(dtype: str) -> torch.autocast:
    """Products in ``dtype`` with float32 weights; "auto" is bfloat16 where the CPU multiplies it in hardware."""
    fast = dtype == "bfloat16" or (dtype == "auto" and torch.cpu._is_avx512_bf16_supported())
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast)


class Optimiser:
    """Muon for matrices, AdamW for the rest (Jordan et al. 2024; both from torch), with warm-up and linear decay."""

    def __init__(self, modules: Sequence[torch.nn.Module], steps: int, learning_rate: float) -> None:
        named = {id(p): (n, p) for m in modules for n, p in m.named_parameters() if p.requires_grad}
        matrices = [p for n, p in named.values() if p.ndim == 2 and "embed" not in n]
        rest = [p for n, p in named.values() if not (p.ndim == 2 and "embed" not in n)]
        self.parameters = [*matrices, *rest]
        muon = torch.optim.Muon(matrices, lr=10 * learning_rate, momentum=0.95, weight_decay=0.01)
        adam = torch.optim.AdamW(rest, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
        self._optimisers = [muon, adam]

        def scale(step: int) -> float:
            return min(1.0, (step + 1) / 30) * max(0.02, 1 - step / steps)

        self._schedules = [torch.optim.lr_scheduler.LambdaLR(o, scale) for o in self._optimisers]

    def step(self, loss: torch.Tensor) -> float:
        """One update; returns the gradient norm before clipping at 1. A loss that is not finite updates nothing."""
        for optimiser in self._optimisers:
            optimiser.zero_grad()
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, 1.0))
        if np.isfinite(norm):
            for optimiser in self._optimisers:
                optimiser.step()
        for schedule in self._schedules:
            schedule.step()
        return norm


class Curriculum:
    """The next level once the smoothed accuracy of this one passes ``goal``."""

    def __init__(self, levels: int, goal: float) -> None:
        self.level, self.last, self.goal = 0, levels - 1, goal
        self.accuracy = 0.0

    def draw(self, rng: np.random.Generator) -> int:
        """The level of one exercise: mostly the present one, the rest from all below, so that nothing is forgotten."""
        return self.level if rng.random() < 0.75 else int(rng.integers(self.level + 1))

    def update(self, accuracy: float) -> None:
        """Take in the accuracy of one batch."""
        self.accuracy = _SMOOTHING * self.accuracy + (1 - _SMOOTHING) * accuracy
        if self.accuracy >= self.goal and self.level < self.last:
            self.level += 1
            self.accuracy = 0.0


def _vision_stage(eyes: Eyes, recipe: PerceptionRecipe, run: RunFolder, offset: int) -> None:
    optimiser = Optimiser([eyes.model.model.visual, eyes.head, eyes.model.get_input_embeddings()], recipe.vision_steps, recipe.vision_learning_rate)
    curriculum = Curriculum(len(_EASY_VISION) + 1, _VISION_PASS)
    progress = Progress("vision", recipe.vision_steps)
    eyes.model.train()
    for step in range(recipe.vision_steps):
        rng = np.random.default_rng((recipe.seed, 11, step, curriculum.level))
        scenes = [_vision_scene(rng, recipe.world, curriculum.level) for _ in range(recipe.vision_batch)]
        with autocast(recipe.dtype):
            loss, measured = _seen(eyes, scenes)
        norm = optimiser.step(loss)
        curriculum.update(measured["vision/named"])
        values = {"loss": loss.item(), "grad_norm": norm, **measured, "level": curriculum.level}
        _note(run, progress, recipe, offset, step, values)


def _vision_scene(rng: np.random.Generator, world: WorldConfig, level: int) -> Scene:
    if level < len(_EASY_VISION):
        most, (low, high) = _EASY_VISION[level]
        return sample_scene(rng, None, int(rng.integers(1, most + 1)), min_side=low, max_side=high, textures=("plain",), side=world.side)
    count = int(rng.integers(world.objects[0], world.objects[1] + 1))
    low, high = world.object_side
    return sample_scene(
        rng, None, count, min_side=low, max_side=high, textures=world.textures, clutter=world.clutter,
        max_overlap=world.max_overlap, backgrounds=world.backgrounds, side=world.side,
    )  # fmt: skip


def _pixels(eyes: Eyes, scenes: Sequence[Scene]) -> tuple[torch.Tensor, torch.Tensor]:
    side = eyes.config.image_side
    return pixel_values(np.stack([np.asarray(render(scene, (side, side))) for scene in scenes]), eyes.config.patch)


def _seen(eyes: Eyes, scenes: Sequence[Scene]) -> tuple[torch.Tensor, dict[str, float]]:
    pixels, grid = _pixels(eyes, scenes)
    return _read_tokens(eyes, eyes.model.model.visual(pixels, grid_thw=grid, return_dict=True).pooler_output, scenes)


def _read_tokens(eyes: Eyes, tokens: torch.Tensor, scenes: Sequence[Scene]) -> tuple[torch.Tensor, dict[str, float]]:
    cells = eyes.config.image_side // eyes.config.patch // 2
    labels, boxes = cell_targets(scenes, cells, _INDEX)
    return eyes.head(tokens, eyes.embedding, torch.from_numpy(labels), torch.from_numpy(boxes))


def _lookup_stage(eyes: Eyes, recipe: PerceptionRecipe, run: RunFolder, offset: int) -> None:
    optimiser = Optimiser([eyes.model.model.language_model, eyes.owner], recipe.lookup_steps, recipe.learning_rate)
    curriculum = Curriculum(len(LEVELS), _LOOKUP_PASS)
    progress = Progress("look-up", recipe.lookup_steps)
    for step in range(recipe.lookup_steps):
        rng = np.random.default_rng((recipe.seed, 12, step, curriculum.level))
        batch = [look_up(rng, curriculum.draw(rng)) for _ in range(3 * recipe.batch_size)]
        with autocast(recipe.dtype):
            loss, measured = _answered(eyes, batch, train_vision=False)
        norm = optimiser.step(loss)
        curriculum.update(measured["image_accuracy"])
        _note(run, progress, recipe, offset, step, {"loss": loss.item(), "grad_norm": norm, **measured, "level": curriculum.level})


def _point_stage(eyes: Eyes, recipe: PerceptionRecipe, run: RunFolder, offset: int) -> None:
    optimiser = Optimiser([eyes.model, eyes.head, eyes.owner], recipe.point_steps, recipe.learning_rate)
    curriculum = Curriculum(POINT_LEVELS, _POINT_PASS)
    progress = Progress("point", recipe.point_steps)
    tiny = family(TINY_FAMILY)
    for step in range(recipe.point_steps):
        rng = np.random.default_rng((recipe.seed, 14, step, curriculum.level))
        batch = [point(rng, curriculum.draw(rng), recipe.world, tiny) for _ in range(3 * recipe.batch_size)]
        with autocast(recipe.dtype):
            loss, measured = _answered(eyes, batch, train_vision=True)
        norm = optimiser.step(loss)
        curriculum.update(measured["near"])
        values = {"loss": loss.item(), "grad_norm": norm, **measured, "level": curriculum.level}
        _note(run, progress, recipe, offset, step, values)


def _locate_stage(eyes: Eyes, recipe: PerceptionRecipe, run: RunFolder, offset: int) -> None:
    optimiser = Optimiser([eyes.model, eyes.head, eyes.owner], recipe.locate_steps, recipe.learning_rate)
    curriculum = Curriculum(len(LEVELS), _LOCATE_PASS)
    progress = Progress("locate", recipe.locate_steps)
    kinds = (locate, check, describe, check)
    tiny = family(TINY_FAMILY)
    for step in range(recipe.locate_steps):
        rng = np.random.default_rng((recipe.seed, 13, step, curriculum.level))
        batch = [kinds[k % len(kinds)](rng, curriculum.draw(rng), recipe.world, tiny) for k in range(recipe.batch_size)]
        with autocast(recipe.dtype):
            loss, measured = _answered(eyes, batch, train_vision=True)
        norm = optimiser.step(loss)
        curriculum.update(measured["image_accuracy"])
        _note(run, progress, recipe, offset, step, {"loss": loss.item(), "grad_norm": norm, **measured, "level": curriculum.level})


def _answered(eyes: Eyes, batch: Sequence[Exercise], *, train_vision: bool) -> tuple[torch.Tensor, dict[str, float]]:
    """Loss of the completions (and of the visual tokens), and how many image labels were told rightly."""
    tokenizer = eyes.processor.tokenizer
    texts = [f"{_USER}{_text(eyes, e.parts)}<|im_end|>\n<|im_start|>assistant\n" for e in batch]
    prompts = tokenizer(texts)["input_ids"]
    completions = tokenizer([f" {e.completion}<|im_end|>" for e in batch])["input_ids"]
    inputs = token_batch(prompts, completions, eyes.vocabulary)
    labels = inputs.pop("labels")[:, 1:]
    scenes = [part for e in batch for part in e.parts if isinstance(part, Scene)]
    vision: dict[str, Any] = {}
    extra, measured = torch.zeros(()), {}
    if scenes:
        pixels, grid = _pixels(eyes, scenes)
        caught: list[torch.Tensor] = []
        handle = eyes.model.model.visual.register_forward_hook(lambda _m, _i, out: caught.append(out.pooler_output))
        vision = {"pixel_values": pixels, "image_grid_thw": grid}
    hidden: list[torch.Tensor] = []
    layer = eyes.model.model.language_model.layers[_OWNER_LAYER]
    reader = layer.register_forward_hook(lambda _m, _i, out: hidden.append(out if isinstance(out, torch.Tensor) else out[0]))
    logits = eyes.model(**inputs, **vision).logits[:, :-1]
    reader.remove()
    bodies = torch.tensor([len(ids) for ids in tokenizer([_USER + _text(eyes, e.parts[:-1]) for e in batch])["input_ids"]])
    owned = _owner_loss(eyes, inputs["input_ids"], hidden[0], bodies)
    if scenes:
        handle.remove()
        if train_vision:
            extra, measured = _read_tokens(eyes, caught[0], scenes)
    wanted = labels != IGNORED
    loss = torch.nn.functional.cross_entropy(logits[wanted], labels[wanted])
    with torch.no_grad():
        right = logits[wanted].argmax(-1) == labels[wanted]
        named = torch.isin(labels[wanted], eyes.spoken_ids)
        measured["token_accuracy"] = right.float().mean().item()
        places = torch.isin(labels[wanted], eyes.head.coordinate_ids)
        if places.any():
            measured["near"] = _near(eyes, logits[wanted][places], labels[wanted][places])
        measured["image_accuracy"] = right[named].float().mean().item() if named.any() else 0.0
    return loss + extra + _OWNER_WEIGHT * owned, measured


def _near(eyes: Eyes, logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of coordinates told at most one step off."""
    said = logits[:, eyes.head.coordinate_ids].argmax(-1)
    true = (labels[:, None] == eyes.head.coordinate_ids).long().argmax(-1)
    return ((said - true).abs() <= 1).float().mean().item()


def _text(eyes: Eyes, parts: Sequence[Part]) -> str:
    return "".join(part if isinstance(part, str) else eyes.image_text for part in parts)


def _owner_loss(eyes: Eyes, ids: torch.Tensor, hidden: torch.Tensor, bodies: torch.Tensor) -> torch.Tensor:
    """Every content token of the prompt's first ``bodies`` tokens should know, early on, the label of its image."""
    table = torch.zeros(int(ids.max()) + 1 + int(eyes.label_ids.max()), dtype=torch.long)
    table[eyes.label_ids] = torch.arange(1, len(eyes.label_ids) + 1)
    places = torch.arange(ids.shape[1]).expand_as(ids)
    last = torch.where(table[ids] > 0, places, -1).cummax(dim=1).values
    label = torch.where(last >= 0, table[ids.gather(1, last.clamp(min=0))], 0)
    content = (torch.isin(ids, eyes.head.name_ids) | (ids == eyes.vocabulary.image)) & (label > 0)
    wanted = content & (places < bodies[:, None])
    return torch.nn.functional.cross_entropy(eyes.owner(hidden[wanted].float()), label[wanted] - 1)


def _note(run: RunFolder, progress: Progress, recipe: PerceptionRecipe, offset: int, step: int, values: dict[str, Any]) -> None:
    if step % recipe.log_every == 0:
        run.log(offset + step + 1, values)
    shown = {k.split("/")[-1]: v for k, v in values.items() if k != "grad_norm"}
    progress.step(step + 1, shown)

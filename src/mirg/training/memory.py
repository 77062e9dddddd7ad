"""How much memory a run will need, without loading its weights: what ``--dry-run`` prints under the recipe.

The weights are counted on the meta device, the longest prompts by what the dataset says about its images, and the
activations layer by layer (mirg.training.activations). A step has moments at which its memory may peak; the largest of
them is the estimate. It is that of one process that holds the whole model, every completion at full length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mirg.models.load import NARROW, LoadedModel, load_skeleton
from mirg.models.packing import LOGITS
from mirg.models.sampling import ROOM
from mirg.training.activations import (
    FLOAT,
    Decoder,
    Mode,
    Row,
    Tower,
    decoder_layer,
    encoding,
    ends,
    sizes,
    tower_layers,
)
from mirg.training.arguments import lora, world_size
from mirg.training.data import Length, longest_rows, row_lengths
from mirg.training.launch import resolve_dtype, with_limits
from mirg.training.recipe import GrpoRecipe, RunConfig, SftRecipe

AVERAGES = 2  # of AdamW, for every trained number
# Tiles in which TRL computes the logits of SFT: trl.kernels.chunked_logprob, and trl.trainer.utils.
TOKEN_CHUNK_SIZE, VOCABULARY_CHUNK = 4096, 32768


@dataclass(frozen=True)
class Weights:
    """Numbers of a model.

    Those of its base and its adapters; those that are trained, and of them those of the tower's layers; those that
    autocast copies.
    """

    base: int
    adapters: int
    trained: int
    tower: int
    cast: int


@dataclass(frozen=True)
class Estimate:
    """Bytes of each part at each moment; ``longest`` are the prompts that it was made for, the longest first."""

    moments: dict[str, dict[str, int]]
    longest: list[Length]
    weights: Weights
    device: str

    @property
    def moment(self) -> str:
        """The moment that needs most."""
        return max(self.moments, key=lambda name: sum(self.moments[name].values()))

    @property
    def peak(self) -> int:
        """Bytes at that moment."""
        return sum(self.moments[self.moment].values())


def estimate(recipe: SftRecipe | GrpoRecipe) -> Estimate:
    """The estimate of a recipe on this machine; MirgError if its model or its data cannot be read."""
    loaded = with_limits(load_skeleton(recipe.model, family_name=recipe.prompt.family), recipe.prompt)
    return estimate_of(recipe, loaded, row_lengths(recipe, loaded), "cuda" if torch.cuda.is_available() else "cpu")


def estimate_of(
    recipe: SftRecipe | GrpoRecipe, loaded: LoadedModel, lengths: Sequence[Length], device: str
) -> Estimate:
    """The estimate for rows of ``lengths``; of ``loaded``, which gets adapters where the recipe has them, only sizes.

    The moments of GRPO that is not packed are without activations.
    """
    recipe = resolve_dtype(recipe)
    decoder, tower = sizes(loaded.model)
    sft = isinstance(recipe, SftRecipe)
    mode = Mode(
        attention=("eager" if device == "cpu" and decoder.width <= NARROW else "sdpa") if sft else "packed",
        bf16=recipe.dtype == "bfloat16",
        rank=recipe.lora.rank,
        dropout=recipe.lora.dropout > 0,
        frozen=recipe.freeze_vision,
        checkpointing=recipe.gradient_checkpointing,
        device=device,
    )
    weights = count_weights(recipe, loaded.model)
    held = {
        "weights": weights.base * (mode.stream if mode.rank else FLOAT) + weights.adapters * FLOAT,
        "optimizer": weights.trained * AVERAGES * FLOAT,
    }
    if (recipe.processes or world_size()) > 1:
        held["exchange"] = weights.trained * FLOAT  # the buckets that gradients are averaged in
    moments = {"optimizer": held | {"gradients": weights.trained * FLOAT}}
    if isinstance(recipe, SftRecipe):
        longest = [lengths[row] for row in longest_rows(lengths, recipe.batch_size)]
        batch = Batch.padded(longest, recipe.accumulation, decoder, tower, mode)
        moments |= {name: held | parts for name, parts in update(decoder, tower, mode, batch, weights).items()}
        return Estimate(_without_zeros(moments), longest, weights, device)
    if recipe.beta and not mode.rank:
        held["reference"] = weights.base * FLOAT
    step = Step.of(recipe, lengths)
    if recipe.packed:
        moments["rollouts"] = held | rollouts(decoder, tower, mode, step)
        batch = Batch.packed(step, decoder, tower, mode)
        moments |= {name: held | parts for name, parts in update(decoder, tower, mode, batch, weights).items()}
    return Estimate(_without_zeros(moments), step.longest, weights, device)


def _without_zeros(moments: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {name: {part: size for part, size in parts.items() if size} for name, parts in moments.items()}


@dataclass(frozen=True)
class Step:
    """What a step of GRPO takes in one process: prompts that are rolled out, and those of a forward pass."""

    longest: list[Length]
    together: int
    group: int
    pieces: int  # the group may be larger than a forward pass takes
    branch: int
    passes: int

    @classmethod
    def of(cls, recipe: GrpoRecipe, lengths: Sequence[Length]) -> Step:
        """The step with the longest prompts."""
        completions = math.ceil(recipe.prompts_per_step * recipe.group_size / (recipe.processes or world_size()))
        micro = min(recipe.micro_batch or completions, completions)
        prompts = math.ceil(completions * recipe.admission.candidates / recipe.group_size)
        return cls(
            longest=[lengths[row] for row in longest_rows(lengths, prompts)],
            together=math.ceil(micro / recipe.group_size),
            group=recipe.group_size,
            pieces=min(recipe.group_size, micro),
            branch=recipe.max_new_tokens,
            passes=math.ceil(completions / micro),
        )


def count_weights(recipe: RunConfig, model: Any) -> Weights:
    """Count the weights as the recipe trains them; adapters are added to ``model``."""
    base = sum(p.numel() for p in model.parameters())
    visual = model.base_model.visual
    if recipe.freeze_vision:
        visual.requires_grad_(False)
    if recipe.lora.rank:
        from peft import get_peft_model

        model = get_peft_model(model, lora(recipe))
    trained = _trained(model.parameters())
    layers = (m for m in model.modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv3d))
    products: set[Any] = {layer.weight for layer in layers}  # tied weights once
    cast = _trained(products) if recipe.dtype == "bfloat16" else 0
    return Weights(base, trained if recipe.lora.rank else 0, trained, _trained(visual.blocks.parameters()), cast)


def _trained(parameters: Iterable[torch.Tensor]) -> int:
    return sum(p.numel() for p in parameters if p.requires_grad)


def rollouts(decoder: Decoder, tower: Tower, mode: Mode, step: Step) -> dict[str, int]:
    """Bytes while completions are drawn: all prompts are encoded in one row, then every completion grows by a token."""
    trunks = sum(length.tokens for length in step.longest)
    rows = len(step.longest) * step.group
    pair = 2 * decoder.keys * decoder.layers * mode.stream
    patches = [n * tower.merge for length in step.longest for n in length.images]
    widest = max(length.tokens for length in step.longest)
    seeing, reading = encoding(decoder, tower, mode, Row(len(step.longest), widest, 0, 0), patches)
    cache, room = trunks * pair, math.ceil(step.branch / ROOM) * ROOM
    # The branches' keys and values, one layer's before they grew, four tensors of scores and four of logits.
    branches = rows * (room * pair + (room - ROOM) * pair // decoder.layers)
    scores = rows * 4 * (decoder.heads * (widest + room) * mode.stream + decoder.vocabulary * FLOAT)
    return {
        "cache": cache,
        "pixels": _pixels(tower, mode, step, patches),
        # The tower is done before there is a cache.
        "temporary": max(seeing - cache, reading, branches + scores),
    }


@dataclass(frozen=True)
class Batch:
    """What one forward pass of an update takes: its row, the patches of each image, and bytes beside the layers."""

    row: Row
    images: list[int]
    passes: int  # of an optimiser step
    pixels: int  # bytes
    logits: int  # bytes, at the moment when most of them exist

    @classmethod
    def packed(cls, step: Step, decoder: Decoder, tower: Tower, mode: Mode) -> Batch:
        """Groups of GRPO that share their prompts."""
        shown = step.longest[: step.together]
        row = Row(len(shown), shown[0].tokens - 1, step.pieces, step.branch)
        images = [n * tower.merge for length in shown for n in length.images]
        # Of the logits, three tensors exist at a time, forward and backward.
        chunk = min(row.branches, max(LOGITS // (FLOAT * decoder.vocabulary), 1))
        logits = chunk * 3 * FLOAT * decoder.vocabulary
        return cls(row, images, step.passes, _pixels(tower, mode, step, images), logits)

    @classmethod
    def padded(cls, longest: list[Length], passes: int, decoder: Decoder, tower: Tower, mode: Mode) -> Batch:
        """The samples of an SFT batch, all padded to the longest.

        TRL computes logits in a tile as wide as its chunk of the vocabulary, even if the vocabulary is smaller: on a
        GPU for the answers' tokens, elsewhere for all tokens and with float32 copies.
        """
        row = Row(len(longest), longest[0].tokens, 0, 0)
        images = [n * tower.merge for length in longest for n in length.images]
        scored = sum(length.text for length in longest) if mode.fused else row.tokens
        rows, columns = min(scored, TOKEN_CHUNK_SIZE), min(decoder.vocabulary, VOCABULARY_CHUNK)
        # Counted in the backward pass: probabilities, their exponents, gradients; in bfloat16 also copies of operands.
        copies = 0 if mode.fused else FLOAT * columns * (7 if mode.bf16 else 3)
        logits = rows * (VOCABULARY_CHUNK * mode.product + copies)
        return cls(row, images, passes, sum(images) * tower.values * FLOAT, logits)


def update(decoder: Decoder, tower: Tower, mode: Mode, batch: Batch, weights: Weights) -> dict[str, dict[str, int]]:
    """Bytes at the moments of the update that may be its peak: where the backward pass begins, and in the tower."""
    row, images = batch.row, batch.images
    layer, blocks = decoder_layer(decoder, mode, row), tower_layers(tower, mode, images)
    last, merged = ends(decoder, tower, mode, row, images)
    kept, seen = decoder.layers * layer.kept, sum(block.kept for block in blocks)
    again = seen_again = 0
    if mode.checkpointing:
        # The inputs of all layers, the tower's although it may be frozen; and what one layer keeps, made again.
        kept = decoder.layers * row.tokens * decoder.width * mode.stream
        seen = tower.layers * sum(images) * tower.width * mode.product
        again, seen_again = layer.kept, max((block.kept for block in blocks), default=0)
    shared = {"pixels": batch.pixels, "copies of weights": weights.cast * mode.product}
    return {
        "update": shared
        | {
            "gradients": weights.trained * FLOAT if batch.passes > 1 else 0,
            "activations": kept + last + seen + merged,
            "temporary": max(again + layer.temporary, batch.logits),
        },
        "update of the tower": shared
        | {
            "gradients": (weights.trained if batch.passes > 1 else weights.trained - weights.tower) * FLOAT,
            "activations": seen,
            "temporary": max(merged, seen_again + max((block.temporary for block in blocks), default=0)),
        },
    }


def _pixels(tower: Tower, mode: Mode, step: Step, patches: Sequence[int]) -> int:
    """The float32 patches of a pass, and on a CPU those of the whole step, of which they are a copy."""
    whole = sum(sum(length.images) for length in step.longest) * tower.merge
    return (sum(patches) + (0 if mode.fused else whole)) * tower.values * FLOAT


def describe(found: Estimate) -> list[str]:
    """The estimate for people: its peak, the parts of it, the other moments, the longest prompt."""
    moments = {name: sum(parts.values()) for name, parts in found.moments.items()}
    lines = [f"memory of one process on {found.device}: {_size(found.peak)} at its peak ({found.moment})"]
    lines += [f"  {name:<18}{_size(size):>10}" for name, size in found.moments[found.moment].items()]
    others = [f"{name} {_size(size)}" for name, size in moments.items() if name != found.moment]
    if others:
        lines.append(f"at other moments: {'; '.join(others)}")
    else:
        lines.append("without activations: they are not known for GRPO with packed: false")
    first = found.longest[0]
    lines.append(f"longest of the data: {first.tokens} tokens, {sum(first.images)} of them visual, sample {first.id}")
    return lines


def _size(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"

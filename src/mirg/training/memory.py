"""How much memory a run will need, without loading its weights: what ``--dry-run`` prints under the recipe.

The weights are counted on the meta device, the longest prompts by what the dataset says about its images, and the
activations layer by layer from the sizes of the layers: every line of the sums is a tensor that autograd holds in this
implementation (mirg.models.packing over transformers' modules for packed groups, transformers' own attention for padded
batches). ``tests/training/test_memory.py`` holds them against the tensors that autograd really saves. Products of
matrices are called products; with bfloat16 they run in autocast.

A step has moments at which its memory may peak; the largest of them is the estimate. It is that of one process that
holds the whole model, every completion at full length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from transformers.activations import QuickGELUActivation

from mirg.models.load import NARROW, LoadedModel, load_skeleton
from mirg.models.packing import LOGITS
from mirg.models.quantize import BYTES, quantized_layers
from mirg.models.sampling import ROOM
from mirg.models.turns import REREAD
from mirg.models.vision import decoder_of, tower_of, vision_layers, vision_of
from mirg.training.data import Length, longest_rows, row_lengths
from mirg.training.launch import lora, resolve_dtype, with_limits, world_size
from mirg.training.looks import LookRoom, look_room
from mirg.training.memory_layers import (
    FLOAT,
    Decoder,
    Mode,
    Row,
    Tower,
    decoder_layer,
    encoding,
    ends,
    tower_layers,
)
from mirg.training.recipe import GrpoRecipe, RunConfig, SftRecipe
from mirg.training.sharded_memory import shared

PRODUCTS = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.Conv3d)
AVERAGES = 2  # of AdamW, for every trained number
# Tiles in which TRL computes the logits of SFT: trl.kernels.chunked_logprob, and trl.trainer.utils.
TOKEN_CHUNK_SIZE, VOCABULARY_CHUNK = 4096, 32768


class Weights(NamedTuple):
    """Numbers of a model."""

    base: int
    adapters: int
    trained: int
    tower: int  # those that are trained in the layers of the vision tower
    cast: int  # those that autocast copies


@dataclass(frozen=True)
class Estimate:
    """Bytes of each part at each moment; ``longest`` are the prompts that it was made for, the longest first."""

    moments: dict[str, dict[str, int]]
    longest: list[Length]
    weights: Weights
    device: str
    lengths: Sequence[Length]  # of all rows
    looks: LookRoom  # of a completion

    @property
    def moment(self) -> str:
        """The moment that needs most."""
        return max(self.moments, key=lambda name: sum(self.moments[name].values()))

    @property
    def peak(self) -> int:
        """Bytes at that moment."""
        return sum(self.moments[self.moment].values())


def estimate(recipe: SftRecipe | GrpoRecipe) -> Estimate:
    """The estimate of a recipe on its GPU, or on this machine; MirgError if its model or its data cannot be read."""
    loaded = with_limits(load_skeleton(recipe.model, family_name=recipe.prompt.family), recipe.prompt)
    device = "cuda" if recipe.gpu_gb or torch.cuda.is_available() else "cpu"
    return estimate_of(recipe, loaded, row_lengths(recipe, loaded), device)


def estimate_of(
    recipe: SftRecipe | GrpoRecipe, loaded: LoadedModel, lengths: Sequence[Length], device: str
) -> Estimate:
    """The estimate for rows of ``lengths``; of ``loaded``, which gets adapters if the recipe has them, only sizes.

    Without activations if the layers of the model are not known. Layers of linear attention are counted as if they
    were attention of the same model.
    """
    recipe = resolve_dtype(recipe)
    sizes = _sizes(loaded.model)
    packed = isinstance(recipe, GrpoRecipe) and recipe.packed
    narrow = device == "cpu" and sizes is not None and sizes[0].width <= NARROW
    m = Mode(
        attention="packed" if packed else "eager" if narrow else "sdpa",
        bf16=recipe.dtype == "bfloat16",
        rank=recipe.lora.rank,
        dropout=recipe.lora.dropout > 0,
        frozen=recipe.freeze_vision,
        checkpointing=recipe.gradient_checkpointing,
        device=device,
    )
    small = _small(loaded.model) if recipe.lora.quantize else 0
    weights = count_weights(recipe, loaded.model)
    processes = recipe.processes or world_size()
    held, moments = _held(recipe, m, weights, small, processes), {"optimizer": {"gradients": weights.trained * FLOAT}}
    longest = [lengths[row] for row in longest_rows(lengths, _rows_of_a_process(recipe, processes))]
    looks = look_room(recipe.look, loaded)
    if sizes is not None and isinstance(recipe, SftRecipe):
        moments |= _sft(*sizes, m, longest, recipe, weights)
    elif sizes is not None and isinstance(recipe, GrpoRecipe):
        completions = math.ceil(recipe.prompts_per_step * recipe.group_size / processes)
        if recipe.packed:
            moments |= _packed(*sizes, m, longest, completions, recipe, weights, looks)
        else:
            moments |= _plain(*sizes, m, longest, completions, recipe, weights)
    if small and sizes is not None:
        wide = {"wide weights": sizes[0].mlp * sizes[0].width * m.product}  # of a layer, for its product
        moments = {name: parts | (wide if name != "optimizer" else {}) for name, parts in moments.items()}
    whole = {name: {part: n for part, n in (held | parts).items() if n} for name, parts in moments.items()}
    if recipe.sharding:
        drawn = isinstance(recipe, GrpoRecipe) and recipe.rollouts.backend == "transformers"
        whole = shared(whole, recipe.sharding, processes, weights.base, weights.trained, m.product, drawn)
    return Estimate(whole, longest, weights, device, lengths, looks)


def _rows_of_a_process(recipe: SftRecipe | GrpoRecipe, processes: int) -> int:
    """Samples of a batch, or prompts of a step."""
    if isinstance(recipe, SftRecipe):
        return recipe.batch_size
    completions = math.ceil(recipe.prompts_per_step * recipe.group_size / processes)
    return math.ceil(completions * recipe.admission.candidates / recipe.group_size)


def _held(recipe: SftRecipe | GrpoRecipe, m: Mode, weights: Weights, small: int, processes: int) -> dict[str, int]:
    """Bytes that are there all the time; ``small`` weights are held in 4 bits."""
    held = {
        "weights": round((weights.base - small) * m.stream + small * BYTES) + weights.adapters * FLOAT,
        "optimizer": weights.trained * AVERAGES * FLOAT,
    }
    if processes > 1:
        held["exchange"] = weights.trained * FLOAT  # the buckets that gradients are averaged in
    if isinstance(recipe, GrpoRecipe) and recipe.beta and not m.rank:
        held["reference"] = weights.base * FLOAT
    return held


def _sizes(model: Any) -> tuple[Decoder, Tower] | None:
    """Read off the layers of a model, which may be on the meta device and must not be wrapped by PEFT.

    None if its layers are others, for example with experts.
    """
    try:
        text, visual = decoder_of(model), tower_of(model)
        attention: Any = next((layer.self_attn for layer in text.layers if hasattr(layer, "self_attn")), None)
        decoder = Decoder(
            layers=len(text.layers),
            width=text.embed_tokens.embedding_dim,
            queries=attention.q_proj.out_features,
            keys=attention.k_proj.out_features,
            heads=attention.q_proj.out_features // attention.head_dim,
            mlp=text.layers[0].mlp.gate_proj.out_features,
            normed=hasattr(attention, "q_norm"),
            vocabulary=model.get_output_embeddings().out_features,
        )
        if not hasattr(visual, "blocks"):
            return decoder, _tile_tower(visual, model.config)
        block, config = visual.blocks[0], visual.config
        full, gated = getattr(config, "fullatt_block_indexes", None), hasattr(block.mlp, "gate_proj")
        # Both halves of a gate, an activation and their product; or an activation and its input, quick ones with more.
        quick = isinstance(getattr(block.mlp, "act", None), QuickGELUActivation)
        tower = Tower(
            layers=len(visual.blocks),
            width=block.attn.qkv.in_features,
            heads=block.attn.num_heads,
            mlp=next(part.out_features for part in block.mlp.children() if hasattr(part, "out_features")),
            gated=gated,
            inner=4 if gated else 3 if quick else 2,
            rms=hasattr(block.norm1, "variance_epsilon"),
            # Its patches are its embeddings in transformers, which makes embeddings require gradients.
            hooked=getattr(visual, "_input_embed_layer", "embed_tokens") == "patch_embed",
            mergers=1 + len(getattr(config, "deepstack_visual_indexes", None) or ()),
            merge=config.spatial_merge_size**2,
            values=visual.patch_embed.proj.weight[0].numel(),
            window=0 if full is None else (config.window_size // config.patch_size) ** 2,
            windowed=0 if full is None else len(visual.blocks) - len(full),
        )
        return decoder, tower
    except (AttributeError, StopIteration):  # a layer or a convolution that is not there
        return None


def _tile_tower(tower: Any, config: Any) -> Tower:
    """Sizes of a tower that sees square tiles (InternVL, SmolVLM), whose layers all attend within a tile.

    ``config`` is that of the whole model. AttributeError or StopIteration if the tower is of another kind.
    """
    layers = vision_layers(tower)
    layer, patching = layers[0], next(part for part in tower.modules() if isinstance(part, torch.nn.Conv2d))
    attention = next(part for part in layer.modules() if hasattr(part, "q_proj"))
    grid = _side(config.vision_config.image_size) // _side(config.vision_config.patch_size)
    shuffle = getattr(config, "scale_factor", None) or round(1 / config.downsample_ratio)
    return Tower(
        layers=len(layers),
        width=attention.q_proj.in_features,
        heads=attention.num_heads,
        mlp=layer.mlp.fc1.out_features,
        gated=False,
        inner=2,
        rms=False,
        hooked=True,  # transformers counts its patches as embeddings
        mergers=1,
        merge=shuffle**2,
        values=patching.weight[0].numel(),
        window=grid**2,
        windowed=len(layers),
    )


def _side(size: Any) -> int:
    return size if isinstance(size, int) else size[0]


def count_weights(recipe: RunConfig, model: Any) -> Weights:
    """Count the weights as the recipe trains them; adapters are added to ``model``."""
    base = sum(p.numel() for p in model.parameters())
    blocks = vision_layers(tower_of(model))
    if recipe.freeze_vision:
        for part in vision_of(model):
            part.requires_grad_(False)
    if recipe.lora.rank:
        from peft import get_peft_model

        model = get_peft_model(model, lora(recipe))
    trained = _trained(model.parameters())
    layers = (layer for layer in model.modules() if isinstance(layer, PRODUCTS))
    products: set[Any] = {layer.weight for layer in layers}  # tied weights once
    cast = _trained(products) if recipe.dtype == "bfloat16" else 0
    return Weights(base, trained if recipe.lora.rank else 0, trained, _trained(blocks.parameters()), cast)


def _trained(parameters: Iterable[torch.Tensor]) -> int:
    return sum(p.numel() for p in parameters if p.requires_grad)


def _small(model: Any) -> int:
    """Weights that are held in 4 bits."""
    return sum(layer.weight.numel() for layer in quantized_layers(model).values())


def _patches(shown: Sequence[Length], t: Tower) -> list[int]:
    return [tokens * t.merge for length in shown for tokens in length.images]


def _pixels(t: Tower, m: Mode, longest: Sequence[Length], images: Sequence[int], crops: Sequence[int] = ()) -> int:
    """The float32 patches of a pass, and on a CPU those of the whole step, of which they are a copy."""
    return (sum(images) + (0 if m.fused else sum(_patches(longest, t)) + sum(crops))) * t.values * FLOAT


# The moments of a step.


def _rollouts(
    d: Decoder, t: Tower, m: Mode, longest: Sequence[Length], recipe: GrpoRecipe, looks: LookRoom
) -> dict[str, int]:
    """Bytes while completions are drawn: all prompts are encoded in one row, then every completion grows by a token."""
    rows, images = len(longest) * recipe.group_size, _patches(longest, t)
    pair = 2 * d.keys * d.layers * m.stream
    widest = max(length.tokens for length in longest)
    seeing, reading = encoding(d, t, m, Row(len(longest), widest), images)
    cache, room = sum(length.tokens for length in longest) * pair, math.ceil(recipe.max_new_tokens / ROOM) * ROOM
    # The tower is done before there is a cache, and the patches of the pass are freed before completions grow.
    pixels = sum(images) * t.values * FLOAT
    temporary = max(seeing - cache, reading, _growing(d, m, rows, widest, room) - pixels)
    if recipe.look.max_looks:
        # Each branch is kept in separate blocks; the trunks of groups that continue are copies.
        branch = recipe.max_new_tokens + looks.tokens
        whole = math.ceil(branch / ROOM) * ROOM
        tokens = max(min(REREAD, rows * branch), branch)
        part = [crop * t.merge for crop in looks.crops] * max(tokens // branch, 1)
        seeing, reading = encoding(d, t, m, Row(1, tokens), part)
        begun = rows * whole * pair
        scores = tokens * 3 * d.heads * (widest + branch) * m.stream
        later = max(begun + max(seeing, reading + scores), _growing(d, m, rows, widest, whole + ROOM))
        temporary = max(temporary, cache + later - pixels)
    return {"cache": cache, "pixels": _pixels(t, m, longest, images), "temporary": temporary}


def _growing(d: Decoder, m: Mode, rows: int, widest: int, room: int) -> int:
    """Bytes of ``rows`` branches with room for ``room`` tokens, and of the scores and logits of a token of each."""
    pair = 2 * d.keys * d.layers * m.stream
    # The branches' keys and values, one layer's before they grew, four tensors of scores and four of logits.
    branches = rows * (room * pair + (room - ROOM) * pair // d.layers)
    return branches + rows * 4 * (d.heads * (widest + room) * m.stream + d.vocabulary * FLOAT)


def _sft(
    d: Decoder, t: Tower, m: Mode, longest: list[Length], recipe: SftRecipe, weights: Weights
) -> dict[str, dict[str, int]]:
    row, images = Row(len(longest), longest[0].tokens), _patches(longest, t)
    pixels = sum(images) * t.values * FLOAT
    logits = _padded_logits(d, m, row, sum(length.text for length in longest))
    return _update(d, t, m, row, images, recipe.accumulation, pixels, logits, weights)


def _packed(
    d: Decoder,
    t: Tower,
    m: Mode,
    longest: list[Length],
    completions: int,
    recipe: GrpoRecipe,
    weights: Weights,
    looks: LookRoom,
) -> dict[str, dict[str, int]]:
    """Bytes at the moments of a step over packed groups; every completion has all of its looks."""
    micro = min(recipe.micro_batch or completions, completions)
    shown = longest[: math.ceil(micro / recipe.group_size)]
    # The group may be larger than a forward pass takes.
    row = Row(len(shown), shown[0].tokens - 1, min(recipe.group_size, micro), recipe.max_new_tokens + looks.tokens)
    crops = [crop * t.merge for crop in looks.crops]
    images = _patches(shown, t) + crops * row.prompts * row.group
    # Of the logits, three tensors exist at a time, forward and backward.
    scored = row.prompts * row.group * recipe.max_new_tokens
    logits = min(scored, max(LOGITS // (FLOAT * d.vocabulary), 1)) * 3 * FLOAT * d.vocabulary
    passes, pixels = math.ceil(completions / micro), _pixels(t, m, longest, images, crops * completions)
    rollouts = {"rollouts": _rollouts(d, t, m, longest, recipe, looks)}
    return rollouts | _update(d, t, m, row, images, passes, pixels, logits, weights)


def _plain(
    d: Decoder, t: Tower, m: Mode, longest: list[Length], completions: int, recipe: GrpoRecipe, weights: Weights
) -> dict[str, dict[str, int]]:
    """Bytes at the moments of TRL's own GRPO step, where each completion has its own prompt and images.

    Prompts of a step are encoded side by side, and all their patches are held until the step ends.
    """
    micro, new, first = min(recipe.micro_batch or completions, completions), recipe.max_new_tokens, longest[0]
    pixels = completions * sum(_patches([first], t)) * t.values * FLOAT
    seeing, reading = encoding(d, t, m, Row(completions, first.tokens), _patches([first] * completions, t))
    cache = completions * (first.tokens + new) * 2 * d.keys * d.layers * m.stream
    row, images = Row(micro, first.tokens + new), _patches([first] * micro, t)
    logits = _padded_logits(d, m, row, micro * new)
    rollouts = {"cache": cache, "pixels": pixels, "temporary": max(seeing - cache, reading)}
    passes = math.ceil(completions / micro)
    return {"rollouts": rollouts} | _update(d, t, m, row, images, passes, pixels, logits, weights)


def _padded_logits(d: Decoder, m: Mode, row: Row, answers: int) -> int:
    """Bytes of the logits of a batch, all samples padded to the longest; ``answers`` is the number of scored tokens.

    TRL computes logits in a tile as wide as its chunk of the vocabulary, even if the vocabulary is smaller: on a GPU
    for the answers' tokens, elsewhere for all tokens and with float32 copies.
    """
    scored = answers if m.fused else row.tokens
    rows, columns = min(scored, TOKEN_CHUNK_SIZE), min(d.vocabulary, VOCABULARY_CHUNK)
    # Counted in the backward pass: probabilities, their exponents, gradients; in bfloat16 also copies of operands.
    copies = 0 if m.fused else FLOAT * columns * (7 if m.bf16 else 3)
    return rows * (VOCABULARY_CHUNK * m.product + copies)


def _update(
    d: Decoder,
    t: Tower,
    m: Mode,
    row: Row,
    images: Sequence[int],
    passes: int,
    pixels: int,
    logits: int,
    weights: Weights,
) -> dict[str, dict[str, int]]:
    """Bytes at the moments of the update that may be its peak: where the backward pass begins, and in the tower.

    ``row`` and ``images`` (patches of each) are those of one of the ``passes`` of an optimiser step.
    """
    layer, blocks = decoder_layer(d, m, row), tower_layers(t, m, images)
    last, merged = ends(d, t, m, row, images)
    kept, seen = d.layers * layer.kept, sum(block.kept for block in blocks)
    again = seen_again = 0
    if m.checkpointing:
        # The inputs of all layers, the tower's although it may be frozen; and what one layer keeps, made again.
        kept = d.layers * row.tokens * d.width * m.stream
        seen = t.layers * sum(images) * t.width * m.product
        again, seen_again = layer.kept, max((block.kept for block in blocks), default=0)
    shared = {"pixels": pixels, "copies of weights": weights.cast * m.product}
    return {
        "update": shared
        | {
            "gradients": weights.trained * FLOAT if passes > 1 else 0,
            "activations": kept + last + seen + merged,
            "temporary": max(again + layer.temporary, logits),
        },
        "update of the tower": shared
        | {
            "gradients": (weights.trained if passes > 1 else weights.trained - weights.tower) * FLOAT,
            "activations": seen,
            "temporary": max(merged, seen_again + max((block.temporary for block in blocks), default=0)),
        },
    }

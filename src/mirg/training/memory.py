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
from typing import Any, Literal, NamedTuple

import torch
from transformers.activations import QuickGELUActivation

from mirg.errors import EngineError
from mirg.models.load import NARROW, LoadedModel, load_skeleton
from mirg.models.packing import LOGITS
from mirg.models.quantize import BYTES, quantized_layers
from mirg.models.sampling import ROOM
from mirg.models.trees import FLEX
from mirg.models.trees import SHORT as SHORT_TRUNK
from mirg.models.vision import SHORT as SHORT_IMAGE
from mirg.training.data import Length, longest_rows, row_lengths
from mirg.training.launch import lora, resolve_dtype, with_limits, world_size
from mirg.training.recipe import GrpoRecipe, RunConfig, SftRecipe
from mirg.training.sharded_memory import shared

FLOAT = 4  # bytes
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

    @property
    def moment(self) -> str:
        """The moment that needs most."""
        return max(self.moments, key=lambda name: sum(self.moments[name].values()))

    @property
    def peak(self) -> int:
        """Bytes at that moment."""
        return sum(self.moments[self.moment].values())


@dataclass(frozen=True)
class Decoder:
    """Sizes of the language model."""

    layers: int
    width: int
    queries: int  # width of all heads together
    keys: int  # width of all key heads together
    heads: int
    mlp: int
    normed: bool  # queries and keys are normalised (Qwen3-VL)
    vocabulary: int


@dataclass(frozen=True)
class Tower:
    """Sizes of the vision tower; ``window`` is the number of patches of an attention window, 0 without windows."""

    layers: int
    width: int
    heads: int
    mlp: int
    gated: bool
    inner: int  # tensors as wide as its MLP that a layer keeps
    rms: bool
    hooked: bool  # checkpointing lets gradients through it although it may be frozen
    mergers: int
    merge: int  # patches of a visual token
    values: int  # numbers of a patch
    window: int
    windowed: int  # layers that attend in windows


@dataclass(frozen=True)
class Mode:
    """How the weights are trained, and where; ``rank`` 0 trains them all."""

    bf16: bool
    rank: int
    dropout: bool
    frozen: bool  # the vision tower
    checkpointing: bool
    device: str
    attention: Literal["packed", "sdpa", "eager"]  # of the decoder

    @property
    def fused(self) -> bool:
        """Whether FlexAttention computes packed rows."""
        return self.device == FLEX

    @property
    def product(self) -> int:
        """Bytes of an operand of a product."""
        return 2 if self.bf16 else FLOAT

    @property
    def stream(self) -> int:
        """Bytes of a number between the layers of the decoder: those of its weights."""
        return 2 if self.bf16 and self.rank else FLOAT

    def operand(self, linears: int) -> int:
        """Bytes by which the input of ``linears`` layers side by side is kept.

        Autocast and adapters' casts make a copy for each layer, dropout another one and its mask.
        """
        if self.dropout and self.rank:
            return linears * (self.product + (1 if self.fused else self.product))
        return self.product * (linears if self.bf16 else 1)


class Row(NamedTuple):
    """A packed row: ``prompts`` trunks of up to ``trunk`` tokens, each with ``group`` branches of ``branch`` tokens."""

    prompts: int
    trunk: int
    group: int = 0
    branch: int = 0

    @property
    def branches(self) -> int:
        """Tokens of all branches."""
        return self.prompts * self.group * self.branch

    @property
    def tokens(self) -> int:
        """Tokens of the row."""
        return self.prompts * self.trunk + self.branches


class Layer(NamedTuple):
    """Bytes that one layer keeps, and the most that its backward pass needs beside them."""

    kept: int
    temporary: int


def estimate(recipe: SftRecipe | GrpoRecipe) -> Estimate:
    """The estimate of a recipe on its GPU, or on this machine; MirgError if its model or its data cannot be read."""
    loaded = with_limits(load_skeleton(recipe.model, family_name=recipe.prompt.family), recipe.prompt)
    device = "cuda" if recipe.gpu_gb or torch.cuda.is_available() else "cpu"
    return estimate_of(recipe, loaded, row_lengths(recipe, loaded), device)


def estimate_of(
    recipe: SftRecipe | GrpoRecipe, loaded: LoadedModel, lengths: Sequence[Length], device: str
) -> Estimate:
    """The estimate for rows of ``lengths``; of ``loaded``, which gets adapters if the recipe has them, only sizes."""
    recipe = resolve_dtype(recipe)
    d, t = _sizes(loaded.model)
    packed = isinstance(recipe, GrpoRecipe) and recipe.packed
    m = Mode(
        attention="packed" if packed else "eager" if device == "cpu" and d.width <= NARROW else "sdpa",
        bf16=recipe.dtype == "bfloat16",
        rank=recipe.lora.rank,
        dropout=recipe.lora.dropout > 0,
        frozen=recipe.freeze_vision,
        checkpointing=recipe.gradient_checkpointing,
        device=device,
    )
    small = _small(loaded.model) if recipe.lora.quantize else 0
    weights = count_weights(recipe, loaded.model)
    held = {
        "weights": round((weights.base - small) * (m.stream if m.rank else FLOAT) + small * BYTES)
        + weights.adapters * FLOAT,
        "optimizer": weights.trained * AVERAGES * FLOAT,
    }
    processes = recipe.processes or world_size()
    if processes > 1:
        held["exchange"] = weights.trained * FLOAT  # the buckets that gradients are averaged in
    moments = {"optimizer": {"gradients": weights.trained * FLOAT}}
    if isinstance(recipe, SftRecipe):
        longest = [lengths[row] for row in longest_rows(lengths, recipe.batch_size)]
        row, images = Row(len(longest), longest[0].tokens), _patches(longest, t)
        pixels = sum(images) * t.values * FLOAT
        moments |= _update(
            d, t, m, row, images, recipe.accumulation, pixels, _padded_logits(d, m, row, longest), weights
        )
    else:
        if recipe.beta and not m.rank:
            held["reference"] = weights.base * FLOAT
        completions = math.ceil(recipe.prompts_per_step * recipe.group_size / processes)
        micro = min(recipe.micro_batch or completions, completions)
        prompts = math.ceil(completions * recipe.admission.candidates / recipe.group_size)
        longest = [lengths[row] for row in longest_rows(lengths, prompts)]
        passes = math.ceil(completions / micro)
        if recipe.packed:
            moments["rollouts"] = _rollouts(d, t, m, longest, recipe)
            shown = longest[: math.ceil(micro / recipe.group_size)]
            # The group may be larger than a forward pass takes.
            row = Row(len(shown), shown[0].tokens - 1, min(recipe.group_size, micro), recipe.max_new_tokens)
            images = _patches(shown, t)
            # Of the logits, three tensors exist at a time, forward and backward.
            logits = min(row.branches, max(LOGITS // (FLOAT * d.vocabulary), 1)) * 3 * FLOAT * d.vocabulary
            moments |= _update(d, t, m, row, images, passes, _pixels(t, m, longest, images), logits, weights)
        else:
            moments |= _plain(d, t, m, longest[0], completions, micro, recipe, weights)
    if small:
        for parts in moments.values():  # a layer's weights are made wide for its product
            parts["wide weights"] = d.mlp * d.width * m.product
    if recipe.sharding:
        moments = {name: held | parts for name, parts in moments.items()}
        drawn = isinstance(recipe, GrpoRecipe) and recipe.rollouts.backend == "transformers"
        moments = shared(moments, recipe.sharding, processes, weights.base, weights.trained, m.product, drawn)
        held = {}
    whole = {name: {part: n for part, n in (held | parts).items() if n} for name, parts in moments.items()}
    return Estimate(whole, longest, weights, device)


def _sizes(model: Any) -> tuple[Decoder, Tower]:
    """Read off the layers of a Qwen-VL model, which may be on the meta device and must not be wrapped by PEFT."""
    try:
        text, visual = model.model.language_model, model.model.visual
        # Linear attention is counted as if it were attention of the same model.
        attention = next(layer.self_attn for layer in text.layers if hasattr(layer, "self_attn"))
        block, config = visual.blocks[0], visual.config
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
    except AttributeError as error:
        raise EngineError(f"the memory of a {model.config.model_type} model is not known: {error}") from error


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
    layers = (layer for layer in model.modules() if isinstance(layer, torch.nn.Linear | torch.nn.Conv3d))
    products: set[Any] = {layer.weight for layer in layers}  # tied weights once
    cast = _trained(products) if recipe.dtype == "bfloat16" else 0
    return Weights(base, trained if recipe.lora.rank else 0, trained, _trained(visual.blocks.parameters()), cast)


def _trained(parameters: Iterable[torch.Tensor]) -> int:
    return sum(p.numel() for p in parameters if p.requires_grad)


def _small(model: Any) -> int:
    """Weights that are held in 4 bits."""
    return sum(layer.weight.numel() for layer in quantized_layers(model).values())


def _patches(shown: Sequence[Length], t: Tower) -> list[int]:
    return [tokens * t.merge for length in shown for tokens in length.images]


def _pixels(t: Tower, m: Mode, longest: Sequence[Length], images: Sequence[int]) -> int:
    """The float32 patches of a pass, and on a CPU those of the whole step, of which they are a copy."""
    return (sum(images) + (0 if m.fused else sum(_patches(longest, t)))) * t.values * FLOAT


# The moments of a step.


def _rollouts(d: Decoder, t: Tower, m: Mode, longest: Sequence[Length], recipe: GrpoRecipe) -> dict[str, int]:
    """Bytes while completions are drawn: all prompts are encoded in one row, then every completion grows by a token."""
    rows, images = len(longest) * recipe.group_size, _patches(longest, t)
    pair = 2 * d.keys * d.layers * m.stream
    widest = max(length.tokens for length in longest)
    seeing, reading = _encoding(d, t, m, Row(len(longest), widest), images)
    cache, room = sum(length.tokens for length in longest) * pair, math.ceil(recipe.max_new_tokens / ROOM) * ROOM
    # The branches' keys and values, one layer's before they grew, four tensors of scores and four of logits.
    branches = rows * (room * pair + (room - ROOM) * pair // d.layers)
    scores = rows * 4 * (d.heads * (widest + room) * m.stream + d.vocabulary * FLOAT)
    # The tower is done before there is a cache, and the patches of the pass are freed before completions grow.
    temporary = max(seeing - cache, reading, branches + scores - sum(images) * t.values * FLOAT)
    return {"cache": cache, "pixels": _pixels(t, m, longest, images), "temporary": temporary}


def _plain(
    d: Decoder, t: Tower, m: Mode, longest: Length, completions: int, micro: int, recipe: GrpoRecipe, weights: Weights
) -> dict[str, dict[str, int]]:
    """Bytes at the moments of TRL's own GRPO step, where each completion has its own prompt and images.

    Prompts of a step are encoded side by side, and all their patches are held until the step ends.
    """
    new, pixels = recipe.max_new_tokens, completions * sum(_patches([longest], t)) * t.values * FLOAT
    seeing, reading = _encoding(d, t, m, Row(completions, longest.tokens), _patches([longest] * completions, t))
    cache = completions * (longest.tokens + new) * 2 * d.keys * d.layers * m.stream
    row, images = Row(micro, longest.tokens + new), _patches([longest] * micro, t)
    # Logits of the completions, their logarithms, and the gradients of both.
    logits = micro * new * d.vocabulary * (2 * m.product + 2 * FLOAT)
    passes = math.ceil(completions / micro)
    rollouts = {"cache": cache, "pixels": pixels, "temporary": max(seeing - cache, reading)}
    return {"rollouts": rollouts} | _update(d, t, m, row, images, passes, pixels, logits, weights)


def _padded_logits(d: Decoder, m: Mode, row: Row, longest: Sequence[Length]) -> int:
    """Bytes of the logits of an SFT batch, all samples padded to the longest.

    TRL computes logits in a tile as wide as its chunk of the vocabulary, even if the vocabulary is smaller: on a GPU
    for the answers' tokens, elsewhere for all tokens and with float32 copies.
    """
    scored = sum(length.text for length in longest) if m.fused else row.tokens
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
    layer, blocks = _decoder_layer(d, m, row), _tower_layers(t, m, images)
    last, merged = _ends(d, t, m, row, images)
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


# The layers.


def _decoder_layer(d: Decoder, m: Mode, row: Row) -> Layer:
    tokens, scale = row.tokens, 1 if m.rank else 2  # a trained norm keeps its input and its normalised input
    norm = FLOAT * d.width * scale
    heads = (FLOAT + (0 if m.rank else m.product)) * (d.queries + d.keys) if d.normed else 0
    inputs = d.width * m.operand(3) + d.queries * m.operand(1)
    scores, temporary = _scores(d, m, row) if m.attention == "packed" else _padded_scores(d, m, row)
    attention = tokens * (norm + heads + inputs + 4 * m.rank * m.product) + scores
    # Gate, its activation, the other half, and their product, which is the input of the last layer.
    mlp = tokens * (norm + d.width * m.operand(2) + d.mlp * (3 * m.product + m.operand(1)) + 3 * m.rank * m.product)
    # Backward through the product: its gradient and those of both halves, after the product itself has gone.
    behind = tokens * (2 * d.mlp * m.product + 2 * d.width * m.stream)
    return Layer(attention + mlp, max(behind, temporary - mlp))


def _scores(d: Decoder, m: Mode, row: Row) -> Layer:
    """The attention of a packed row."""
    if m.fused:
        # Queries, keys, values, the output, and one number for each token and head.
        operands = row.tokens * m.product * (2 * d.queries + 2 * d.keys)
        return Layer(operands + row.tokens * FLOAT * d.heads, operands)
    trunk = row.prompts * row.trunk
    kept = row.tokens * m.product * 3 * d.queries  # keys and values are repeated for the heads that share them
    if row.trunk <= SHORT_TRUNK:
        squares = row.prompts * d.heads * row.trunk**2 * m.product
        kept, temporary = kept + squares, 2 * squares
    else:
        kept += trunk * (d.queries * m.product + FLOAT * d.heads)
        temporary = trunk * 4 * d.queries * m.product
    # Operands of the branches are copied into the order of the products: scaled queries, queries, keys, values.
    kept += row.branches * 4 * d.queries * m.product
    weights = d.heads * row.branches * (row.trunk + row.branch)
    mixed = m.bf16 and not m.rank  # a softmax in float32, and its copy as an operand
    kept += weights * (m.product + (FLOAT if mixed else 0))
    # The gradient of the weights, and through their softmax.
    return Layer(kept, max(temporary, 2 * weights * (FLOAT if mixed else m.product)))


def _padded_scores(d: Decoder, m: Mode, row: Row) -> Layer:
    """The attention of transformers over a batch of ``row.prompts`` rows of ``row.trunk`` tokens."""
    square = row.prompts * row.trunk**2
    whole = row.tokens * m.product * d.queries  # keys and values are repeated for the heads that share them
    if m.attention == "eager":
        # The weights of the softmax; in bfloat16 it is computed in float32, and its copy is the operand of the product.
        weights = d.heads * square * (m.product + (FLOAT if m.bf16 else 0))
        return Layer(3 * whole + weights, 2 * d.heads * square * FLOAT)
    # Queries, keys, values, the output, one number for each token and head; torch turns the mask into numbers.
    mask = square * m.product if row.prompts > 1 else 0
    return Layer(4 * whole + FLOAT * d.heads * row.tokens + mask, 4 * whole)


def _learns(t: Tower, m: Mode) -> bool:
    """Whether the backward pass goes through the tower."""
    return not m.frozen or (m.checkpointing and t.hooked)


def _tower_layers(t: Tower, m: Mode, images: Sequence[int]) -> list[Layer]:
    """All layers of the tower that the backward pass goes through."""
    if not _learns(t, m):
        return []
    windowed = [_tower_layer(t, m, images, t.window)] * t.windowed
    return windowed + [_tower_layer(t, m, images)] * (t.layers - t.windowed)


def _tower_layer(t: Tower, m: Mode, images: Sequence[int], segment: int = 0) -> Layer:
    """One layer over ``images`` (patches of each), attending in segments of ``segment`` patches, or in whole images."""
    patches = sum(images)
    # On a GPU, autocast computes a layer norm in float32.
    norm = t.width * (FLOAT + (0 if m.rank else m.product) if t.rms else FLOAT if m.fused else m.product)
    qkv = t.width * m.operand(1) + 3 * t.width * m.product
    weights = sum(_squares(n, segment or n, t, m) for n in images)
    attention = patches * (norm + qkv + t.width * m.operand(1) + 2 * m.rank * m.product) + weights
    inner = (t.inner - 1) * m.product + m.operand(1)
    mlp = patches * (norm + t.width * m.operand(2 if t.gated else 1) + t.mlp * inner + 3 * m.rank * m.product)
    behind = patches * ((2 if t.gated else 1) * t.mlp + 2 * t.width) * m.product
    return Layer(attention + mlp, max(behind, 2 * weights - mlp))


def _squares(patches: int, segment: int, t: Tower, m: Mode) -> int:
    if segment <= SHORT_IMAGE and not m.fused:
        return patches * min(segment, patches) * t.heads * m.product
    return patches * (t.width * m.product + FLOAT * t.heads)


def _ends(d: Decoder, t: Tower, m: Mode, row: Row, images: Sequence[int]) -> tuple[int, int]:
    """What is kept outside of the layers: of the decoder (its last norm), and of the tower (patches, mergers)."""
    last = row.tokens * d.width * (FLOAT * (1 if m.rank else 2) + m.stream)
    if not _learns(t, m):
        return last, 0
    # A merger's norm keeps its input. Then come the inputs of two products and of the activation between them, of which
    # only the activation's is needed where the weights are frozen.
    merger = ((1 if m.frozen else 3) * t.mergers + 1) * m.product + (0 if m.frozen or not t.rms else FLOAT)
    # The patches themselves are the input of the first product; autocast copies them.
    copied = t.values * m.product if m.bf16 and not m.rank and not m.frozen else 0
    return last, sum(images) * (t.width * merger + copied)


def _encoding(d: Decoder, t: Tower, m: Mode, row: Row, images: Sequence[int]) -> tuple[int, int]:
    """The most that the tower, and then the decoder, need at a time for prompts without gradients."""
    patches = sum(images)
    squares = sum(_squares(n, n, t, m) for n in images)
    mlp = (3 if t.gated else 2) * t.mlp
    # The patches are copied for the first product. In the attention live the stream, its norm, queries, keys and values
    # before and after their rotation, two of them in the order of the products; scores and their softmax.
    tower = max(patches * (3 * t.width + mlp), patches * t.values, patches * 9 * t.width + 2 * squares // m.product)
    # A causal mask makes a third square.
    squares = 3 * row.prompts * d.heads * row.trunk**2 if row.trunk <= SHORT_TRUNK and not m.fused else 0
    decoder = max(row.tokens * (3 * d.width + 3 * d.mlp), row.tokens * (2 * d.width + 6 * d.queries) + squares)
    return tower * m.stream, decoder * m.stream

"""What one layer of a Qwen-VL model keeps for its backward pass, and needs beside it, from the sizes of the layer.

Every term is a tensor that autograd holds in this implementation; :mod:`mirg.training.memory` adds them up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mirg.models.trees import FLEX
from mirg.models.trees import SHORT as SHORT_TRUNK
from mirg.models.vision import SHORT as SHORT_IMAGE

FLOAT = 4  # bytes


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


def decoder_layer(d: Decoder, m: Mode, row: Row) -> Layer:
    """One layer of the language model over a row."""
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


def tower_layers(t: Tower, m: Mode, images: Sequence[int]) -> list[Layer]:
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


def ends(d: Decoder, t: Tower, m: Mode, row: Row, images: Sequence[int]) -> tuple[int, int]:
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


def encoding(d: Decoder, t: Tower, m: Mode, row: Row, images: Sequence[int]) -> tuple[int, int]:
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

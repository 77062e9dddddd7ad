"""What an update keeps for its backward pass, tensor by tensor.

Counted in bytes from the sizes of the layers: every line below is a tensor that autograd holds in this implementation
(mirg.models.packing over transformers' modules for packed groups, transformers' own attention for padded batches).
``tests/training/test_memory.py`` holds the sums against the tensors that autograd really saves. Products of matrices
are called products; with bfloat16 they run in autocast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from transformers.activations import QuickGELUActivation

from mirg.errors import EngineError
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

    def learns(self, mode: Mode) -> bool:
        """Whether the backward pass goes through it."""
        return not mode.frozen or (mode.checkpointing and self.hooked)


@dataclass(frozen=True)
class Mode:
    """How the weights are trained, and where; ``rank`` 0 trains them all."""

    bf16: bool = False
    rank: int = 0
    dropout: bool = False
    frozen: bool = False  # the vision tower
    checkpointing: bool = False
    device: str = "cpu"
    attention: Literal["packed", "sdpa", "eager"] = "packed"  # of the decoder

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


@dataclass(frozen=True)
class Row:
    """A packed row: ``prompts`` trunks of up to ``trunk`` tokens, each with ``group`` branches of ``branch`` tokens."""

    prompts: int
    trunk: int
    group: int
    branch: int

    @property
    def branches(self) -> int:
        """Tokens of all branches."""
        return self.prompts * self.group * self.branch

    @property
    def tokens(self) -> int:
        """Tokens of the row."""
        return self.prompts * self.trunk + self.branches


@dataclass(frozen=True)
class Layer:
    """Bytes that one layer keeps, and the most that its backward pass needs beside them (``temporary``)."""

    attention: int
    mlp: int
    temporary: int

    @property
    def kept(self) -> int:
        """All that it keeps."""
        return self.attention + self.mlp


def sizes(model: Any) -> tuple[Decoder, Tower]:
    """Read off the layers of a Qwen-VL model, which may be on the meta device and must not be wrapped by PEFT.

    EngineError if it has other layers.
    """
    try:
        return _decoder(model), _tower(model.model.visual)
    except AttributeError as error:
        raise EngineError(f"the memory of a {model.config.model_type} model is not known: {error}") from error


def _decoder(model: Any) -> Decoder:
    text = model.model.language_model
    layer = text.layers[0]
    attention = layer.self_attn
    return Decoder(
        layers=len(text.layers),
        width=text.embed_tokens.embedding_dim,
        queries=attention.q_proj.out_features,
        keys=attention.k_proj.out_features,
        heads=attention.q_proj.out_features // attention.head_dim,
        mlp=layer.mlp.gate_proj.out_features,
        normed=hasattr(attention, "q_norm"),
        vocabulary=model.get_output_embeddings().out_features,
    )


def _tower(visual: Any) -> Tower:
    block, config = visual.blocks[0], visual.config
    full = getattr(config, "fullatt_block_indexes", None)
    return Tower(
        layers=len(visual.blocks),
        width=block.attn.qkv.in_features,
        heads=block.attn.num_heads,
        mlp=next(part.out_features for part in block.mlp.children() if hasattr(part, "out_features")),
        gated=hasattr(block.mlp, "gate_proj"),
        inner=_inner(block.mlp),
        rms=hasattr(block.norm1, "variance_epsilon"),
        # Its patches are its embeddings in transformers, which makes embeddings require gradients.
        hooked=getattr(visual, "_input_embed_layer", "embed_tokens") == "patch_embed",
        mergers=1 + len(getattr(config, "deepstack_visual_indexes", None) or ()),
        merge=config.spatial_merge_size**2,
        values=visual.patch_embed.proj.weight[0].numel(),
        window=0 if full is None else (config.window_size // config.patch_size) ** 2,
        windowed=0 if full is None else len(visual.blocks) - len(full),
    )


def _inner(mlp: Any) -> int:
    """Both halves of a gate, an activation and their product; or an activation and its input, quick ones with more."""
    if hasattr(mlp, "gate_proj"):
        return 4
    return 3 if isinstance(getattr(mlp, "act", None), QuickGELUActivation) else 2


def decoder_layer(d: Decoder, m: Mode, row: Row) -> Layer:
    """One layer over a packed row."""
    tokens, scale = row.tokens, 1 if m.rank else 2  # a trained norm keeps its input and its normalised input
    norm = FLOAT * d.width * scale
    heads = (FLOAT + (0 if m.rank else m.product)) * (d.queries + d.keys) if d.normed else 0
    inputs = d.width * m.operand(3) + d.queries * m.operand(1)
    scores, temporary = _scores(d, m, row)
    adapters = 4 * m.rank * m.product
    attention = tokens * (norm + heads + inputs + adapters) + scores
    # Gate, its activation, the other half, and their product, which is the input of the last layer.
    mlp = tokens * (norm + d.width * m.operand(2) + d.mlp * (3 * m.product + m.operand(1)) + 3 * m.rank * m.product)
    # Backward through the product: its gradient and those of both halves, after the product itself has gone.
    behind = tokens * (2 * d.mlp * m.product + 2 * d.width * m.stream)
    return Layer(attention, mlp, max(behind, temporary - mlp))


def _scores(d: Decoder, m: Mode, row: Row) -> tuple[int, int]:
    """What the attention keeps, and what its backward pass needs beside that."""
    if m.attention != "packed":
        return _padded_scores(d, m, row)
    if m.fused:
        # Queries, keys, values, the output, and one number for each token and head.
        kept = row.tokens * (m.product * (2 * d.queries + 2 * d.keys) + FLOAT * d.heads)
        return kept, row.tokens * m.product * (2 * d.queries + 2 * d.keys)
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
    return kept, max(temporary, 2 * weights * (FLOAT if mixed else m.product))


def _padded_scores(d: Decoder, m: Mode, row: Row) -> tuple[int, int]:
    """The same for a batch of ``row.prompts`` rows of ``row.trunk`` tokens in transformers' own attention."""
    square = row.prompts * row.trunk**2
    whole = row.tokens * m.product * d.queries  # keys and values are repeated for the heads that share them
    if m.attention == "eager":
        # The weights of the softmax; in bfloat16 it is computed in float32, and its copy is the operand of the product.
        return 3 * whole + d.heads * square * (m.product + (FLOAT if m.bf16 else 0)), 2 * d.heads * square * FLOAT
    # Queries, keys, values, the output, one number for each token and head; torch turns the mask into numbers.
    mask = square * m.product if row.prompts > 1 else 0
    return 4 * whole + FLOAT * d.heads * row.tokens + mask, 4 * whole


def tower_layer(t: Tower, m: Mode, images: Sequence[int], segment: int = 0) -> Layer:
    """One layer over ``images`` (patches of each), attending in segments of ``segment`` patches, or in whole images."""
    patches = sum(images)
    norm = t.width * (FLOAT + (0 if m.rank else m.product)) if t.rms else t.width * _layer_norm(m)
    qkv = t.width * m.operand(1) + 3 * t.width * m.product
    weights = sum(_squares(n, segment or n, t, m) for n in images)
    attention = patches * (norm + qkv + t.width * m.operand(1) + 2 * m.rank * m.product) + weights
    inner = (t.inner - 1) * m.product + m.operand(1)
    mlp = patches * (norm + t.width * m.operand(2 if t.gated else 1) + t.mlp * inner + 3 * m.rank * m.product)
    behind = patches * ((2 if t.gated else 1) * t.mlp + 2 * t.width) * m.product
    return Layer(attention, mlp, max(behind, 2 * weights - mlp))


def _layer_norm(m: Mode) -> int:
    """Bytes of a layer norm's input: on a GPU, autocast computes it in float32."""
    return FLOAT if m.fused else m.product


def _squares(patches: int, segment: int, t: Tower, m: Mode) -> int:
    if segment <= SHORT_IMAGE and not m.fused:
        return patches * min(segment, patches) * t.heads * m.product
    return patches * (t.width * m.product + FLOAT * t.heads)


def tower_layers(t: Tower, m: Mode, images: Sequence[int]) -> list[Layer]:
    """All layers of the tower that the backward pass goes through."""
    if not t.learns(m):
        return []
    windowed = [tower_layer(t, m, images, t.window)] * t.windowed
    return windowed + [tower_layer(t, m, images)] * (t.layers - t.windowed)


def ends(d: Decoder, t: Tower, m: Mode, row: Row, images: Sequence[int]) -> tuple[int, int]:
    """What is kept outside of the layers: of the decoder (its last norm), and of the tower (patches, mergers)."""
    last = row.tokens * d.width * (FLOAT * (1 if m.rank else 2) + m.stream)
    if not t.learns(m):
        return last, 0
    patches = sum(images)
    # A merger's norm keeps its input. Then come the inputs of two products and of the activation between them, of which
    # only the activation's is needed where the weights are frozen.
    merger = ((1 if m.frozen else 3) * t.mergers + 1) * m.product + (0 if m.frozen or not t.rms else FLOAT)
    # The patches themselves are the input of the first product; autocast copies them.
    copied = t.values * m.product if m.bf16 and not m.rank and not m.frozen else 0
    return last, patches * (t.width * merger + copied)


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

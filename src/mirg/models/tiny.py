"""A tiny model of a real class, built offline: the code that loads a 7B model loads this one unchanged.

The architecture, processor and chat template are those of transformers and TRL; only the sizes are small. The tokenizer
is trained when the model is built: byte-level BPE with the special tokens of the Qwen-VL families. What a tiny model
has to look up or to copy is ONE token each: image labels (``Image-3``), object names (``red ring``) and the
coordinates of the 0-1000 grid. The weights are random; ``research/perception`` trains them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mirg.models.processors import image_only

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin


END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# In the order of Qwen's tokenizers. Of these, only TURN_END may be sampled into a completion.
SPECIAL_TOKENS = (
    *(END_OF_TEXT, TURN_START, TURN_END, "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>"),
    *("<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>"),
    "<|video_pad|>",
)
TINY_FAMILY = "mirg-tiny"
GRID = tuple(range(0, 1001, 40))  # the coordinates of mirg-tiny, see mirg.frames
MAX_IMAGES = 8  # image labels that are one token; the labels of further images take several tokens
GRAMMAR_TOKENS = ("<think>", "</think>", "<answer>", "</answer>")


def train_tokenizer(
    corpus: Iterable[str],
    *,
    names: Sequence[str],
    coordinates: Sequence[int],
    max_images: int = MAX_IMAGES,
    vocab_size: int = 640,
    special: Sequence[str] = SPECIAL_TOKENS,
    end: str = TURN_END,
    padding: str = END_OF_TEXT,
) -> PreTrainedTokenizerFast:
    """Train on ``corpus``; ``names`` (with a leading blank), ``coordinates`` and image labels become whole tokens.

    ``special`` tokens are those of a model family, ``end`` and ``padding`` are among them.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(corpus, trainer)
    core.add_tokens([AddedToken(token, normalized=False) for token in GRAMMAR_TOKENS])
    labels = [f"Image-{n}" for n in range(1, max_images + 1)]
    # single_word: "Image-1" must not match inside "Image-12", nor "40" inside "1040".
    core.add_tokens([AddedToken(t, normalized=False, single_word=True) for t in (*labels, *map(str, coordinates))])
    # With the blank before them, so that the model chooses a name with one token and not with two.
    core.add_tokens([AddedToken(f" {word}", normalized=False) for word in (*labels, *names)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=end,
        pad_token=padding,
        clean_up_tokenization_spaces=False,
        extra_special_tokens=list(special),
    )
    tokenizer.padding_side = "left"
    return tokenizer


CHAT_TEMPLATES = {"qwen3_vl": "qwen3_vl.jinja", "qwen2_5_vl": "qwen2_5_vl.jinja", "qwen2_vl": "qwen2_5_vl.jinja"}
# Sides of a patch and of an image in pixels. A Qwen2-VL model keeps its family's factor of 28, whose boxes may be in
# pixels.
_QWEN2_SIDES = {"patch": 14, "image_side": 84}


class TinyConfig(BaseModel):
    """Sizes of a tiny model; ``image_side`` is in pixels, one visual token covers ``2 * patch`` pixels a side.

    Images have as many pixels as a square of ``image_side``; with ``least_side``, as few as a square of that side.
    The default ``patch`` and ``image_side`` are 16 and 96, and 14 and 84 for the Qwen2-VL types.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_type: Literal["qwen3_vl", "qwen2_5_vl", "qwen2_vl"] = "qwen3_vl"
    width: int = Field(default=128, ge=16)
    layers: int = Field(default=4, ge=1)
    heads: int = 4
    kv_heads: int = 4
    mlp: int = 384
    vision_width: int = 128
    vision_layers: int = 3
    vision_heads: int = 4
    vision_mlp: int = 256
    patch: int = 16
    image_side: int = 96
    least_side: int | None = None
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _sides_of_the_family(cls, values: Any) -> Any:
        if isinstance(values, dict) and str(values.get("model_type", "")).startswith("qwen2"):
            return _QWEN2_SIDES | values
        return values

    @property
    def family(self) -> str:
        """The name of the model's family in :mod:`mirg.frames`."""
        return {"qwen3_vl": TINY_FAMILY, "qwen2_5_vl": "qwen2.5-vl", "qwen2_vl": "qwen2-vl"}[self.model_type]


def build_tiny(
    config: TinyConfig, *, corpus: Iterable[str], names: Sequence[str], coordinates: Sequence[int] = GRID
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A random model and its processor, both ready for ``save_pretrained``. Deterministic in ``config.seed``."""
    tokenizer = train_tokenizer(corpus, names=names, coordinates=coordinates)
    return build_model(config, tokenizer), build_processor(config, tokenizer)


def build_processor(config: TinyConfig, tokenizer: PreTrainedTokenizerFast) -> ProcessorMixin:
    """The real processor class around ``tokenizer``, its image limits fixed at the tiny model's image side."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    least, most = (side**2 for side in (config.least_side or config.image_side, config.image_side))
    images = Qwen2VLImageProcessorPil(
        patch_size=config.patch,
        merge_size=2,
        temporal_patch_size=2,
        size={"shortest_edge": least, "longest_edge": most},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    template = (resources.files("trl") / "chat_templates" / CHAT_TEMPLATES[config.model_type]).read_text()
    processor_class: Any = image_only(config.model_type)
    tokenizer.chat_template = template
    return processor_class(image_processor=images, tokenizer=tokenizer, chat_template=template)


def build_model(config: TinyConfig, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A randomly initialised model of the real class, matrices drawn with standard deviation 1/sqrt(fan-in)."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    id_of: Any = tokenizer.convert_tokens_to_ids
    arguments: dict[str, Any] = {
        "text_config": _text_config(config, tokenizer),
        "vision_config": _vision_config(config),
        "tie_word_embeddings": True,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "image_token_id": id_of("<|image_pad|>"),
        "video_token_id": id_of("<|video_pad|>"),
        "vision_start_token_id": id_of("<|vision_start|>"),
        "vision_end_token_id": id_of("<|vision_end|>"),
    }
    model_config = AutoConfig.for_model(config.model_type, **arguments)
    model_config.mirg_family = config.family
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = AutoModelForImageTextToText.from_config(model_config, dtype=torch.float32, attn_implementation="eager")
        _initialise(model)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def _text_config(config: TinyConfig, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    half = config.width // config.heads // 2
    section = [half - 2 * (half // 3), half // 3, half // 3]
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": section}
    if config.model_type == "qwen3_vl":
        rope["mrope_interleaved"] = True
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "hidden_size": config.width,
        "intermediate_size": config.mlp,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.width // config.heads,
        "max_position_embeddings": 4096,
        "rope_parameters": rope,
        "tie_word_embeddings": True,
    }


def _vision_config(config: TinyConfig) -> dict[str, Any]:
    common: dict[str, Any] = {
        "depth": config.vision_layers,
        "num_heads": config.vision_heads,
        "patch_size": config.patch,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    if config.model_type == "qwen2_vl":
        return common | {"embed_dim": config.vision_width, "hidden_size": config.width, "mlp_ratio": 2}
    common |= {
        "hidden_size": config.vision_width,
        "intermediate_size": config.vision_mlp,
        "out_hidden_size": config.width,
    }
    if config.model_type == "qwen2_5_vl":
        return common | {"window_size": config.patch * 8, "fullatt_block_indexes": [config.vision_layers - 1]}
    side = max(config.image_side // config.patch, 4)
    return common | {"num_position_embeddings": side**2, "deepstack_visual_indexes": [config.vision_layers // 2]}


def _initialise(model: PreTrainedModel) -> None:
    """Draw weights with deviation 1/sqrt(fan-in): the default of 0.02 is for widths in the thousands."""
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv3d | nn.Embedding):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        if isinstance(module, nn.Linear | nn.Conv3d) and module.bias is not None:
            nn.init.zeros_(module.bias)
    model.tie_weights()

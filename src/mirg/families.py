"""Model families: how each writes boxes and answers, and what its processor does to images. Facts, no code.

The family "mirg-tiny" is the embedded model. A new family is one entry in :data:`FAMILIES`. The conversions of boxes
are in :mod:`mirg.frames`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mirg.errors import ConfigError, did_you_mean

RELATIVE_MAX = 1000  # the right and lower edge of the 0-1000 frame; some documents say 999, the models write 1000


@dataclass(frozen=True)
class PixelLimits:
    """Fewest and most pixels of a resized image, as the processor counts them (``shortest_edge``, ``longest_edge``).

    GLM counts every image as two frames, so its limits are twice the pixels. InternVL resizes to whole tiles; its
    limits are the fewest and most tiles times the area of a tile. SmolVLM gives every image the same longer side; its
    limits are the area of a tile and the square of that side, of which only the second can be set. Gemma 4 enlarges
    every image to the most pixels. LFM2-VL splits much larger images into tiles and adds a small copy of the whole.
    """

    min_pixels: int
    max_pixels: int


@dataclass(frozen=True)
class Family:
    """What one model family does to images and boxes: facts, no code.

    ``limits`` are those of the published checkpoints (their ``preprocessor_config.json``), which the classes'
    own defaults need not equal. ``vision_tokens`` are the special tokens that may never be sampled into a completion.
    """

    name: str
    model_types: tuple[str, ...]  # transformers' config.model_type
    box_frame: Literal["relative_1000", "resized_pixels", "fraction"]  # fraction: 0-1, written in thousandths
    style: Literal["text", "json"]  # how this family spells an answer unless told otherwise
    limits: PixelLimits
    factor: int  # sides of a resized image are multiples of it
    image_token: str  # what one visual token looks like in the tokenised prompt
    vision_tokens: tuple[str, ...]
    turn_end: str = ""  # the token that ends an answer, if it is not the tokenizer's end token
    # A kind of layer of its decoders by which completions of one prompt cannot be packed into a row; "": none.
    unpacked: str = ""
    step: int = 1  # coordinates are multiples of it
    # which arithmetic, see ``input_size``
    resize: Literal["image", "frames", "tiles", "longest", "budget", "split"] = "image"
    # Visual tokens of a tile of ``factor`` pixels a side; 0: such a square is one token. A tile of LFM2-VL is larger.
    tile_tokens: int = 0
    # Tokens besides the visual ones that the processor writes for an image, for each of its tiles, and for each row of
    # several tiles.
    marks: tuple[int, int, int] = (0, 0, 0)
    box_open: str = ""  # around a box in the text style
    box_close: str = ""
    brackets: Literal["pairs", "nested"] = "pairs"  # text style: (x1,y1),(x2,y2) or [[x1,y1,x2,y2]]
    axes: Literal["xy", "yx"] = "xy"  # "yx": boxes are written [y1, x1, y2, x2]
    # Tokens that the published chat template adds to one user message and the opening of the answer: for the prompt
    # (Qwen2-VL and Qwen2.5-VL put a system message in front), and around each image.
    template_tokens: tuple[int, int] = (19, 2)

    def __post_init__(self) -> None:
        """Refuse a step that does not divide the frame."""
        if self.step != 1 and (self.box_frame != "relative_1000" or RELATIVE_MAX % self.step):
            raise ConfigError(
                f"family {self.name}: coordinate step {self.step} does not fit its frame",
                hint=f"a step other than 1 needs the 0-{RELATIVE_MAX} frame and must divide {RELATIVE_MAX}",
            )

    @property
    def grids(self) -> bool:
        """Whether its processor makes one grid of patches of every image, of a size that follows from the limits."""
        return self.resize in ("image", "frames")

    @property
    def box_key(self) -> str:
        """The key under which the family writes a box in JSON."""
        if self.axes == "yx":
            return "box_2d"
        return "bbox" if self.box_frame == "fraction" else "bbox_2d"


QWEN2_VL = Family(
    name="qwen2-vl",
    model_types=("qwen2_vl",),
    box_frame="relative_1000",
    style="text",
    limits=PixelLimits(56 * 56, 28 * 28 * 16384),
    factor=28,
    image_token="<|image_pad|>",
    vision_tokens=(
        *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
        "<|im_start|>",
    ),
    box_open="<|box_start|>",
    box_close="<|box_end|>",
)
QWEN25_VL = replace(
    QWEN2_VL,
    name="qwen2.5-vl",
    model_types=("qwen2_5_vl",),
    box_frame="resized_pixels",
    style="json",
    box_open="",
    box_close="",
)
QWEN3_VL = replace(
    QWEN25_VL,
    name="qwen3-vl",
    model_types=("qwen3_vl", "qwen3_vl_moe"),
    box_frame="relative_1000",
    limits=PixelLimits(256 * 256, 4096 * 4096),
    factor=32,
    template_tokens=(8, 2),
)
# Qwen3.5 to Qwen3.8. The chat templates of the larger ones open the thinking, which takes two tokens.
QWEN35 = replace(
    QWEN3_VL,
    name="qwen3.5",
    model_types=("qwen3_5", "qwen3_5_moe"),
    template_tokens=(10, 2),
    unpacked="linear_attention",
)
INTERNVL = Family(
    name="internvl",
    model_types=("internvl", "internvl_chat"),
    box_frame="relative_1000",
    style="text",
    limits=PixelLimits(448 * 448, 12 * 448 * 448),
    factor=448,
    resize="tiles",
    tile_tokens=256,
    marks=(2, 0, 0),
    image_token="<IMG_CONTEXT>",
    vision_tokens=("<img>", "</img>", "<IMG_CONTEXT>", "<video>", "<|im_start|>"),
    box_open="<box>",
    box_close="</box>",
    brackets="nested",
    template_tokens=(8, 1),
)
GLM_V = Family(
    name="glm-v",
    model_types=("glm4v", "glm4v_moe", "glm46v"),
    box_frame="relative_1000",
    style="json",
    limits=PixelLimits(112 * 112, 28 * 28 * 12288),
    factor=28,
    resize="frames",
    image_token="<|image|>",
    vision_tokens=(
        *("<|begin_of_image|>", "<|end_of_image|>", "<|image|>", "<|begin_of_video|>", "<|end_of_video|>", "<|video|>"),
        *("<|system|>", "<|user|>", "<|assistant|>"),
    ),
    turn_end="<|user|>",  # the beginning of the next turn; the template closes none
    template_tokens=(6, 2),
)
# SmolVLM2 was not trained to write boxes: it is given the frame and the style of Qwen3-VL. The facts are those of its
# checkpoints with 256 M and 500 M parameters; that with 2.2 B has tiles of 384 pixels, which its processor says.
SMOLVLM2 = Family(
    name="smolvlm2",
    model_types=("smolvlm",),
    box_frame="relative_1000",
    style="json",
    limits=PixelLimits(512 * 512, 2048 * 2048),
    factor=512,
    resize="longest",
    tile_tokens=64,
    marks=(1, 2, 1),
    image_token="<image>",
    vision_tokens=(
        *("<fake_token_around_image>", "<image>", "<global-img>", "<|im_start|>"),
        *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
    ),
    template_tokens=(8, 0),
)
# Every image becomes as many of at most 280 soft tokens as its aspect ratio allows; one is 3 x 3 patches of 16 pixels.
# The processor takes no other numbers of soft tokens than 70, 140, 280, 560 and 1120.
GEMMA_4 = Family(
    name="gemma-4",
    model_types=("gemma4",),
    box_frame="relative_1000",
    axes="yx",
    style="json",
    limits=PixelLimits(48 * 48, 280 * 48 * 48),
    factor=48,
    resize="budget",
    image_token="<|image|>",
    vision_tokens=(
        *("<|image|>", "<|image>", "<image|>", "<|audio|>", "<|audio>", "<audio|>", "<|video|>"),
        *("<|turn>", "<|channel>", "<channel|>", "<|think|>"),
    ),
    marks=(2, 0, 0),
    turn_end="<turn|>",
    unpacked="sliding_attention",
    template_tokens=(9, 0),
)
# The model card of LFM2.5-VL-450M and the published grounding recipe of LFM2.5-VL write fractions; the documentation of
# LFM2.5-VL-3B writes 0-1000 as Qwen3-VL does. Both have the same model type, so the second is chosen by name.
LFM2_VL = Family(
    name="lfm2-vl",
    model_types=("lfm2_vl",),
    box_frame="fraction",
    style="json",
    limits=PixelLimits(64 * 32 * 32, 256 * 32 * 32),
    factor=32,
    resize="split",
    tile_tokens=256,
    image_token="<image>",
    vision_tokens=(
        *("<image>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>", "<|im_start|>"),
        *(f"<|img_row_{row}_col_{column}|>" for row in range(1, 11) for column in range(1, 11)),
    ),
    marks=(2, 1, 0),
    unpacked="conv",
    template_tokens=(9, 0),
)
LFM2_VL_3B = replace(LFM2_VL, name="lfm2.5-vl-3b", model_types=(), box_frame="relative_1000")
# MiMo-VL checkpoints call themselves "qwen2_5_vl" and are built like it; only a name can tell them apart.
MIMO_VL = replace(QWEN25_VL, name="mimo-vl", model_types=("mimo_vl",))
# The embedded tiny model: Qwen3-VL arithmetic, 25 steps per axis, one token per coordinate value. Chosen by name.
MIRG_TINY = replace(QWEN3_VL, name="mirg-tiny", model_types=(), style="text", step=40)
# The models that ship with mirg, each in the folder of its name in mirg/models, and their families.
MIRG_TINY_PHOTO = "mirg-tiny-photo"
EMBEDDED_MODELS: dict[str, Family] = {MIRG_TINY.name: MIRG_TINY, MIRG_TINY_PHOTO: MIRG_TINY}

FAMILIES: dict[str, Family] = {
    f.name: f
    for f in (
        *(QWEN2_VL, QWEN25_VL, QWEN3_VL, QWEN35, INTERNVL, SMOLVLM2, GLM_V, GEMMA_4, LFM2_VL, LFM2_VL_3B),
        *(MIMO_VL, MIRG_TINY),
    )
}


def family(name: str) -> Family:
    """The family called ``name``; :class:`ConfigError` with the nearest name if it is unknown."""
    if name in FAMILIES:
        return FAMILIES[name]
    raise ConfigError(
        f"unknown model family {name!r}",
        hint=f"{did_you_mean(name.lower(), FAMILIES, cutoff=0.4)}known: {', '.join(FAMILIES)}",
    )


def family_of_model_type(model_type: str) -> Family:
    """The family of a transformers ``config.model_type`` (``qwen2_5_vl``); :class:`ConfigError` if no family has it."""
    for candidate in FAMILIES.values():
        if model_type in candidate.model_types:
            return candidate
    raise ConfigError(
        f"mirg knows no family of models of the type {model_type!r}",
        hint="`mirg models` lists the types; if the model writes boxes as one of these families does, name that family"
        " (--family, or prompt.family in a recipe); docs/how-to/models.md says how to add a family",
    )


def works(family: Family, unpacked: str | None = None) -> dict[str, bool | str]:
    """What works for a model of ``family`` with layers of the kind ``unpacked``; None: those of the family.

    The keys are stages of training, ways to evaluate, and ``unpacked_layers``.
    """
    other = family.unpacked if unpacked is None else unpacked
    return {
        "sft": True,
        "grpo_packed": not other,
        "grpo_unpacked": True,
        "own_engine": not other,
        "generate": True,
        "vllm": family.grids,
        "vllm_rollouts": family.grids and not other,
        "unpacked_layers": other,
    }


def limits_of(family: Family, min_pixels: int | None, max_pixels: int | None) -> PixelLimits:
    """The family's limits with another minimum or maximum. ConfigError if the minimum is larger than the maximum."""
    limits = PixelLimits(min_pixels or family.limits.min_pixels, max_pixels or family.limits.max_pixels)
    if limits.min_pixels > limits.max_pixels:
        raise ConfigError(
            f"min_pixels ({limits.min_pixels}) is larger than max_pixels ({limits.max_pixels})",
            hint=f"the limits of {family.name} are {family.limits.min_pixels} and {family.limits.max_pixels}",
        )
    return limits

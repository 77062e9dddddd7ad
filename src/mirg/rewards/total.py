"""The total reward: arms and weights over the format, image and object parts (``docs/concepts/answers.md``).

Each arm is one flag away from the others, for ablations:

===================  ====================================  ==============
arm                  object term                           image term
===================  ====================================  ==============
``dual`` (ours)      inside each image                     yes
``gated``            as dual, 0 unless all images right    yes
``object_only``      any image (UniVG-R1, VLM-R1)          no
``object_in_image``  inside each image                     no
``additive``         any image                             yes
===================  ====================================  ==============
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mirg.answers.read import Reading, read
from mirg.families import Family, PixelLimits
from mirg.rewards.parts import Part, Shape, dual_threshold, format_part, image_part, named_images, object_part
from mirg.samples.schema import Sample

Arm = Literal["dual", "gated", "object_only", "object_in_image", "additive"]
Shaping = Literal["iou", "dual_threshold", "at"]

PARTS = ("format", "image", "object")
_WITHOUT_IMAGE: frozenset[Arm] = frozenset({"object_only", "object_in_image"})
_WHATEVER_IMAGE: frozenset[Arm] = frozenset({"object_only", "additive"})


class RewardConfig(BaseModel):
    """Which reward. Weights are relative: the total is divided by their sum, so it stays in [0, 1].

    The default gives format little (a trained policy keeps it, and it must not pay for a wrong answer) and the box
    somewhat more than the image, since it can be right only where the image is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    arm: Arm = Field(default="dual", description="Which terms count, and whether a box must be in the right image.")
    format_weight: float = Field(default=0.1, ge=0, allow_inf_nan=False, description="Weight of the format reward.")
    image_weight: float = Field(default=0.4, ge=0, allow_inf_nan=False, description="Weight of the image reward.")
    object_weight: float = Field(default=0.5, ge=0, allow_inf_nan=False, description="Weight of the object reward.")
    shaping: Shaping = Field(default="iou", description="What a matched box earns by its IoU.")
    threshold: float = Field(default=0.5, gt=0, le=1, description="IoU from which a box earns 1, for shaping 'at'")
    partial_format: bool = Field(default=False, description="0.25 for each well-paired block of a broken format")

    @model_validator(mode="after")
    def _something_counts(self) -> RewardConfig:
        if sum(self.weights) <= 0:
            raise ValueError(f"all weights of arm {self.arm!r} are 0: at least one part must count")
        return self

    @property
    def weights(self) -> tuple[float, float, float]:
        """Weights of (format, image, object) as given; the image weight is 0 in an arm without an image term."""
        image = 0.0 if self.arm in _WITHOUT_IMAGE else self.image_weight
        return (self.format_weight, image, self.object_weight)

    @property
    def shares(self) -> tuple[float, float, float]:
        """:attr:`weights` divided by their sum: the total is the sum of share times part."""
        a, b, c = self.weights
        total = a + b + c or 1.0  # a plug-in may be the only reward
        return (a / total, b / total, c / total)


@dataclass(frozen=True, slots=True)
class Score:
    """The reward of one completion: its parts, the weighted total, and what was read."""

    format: Part
    image: Part
    object: Part
    total: float
    reading: Reading

    @property
    def values(self) -> tuple[float, float, float]:
        """The values of (format, image, object)."""
        return (self.format.value, self.image.value, self.object.value)

    @property
    def reasons(self) -> dict[str, str]:
        """Why, for each part that is below 1."""
        parts = zip(PARTS, (self.format, self.image, self.object), strict=True)
        return {name: part.reason for name, part in parts if part.reason}


DEFAULT = RewardConfig()


def score(
    text: str,
    sample: Sample,
    family: Family,
    config: RewardConfig = DEFAULT,
    limits: PixelLimits | None = None,
    *,
    looks: bool = False,
) -> Score:
    """Reward of a completion for ``sample``: pure, total on any ``text``, every value finite and in [0, 1].

    ``looks``: the looks of the completion are part of its format (:func:`mirg.answers.read.read`).
    """
    return score_reading(read(text, sample.sizes, family, limits, looks=looks), sample, config)


def score_reading(reading: Reading, sample: Sample, config: RewardConfig = DEFAULT) -> Score:
    """Reward of a completion that has been read already."""
    form = format_part(reading, partial=config.partial_format)
    true_images = sample.target_images
    image = image_part(reading, true_images)
    inside = config.arm not in _WHATEVER_IMAGE
    boxes = object_part(reading, sample.targets, inside_images=inside, shape=_shape(config))
    if config.arm == "gated" and boxes.value and named_images(reading) != true_images:
        boxes = Part(0.0, f"gated: {image.reason}")
    a, b, c = config.shares
    total = a * form.value + b * image.value + c * boxes.value
    return Score(form, image, boxes, min(max(total, 0.0), 1.0), reading)


def _shape(config: RewardConfig) -> Shape:
    """What the IoU of a pair of boxes counts."""
    if config.shaping == "at":
        return lambda iou: float(iou >= config.threshold)
    return dual_threshold if config.shaping == "dual_threshold" else float

"""The settings of ``mirg data photos``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PhotoTask = Literal["region", "difference", "refer"]
PHOTO_TASKS: tuple[PhotoTask, ...] = ("region", "difference", "refer")


class PhotoConfig(BaseModel):
    """Settings of one run over a folder of photographs; lengths of crops are fractions of a side of the photograph."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int = Field(default=300, ge=1, description="samples to make")
    seed: int = 0
    split: Literal["train", "test"] = "train"
    test_share: float = Field(
        default=0.2, ge=0, le=1, description="share of the photographs kept for the test split; 1: all of them"
    )
    tasks: tuple[PhotoTask, ...] = Field(default=PHOTO_TASKS, min_length=1)
    side: int = Field(default=448, ge=32, le=4096, description="long edge of the stored photographs, pixels")
    square: bool = Field(default=False, description="resize photographs and crops to side x side, without borders")
    max_images: int = Field(default=4, ge=2, le=16, description="most images of one sample")
    max_photos: int = Field(default=2000, ge=1, description="most photographs to use; a larger folder is sampled")
    max_megapixels: float = Field(default=32.0, gt=0, description="larger photographs are rejected")

    # Where a crop may lie. Measured on a copy of at most 64 pixels a side, see texture.py.
    smallest: float = Field(default=0.22, gt=0, lt=1)
    largest: float = Field(default=0.45, gt=0, lt=1)
    min_contrast: float = Field(default=0.06, ge=0, description="standard deviation of the brightness inside a crop")
    min_edges: float = Field(default=0.15, ge=0, description="share of edge pixels inside a crop")
    max_correlation: float = Field(default=0.9, description="a place as alike as this elsewhere rules a crop out")
    min_distance: float = Field(default=0.05, ge=0, description="root-mean-square colour difference to anywhere else")
    min_change: float = Field(default=0.1, ge=0, description="root-mean-square change that an altered patch must make")
    tries: int = Field(default=24, ge=1, description="places to try in one photograph")

    @model_validator(mode="after")
    def _some_split(self) -> PhotoConfig:
        if (self.split, self.test_share) in (("train", 1.0), ("test", 0.0)):
            other = "test" if self.split == "train" else "train"
            raise ValueError(
                f"test_share = {self.test_share:g} leaves no photograph for the split {self.split}: set split={other}"
            )
        return self

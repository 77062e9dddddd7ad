"""What an import may be asked for."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from mirg.data.importers.frames import FrameName
from mirg.data.importers.label_map import LabelMap

# How far image files are looked at: not at all; size; size and digest; every pixel and digest.
Look = Literal["none", "header", "hash", "decode"]

Negatives = Literal["auto", "keep", "drop"]
Exif = Literal["apply", "ignore"]


class ImportOptions(BaseModel):
    """Settings of one import; each reader uses what concerns it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: str = Field(description="Folder that the rows' image paths are relative to.")
    strip: str = Field(default="", description="Beginning of the rows' paths to leave out: /data/raw/")
    frame: FrameName | None = Field(default=None, description="Frame of the boxes; None: that of the format.")
    family: str | None = Field(default=None, description="Model family whose resized pixels the boxes are in.")
    min_pixels: int | None = Field(default=None, ge=1, description="Fewest pixels of a resized image; None: default.")
    max_pixels: int | None = Field(default=None, ge=1, description="Most pixels of a resized image; None: default.")
    trainer: str = Field(default="", description="Trainer whose loader resized the images before the processor.")
    look: Look = "hash"
    exif: Exif | None = Field(
        default=None,
        description="Boxes of photographs that EXIF rotates: apply, they are in the upright picture; ignore, in the "
        "stored pixels. None: as apply, with a warning, unless the sizes of the row tell.",
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="Which column is which, for hf, sharegpt and ms-swift: question=text"
    )
    split: str = Field(default="train", description="Split of a datasets folder or hub dataset.")
    stride: int = Field(default=10, ge=1, description="Every how many frames of a video one is taken.")
    frames: int = Field(default=6, ge=2, le=64, description="Frames of one sample of a video.")
    labels: LabelMap | None = Field(default=None, description="Labels to rename, merge and drop.")
    meta: dict[str, str] = Field(
        default_factory=dict, description="Fields of the rows to keep, by their key in meta: image_set=film"
    )
    negatives: Negatives = Field(
        default="auto",
        description="Images without objects as samples without targets: if the file says that they were annotated "
        "(auto), every one that it lists (keep), or none (drop).",
    )
    image_index_from: Literal[0, 1] | None = Field(
        default=None, description="Number of the first image in texts; None: found out over all rows."
    )
    seed: int = 0
    stored: str = Field(
        default="", description="Folder for images that a source holds as bytes; set by the import, which copies them."
    )

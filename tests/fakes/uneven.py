"""A sample in which nothing is square and the target is not in the first image, for a family that counts in pixels.

Under ``LIMITS`` the processor of Qwen2.5-VL enlarges the second image and shrinks the third. The numbers of the boxes
are written out here, so that they do not come from the code that is tested.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from mirg.families import QWEN25_VL, PixelLimits
from mirg.samples import DatasetFolder, DatasetWriter, ImageRef, Sample, Target, Trajectory

FAMILY = QWEN25_VL
LIMITS = PixelLimits(40 * 28 * 28, 200 * 28 * 28)
SIZES = ((500, 300), (50, 150), (1000, 400))
SEEN = ((504, 308), (112, 308), (616, 224))  # what the processor makes of SIZES under LIMITS
TOKENS = 198 + 44 + 176  # cells of 28 x 28 pixels in SEEN
BOX = (0.5, 0.25, 1.0, 0.75)  # touches the right edge of its image
POINTED = "[28,77,84,154]"  # the box of the question, in pixels of the second image
CITED = "[308,56,616,168]"  # BOX, in pixels of the third image
WRITTEN = '[{"image": 3, "bbox_2d": [308, 56, 616, 168], "label": "ring"}]'
CHAIN = f"<think>Image-3 shows it. The ring is at {CITED}.</think>"
COMPLETION = f"{CHAIN}<answer>{WRITTEN}</answer>"
THINKING = "Image-3 shows it. The ring is at <box image=3>0.5,0.25,1.0,0.75</box>."
SAMPLE = Sample(
    id="uneven",
    task="refer",
    images=tuple(ImageRef(path=f"images/{k}.png", width=w, height=h) for k, (w, h) in enumerate(SIZES, 1)),
    question="What looks like <box image=2>0.25,0.25,0.75,0.5</box>?",
    targets=(Target(image=3, box=BOX, label="ring"),),
    trajectory=Trajectory(thinking=THINKING, answer=(Target(image=3, box=BOX, label="ring"),), writer="rules"),
)


def write_uneven(folder: Path, **fields: Any) -> DatasetFolder:
    """``SAMPLE`` with its images, and with other ``fields``, as a dataset folder."""
    with DatasetWriter(folder, name="uneven") as out:
        refs = tuple(out.add_image(Image.new("RGB", size, (9, 9 * k, 0)), str(k)) for k, size in enumerate(SIZES, 1))
        out.add(SAMPLE.model_copy(update={"images": refs, **fields}))
    return DatasetFolder.open(folder)

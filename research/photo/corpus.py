"""The sentences that the tokenizer is made for: questions, reasoning and answers of the photograph tasks, exercises."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from mirg.data.compose.photos.build import write_photo_samples
from mirg.data.compose.photos.pool import PhotoConfig
from mirg.samples import DatasetFolder
from mirg.trajectories.build import build_dataset
from research.photo.language import draw_batch

_PHOTOS, _SAMPLES, _EXERCISES = 60, 320, 300
_FRAME = "user\nassistant\nLabel: patch. <think></think><answer>\nImage- : (0,0),(40,40)\n</answer> none"


def corpus(photos: Sequence[Image.Image], seed: int) -> list[str]:
    """Texts without image numbers and coordinates, which are tokens in any case."""
    texts = [*_samples(photos[:_PHOTOS], seed), *_questions()]
    rng = np.random.default_rng((seed, 0))
    for exercise in draw_batch(rng, photos, _EXERCISES):
        texts += [re.sub(r"\d+", "0", text) for text in (exercise.request, exercise.completion)]
    return [text.replace("Image-", "Image- ") for text in texts] + [_FRAME] * 200


def _samples(photos: Sequence[Image.Image], seed: int) -> Iterator[str]:
    """Questions and reasoning of the tasks without labels, in both voices."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "photos"
        pictures.mkdir()
        for k, photo in enumerate(photos):
            photo.save(pictures / f"{k:03d}.png")
        plain = Path(folder) / "plain"
        write_photo_samples(pictures, plain, PhotoConfig(n=_SAMPLES, seed=seed, side=256))
        for voice in ("plain", "terse"):
            told = Path(folder) / voice / "told"
            build_dataset(DatasetFolder.open(plain), told, voice=voice)
            for line in (told / "samples.jsonl").read_text().splitlines():
                row: Any = json.loads(line)
                for text in (row["question"], row["trajectory"]["thinking"]):
                    yield re.sub(r"<box image=\d+>[^<]*</box>", "(0,0),(40,40)", text)


def _questions() -> Iterator[str]:
    """The questions about annotated images."""
    text = (resources.files("mirg") / "data/compose/questions/en.yaml").read_text(encoding="utf-8")
    yield from _strings(yaml.safe_load(text))


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for part in parts for text in _strings(part)]

"""What an evaluation depends on, as digests: a stored row is used again only if none of it has changed.

The run key covers model fingerprint, numerics (number type and kind of device), family and pixel limits, generation
settings (batch size included: the numerics of a batch depend on its shape), instructions, reward configuration and
reader version. A sample key adds the prompt, the
content of every image and the truth; a row's key adds all samples of its batch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mirg.answers.prompts import Instructions
from mirg.answers.read import READER_VERSION
from mirg.engines.base import Engine, Generation
from mirg.errors import ImageError
from mirg.images import image_digest
from mirg.rewards import RewardConfig
from mirg.samples import DatasetFolder, ImageRef, Sample

RECORD_VERSION = "mirg.records/1"

# Names are stored for people; moving a model or a dataset changes no score, so they are part of no key.
NAMES = frozenset({"model", "dataset"})


def run_settings(
    engine: Engine, generation: Generation, instructions: Instructions, rewards: RewardConfig
) -> dict[str, Any]:
    """Everything but the samples, as plain data: stored beside the records and compared before they are used again."""
    return {
        "records": RECORD_VERSION,
        "reader": READER_VERSION,
        "model": engine.name,
        "fingerprint": engine.fingerprint,
        "numerics": getattr(engine, "numerics", None),
        "family": engine.family.name,
        "limits": None if engine.limits is None else asdict(engine.limits),
        "generation": asdict(generation),
        "instructions": instructions,
        "rewards": rewards.model_dump(mode="json"),
    }


def digest(value: object) -> str:
    """SHA-256 of ``value`` as canonical JSON, 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class ImageDigests:
    """The contents of a dataset's images as digests; a file is read once, however many samples show it."""

    def __init__(self, folder: DatasetFolder) -> None:
        self._folder = folder
        self._known: dict[str, str] = {}

    def of(self, ref: ImageRef) -> str:
        """SHA-256 of the image's file; ``unreadable`` if it cannot be read."""
        if ref.path not in self._known:
            try:
                self._known[ref.path] = image_digest(self._folder.image_path(ref))
            except ImageError:
                self._known[ref.path] = "unreadable"
        return self._known[ref.path]


def sample_key(sample: Sample, messages: object, images: ImageDigests) -> str:
    """Digest of the prompt, the images' contents and the truth."""
    return digest([sample.model_dump(mode="json"), messages, [images.of(ref) for ref in sample.images]])


def row_keys(settings: dict[str, Any], ids: Sequence[str], sample_keys: Sequence[str]) -> dict[str, str]:
    """The key of each row of one batch, by sample id (32 hexadecimal digits)."""
    batch = digest([{k: v for k, v in settings.items() if k not in NAMES}, list(sample_keys)])
    return {sample_id: digest([batch, sample_id])[:32] for sample_id in ids}


def batch_seed(seed: int, batch: int) -> int:
    """The sampling seed of batch number ``batch``: a pure function, so resuming needs no generator state."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{batch}".encode()).digest()[:4], "big") >> 1

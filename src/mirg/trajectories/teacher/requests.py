"""One request: its identity, its largest cost, and the body that is sent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mirg.engines.limits import Cost
from mirg.images import image_digest
from mirg.samples import DatasetFolder, Sample
from mirg.storage import digest_bytes
from mirg.trajectories.teacher.images import image_tokens
from mirg.trajectories.teacher.prompts import Message, TeacherPrompt
from mirg.trajectories.teacher.recipe import TeacherRecipe

# Bytes of text per token: about 4 in prose. Two is less than any tokenizer's average over prose, numbers and markup, so
# that the reservation is not less than the bill.
PROSE, WORST = 4, 2
IMAGE_MARGIN = 1.3
OVERHEAD = 32  # tokens of roles and separators


@dataclass(frozen=True)
class Request:
    """Draw ``draw`` (from 0) of a sample; ``step`` is "first" or "repair". ``sample`` has the sizes that are sent."""

    sample: Sample
    prompt: TeacherPrompt
    draw: int
    step: str
    images: tuple[str, ...]  # SHA-256 of the files
    recipe: TeacherRecipe
    fixed: str  # :func:`fixed_part` of the recipe

    @cached_property
    def hash(self) -> str:
        """What a reply depends on, as SHA-256: model, prompt, images and how they are sent, sampling, and the draw.

        Neither the sample's id nor the address is part of it, so the same question has the same hash in every dataset.
        """
        parts = [self.fixed, self.prompt.digest, self.images, self.sample.sizes, self.draw]
        return digest_bytes(json.dumps(parts).encode())

    def expected_input(self) -> int:
        """Tokens of the input, estimated: a quarter of the bytes of the text, and the images."""
        return self._text_bytes // PROSE + image_tokens(self.sample, self.recipe.images) + OVERHEAD

    def most(self, calibration: float = 1.0) -> Cost:
        """The largest cost of one attempt; ``calibration`` (1 or more) is how much inputs have exceeded it so far."""
        images = IMAGE_MARGIN * image_tokens(self.sample, self.recipe.images)
        inside = int(calibration * (self._text_bytes / WORST + images + OVERHEAD)) + 1
        out = self.recipe.sampling.max_tokens
        return Cost(1, inside + out, self.recipe.price.of(inside, out))

    def body(self, uris: list[str]) -> dict[str, Any]:
        """The JSON that is sent; ``uris`` are the images, Image-1 first."""
        sampling = self.recipe.sampling
        body: dict[str, Any] = {
            "model": self.recipe.model,
            "messages": [_message(message, uris, self.recipe.images.detail) for message in self.prompt.messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            sampling.max_tokens_key: sampling.max_tokens,
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed + self.draw
        return body | self.recipe.extra

    @cached_property
    def _text_bytes(self) -> int:
        texts = (part for message in self.prompt.messages for part in message.parts if isinstance(part, str))
        return sum(len(text.encode("utf-8", "replace")) for text in texts)


def fixed_part(recipe: TeacherRecipe) -> str:
    """What all requests of a recipe have in common, as JSON."""
    sampling = recipe.sampling.model_dump(mode="json")
    parts = {"model": recipe.model, "sampling": sampling, "extra": recipe.extra, "detail": recipe.images.detail}
    return json.dumps(parts, sort_keys=True)


class Digests:
    """SHA-256 of the images of a dataset: from its rows, else from the files, each of which is read once."""

    def __init__(self, source: DatasetFolder) -> None:
        self._source = source
        self._seen: dict[str, str] = {}

    def of(self, sample: Sample) -> tuple[str, ...]:
        """Digests of the images, Image-1 first. ImageError if a file cannot be read."""
        for ref in sample.images:
            if ref.sha256 is None and ref.path not in self._seen:
                self._seen[ref.path] = image_digest(self._source.image_path(ref, sample.id))
        return tuple(ref.sha256 or self._seen[ref.path] for ref in sample.images)


def _message(message: Message, uris: list[str], detail: str | None) -> dict[str, Any]:
    if all(isinstance(part, str) for part in message.parts):  # not every server takes a list for a system message
        return {"role": message.role, "content": message.text}
    content: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, str):
            content.append({"type": "text", "text": part})
        else:
            url = {"url": uris[part - 1]} | ({"detail": detail} if detail else {})
            content.append({"type": "image_url", "image_url": url})
    return {"role": message.role, "content": content}

"""Prompts as token ids and image patches."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mirg.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

_OPENED = re.compile(r"<think>\s*(?:</think>\s*)?\Z")  # what some chat templates write after the assistant's name


@dataclass(frozen=True)
class Prompt:
    """Token ids and, if the prompt has images, their patches and grids; ``opened`` as in :class:`Rendered`."""

    ids: Sequence[int]
    pixels: torch.Tensor | None = None  # (patches, values), of all its images in order
    grid: torch.Tensor | None = None  # (images, 3): frames, rows and columns of patches
    opened: str = ""

    @cached_property
    def image_keys(self) -> tuple[str, ...]:
        """A digest of each image's patches and grid, in order; equal digests mean equal model input."""
        if self.pixels is None or self.grid is None:
            return ()
        parts = zip(self.grid, self.pixels.split(self.grid.prod(1).tolist()), strict=True)
        return tuple(_digest(grid, patches) for grid, patches in parts)


def _digest(grid: torch.Tensor, patches: torch.Tensor) -> str:
    digest = hashlib.sha256(str(grid.tolist()).encode())
    digest.update(patches.contiguous().numpy().data)
    return digest.hexdigest()


class Rendered(NamedTuple):
    """A prompt as text. ``opened`` is its end if the chat template itself begins the thinking, else ""."""

    text: str
    opened: str


def require_thinking_switch(processor: Any, thinking: bool | None) -> None:
    """ConfigError if ``thinking`` is chosen and the chat template does not read ``enable_thinking``."""
    if thinking is not None and "enable_thinking" not in str(processor.chat_template):
        raise ConfigError(
            "the chat template of this model has no switch for thinking (enable_thinking)",
            hint="leave --thinking out",
        )


def render(
    processor: Any,
    messages: Sequence[dict[str, Any]],
    n_images: int,
    sample_id: str,
    *,
    thinking: bool | None = None,
    continued: bool = False,
) -> Rendered:
    """The text of chat ``messages``, with one placeholder for each image, up to the start of the answer.

    ``thinking`` is given to the chat template as ``enable_thinking``. If the answer is ``continued``, its beginning
    replaces what the template writes of the thinking. DataError for another number of placeholders than images,
    ConfigError for a template without a switch.
    """
    require_thinking_switch(processor, thinking)
    chosen = {} if thinking is None else {"enable_thinking": thinking}
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **chosen)
    shown = text.count(processor.image_token)
    if shown != n_images:
        raise DataError(
            f"sample {sample_id}: {shown} image placeholders for {n_images} images",
            hint="the question contains an image token, or an image is missing",
        )
    found = _OPENED.search(text)
    if found is None:
        return Rendered(text, "")
    return Rendered(text[: found.start()], "") if continued else Rendered(text, found[0])


def encode(
    processor: Any,
    messages: Sequence[dict[str, Any]],
    images: Sequence[Any],
    sample_id: str,
    *,
    thinking: bool | None = None,
    continued: bool = False,
) -> Prompt:
    """The prompt of chat ``messages`` about RGB ``images``, up to the start of the answer; see :func:`render`.

    DataError if the numbers of placeholders and image features differ, which a model would report only later.
    """
    return encode_all(processor, [Asked(messages, images, sample_id, thinking, continued)])[0]


class Asked(NamedTuple):
    """The arguments of :func:`encode` for one of several prompts."""

    messages: Sequence[dict[str, Any]]
    images: Sequence[Any]
    sample_id: str
    thinking: bool | None = None
    continued: bool = False


def encode_all(processor: Any, asked: Sequence[Asked]) -> list[Prompt]:
    """:func:`encode` for many prompts in one call of the processor, which takes half the time."""
    rendered = [
        render(processor, one.messages, len(one.images), one.sample_id, thinking=one.thinking, continued=one.continued)
        for one in asked
    ]
    images = [image for one in asked for image in one.images]
    made = processor(text=[text for text, _ in rendered], images=images or None, padding=False)
    return _split(processor, asked, made, [opened for _, opened in rendered])


def _split(processor: Any, asked: Sequence[Asked], made: Any, opened: Sequence[str]) -> list[Prompt]:
    """The prompts in what the processor ``made`` of all of them."""
    import torch

    ids = made["input_ids"]
    if "pixel_values" not in made:
        return [Prompt(list(own), opened=begun) for own, begun in zip(ids, opened, strict=True)]
    grids = torch.as_tensor(np.asarray(made["image_grid_thw"])).split([len(one.images) for one in asked])
    patches = [int(grid.prod(-1).sum()) for grid in grids]
    pixels = torch.as_tensor(np.asarray(made["pixel_values"])).split(patches)
    prompts = []
    for one, own, grid, part, count, begun in zip(asked, ids, grids, pixels, patches, opened, strict=True):
        tokens, features = own.count(processor.image_token_id), count // processor.image_processor.merge_size**2
        if tokens != features:
            raise DataError(f"sample {one.sample_id}: {tokens} image tokens and {features} image features")
        prompts.append(Prompt(list(own), *((part, grid) if one.images else (None, None)), begun))
    return prompts


def collapsed(ids: Sequence[int], image_token: int) -> list[int]:
    """Token ids with one placeholder for each image; neighbouring placeholders are the cells of one image."""
    return [token for k, token in enumerate(ids) if token != image_token or k == 0 or ids[k - 1] != image_token]


def placeholder_runs(ids: Sequence[int], image_token: int) -> list[int]:
    """How many placeholders each image has, in order."""
    return [len(list(run)) for token, run in groupby(ids) if token == image_token]

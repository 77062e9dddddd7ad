"""Prompts as token ids and image patches."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

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
    text, opened = render(processor, messages, len(images), sample_id, thinking=thinking, continued=continued)
    made = processor(text=[text], images=list(images) or None, return_tensors="pt")
    ids, grid = made["input_ids"][0].tolist(), made.get("image_grid_thw")
    tokens = ids.count(processor.image_token_id)
    features = 0 if grid is None else int(grid.prod(-1).sum()) // processor.image_processor.merge_size**2
    if tokens != features:
        raise DataError(f"sample {sample_id}: {tokens} image tokens and {features} image features")
    return Prompt(ids, made.get("pixel_values"), grid, opened)


def collapsed(ids: Sequence[int], image_token: int) -> list[int]:
    """Token ids with one placeholder for each image; neighbouring placeholders are the cells of one image."""
    return [token for k, token in enumerate(ids) if token != image_token or k == 0 or ids[k - 1] != image_token]


def placeholder_runs(ids: Sequence[int], image_token: int) -> list[int]:
    """How many placeholders each image has, in order."""
    return [len(list(run)) for token, run in groupby(ids) if token == image_token]

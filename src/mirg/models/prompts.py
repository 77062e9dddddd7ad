"""Prompts as token ids and image inputs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jinja2 import TemplateError

from mirg.answers.blocks import THINK_CLOSE, THINK_OPEN
from mirg.errors import ConfigError, DataError
from mirg.models.images import IMAGE_INPUTS, image_features, joined

if TYPE_CHECKING:
    import torch

_MARK = "An earlier answer."
_OPENED = re.compile(r"<think>\s*(?:</think>\s*)?\Z")  # what some chat templates write after the assistant's name


@dataclass(frozen=True)
class Prompt:
    """Token ids and what the model takes of the prompt's images in order; ``opened`` as in :class:`Rendered`.

    ``inputs`` have the names of the model's arguments: of a grid processor, ``pixel_values`` (patches, values) and
    ``image_grid_thw`` (images, 3).
    """

    ids: Sequence[int]
    inputs: Mapping[str, torch.Tensor] = field(default_factory=dict)
    opened: str = ""

    @property
    def pixels(self) -> torch.Tensor | None:
        """The pixel values of all its images."""
        return self.inputs.get("pixel_values")

    @property
    def grid(self) -> torch.Tensor | None:
        """(images, 3): frames, rows and columns of patches; None without images or for a processor without grids."""
        return self.inputs.get("image_grid_thw")

    @cached_property
    def image_keys(self) -> tuple[str, ...]:
        """A digest of each image's patches and grid, in order; equal digests mean equal model input."""
        if self.pixels is None or self.grid is None:
            return ()
        parts = zip(self.grid, self.pixels.split(self.grid.prod(1).tolist()), strict=True)
        return tuple(_digest(grid, patches) for grid, patches in parts)


@dataclass(frozen=True)
class Branch(Prompt):
    """A completion in which an environment may have replied to the model, with text or with images.

    ``ids`` are the tokens of all turns, ``inputs`` those of the images inside, and ``own`` says which tokens the model
    wrote: only these have a log-probability and a loss. The last token is never that of an image.
    """

    own: Sequence[bool] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def written(self) -> int:
        """How many tokens the model wrote."""
        return sum(self.own)

    @property
    def replies(self) -> int:
        """How many turns the environment has had."""
        return sum(not own for own, _ in self.runs)

    @property
    def runs(self) -> list[tuple[bool, list[int]]]:
        """The turns in order: whether the model wrote one, and its token ids."""
        pairs = groupby(zip(self.own, self.ids, strict=True), key=itemgetter(0))
        return [(own, [token for _, token in run]) for own, run in pairs]

    def extended(self, ids: Sequence[int], *, own: bool, inputs: Mapping[str, torch.Tensor] | None = None) -> Branch:
        """The branch and ``ids`` after it, written by the model (``own``) or by the environment with its images."""
        shown = joined([self.inputs, inputs or {}], "cpu")
        return Branch([*self.ids, *ids], shown, own=[*self.own, *[own] * len(ids)])

    def after(self, prompt: Prompt) -> Prompt:
        """The prompt and this completion as one prompt."""
        return Prompt([*prompt.ids, *self.ids], joined([prompt.inputs, self.inputs], "cpu"), prompt.opened)


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
            hint="leave --thinking out (in a recipe: prompt.thinking)",
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
    text = _applied(processor, messages, chosen)
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


def _applied(processor: Any, messages: Sequence[dict[str, Any]], chosen: dict[str, Any]) -> str:
    """The text of the chat template, which may take earlier turns of the assistant as strings or as lists of parts."""

    def text(shown: Sequence[dict[str, Any]]) -> str:
        return processor.apply_chat_template(shown, tokenize=False, add_generation_prompt=True, **chosen)

    said = [_words(message["content"]) for message in messages if message["role"] == "assistant"]
    if not said:
        return text(messages)
    turns = iter(said)
    with suppress(TypeError, ValueError, TemplateError):
        whole = text([m | {"content": next(turns)} if m["role"] == "assistant" else m for m in messages])
        if all(turn.strip() in whole for turn in said):
            return whole
    return text(messages)


def _words(content: str | Sequence[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def opening(processor: Any, thinking: bool | None = None) -> str:
    """What the chat template itself writes of every answer: the beginning of its thinking, or ""."""
    return render(processor, [_said("user", "Where?")], 0, "a question", thinking=thinking).opened


def taught(
    processor: Any,
    messages: Sequence[dict[str, Any]],
    answer: str,
    n_images: int,
    sample_id: str,
    *,
    thinking: bool | None = None,
) -> tuple[str, str]:
    """The text of a prompt, and the rest of the turn that a model learns to write after it.

    ``answer`` is a thinking block and an answer block. It is spelled as the chat template spells a turn of the
    assistant, begins where the prompt ends (inside the thinking if the template opens it, after the thinking if
    ``thinking`` is off) and ends with the token that ends a turn. Errors as :func:`render`.
    """
    begun = render(processor, messages, n_images, sample_id, thinking=thinking)
    thought, closed, block = answer.partition(THINK_CLOSE)
    if THINK_CLOSE in begun.opened:
        thought, closed, answer = "", "", block
    wanted = [part for part in (thought.removeprefix(THINK_OPEN).strip(), block.strip()) if part]
    chosen = {} if thinking is None else {"enable_thinking": thinking}
    rest = ""
    # Some templates take the content of a message as a string, some as a list of parts.
    for content in (answer, [{"type": "text", "text": answer}]):
        try:
            turn = {"role": "assistant", "content": content}
            whole = processor.apply_chat_template([*messages, turn], tokenize=False, **chosen)
        except (TypeError, ValueError, TemplateError):
            continue
        rest = whole.removeprefix(begun.text)
        if rest != whole and all(part in rest for part in wanted):
            break
    else:  # the template writes past thoughts otherwise, or not at all
        rest = thought.removeprefix(THINK_OPEN) + closed + block if begun.opened else answer
    end = processor.tokenizer.eos_token
    return begun.text, rest if end in rest else rest.rstrip() + end


def further_turn(processor: Any, message: dict[str, Any], sample_id: str, *, thinking: bool | None = None) -> Rendered:
    """What stands between two turns of the assistant: the end of its first one, ``message``, its next beginning.

    The text begins with the token that ends a turn, has one placeholder for each image of the message, and ends with
    what the template writes at the beginning of an answer (``opened``). It does not depend on the turns around it, so
    the tokens before it stay as they were sampled. DataError if the template changes an earlier answer.
    """
    chosen = {} if thinking is None else {"enable_thinking": thinking}
    shown = sum(part["type"] == "image" for part in message["content"])
    for content in (_MARK, [{"type": "text", "text": _MARK}]):  # a string for some templates, parts for others
        turns = [_said("user", "Where?"), {"role": "assistant", "content": content}, message]
        try:
            text = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **chosen)
        except (TypeError, ValueError, TemplateError):
            continue
        _, found, rest = text.rpartition(_MARK)
        if found and rest.count(processor.image_token) == shown:
            opened = _OPENED.search(rest)
            return Rendered(rest, opened[0] if opened else "")
    raise DataError(
        f"sample {sample_id}: the chat template of this model does not write a second turn with its images",
        hint="set look.max_looks to 0, or use another chat template",
    )


def _said(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}


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


def encode_row(processor: Any, row: Mapping[str, Any], thinking: bool | None) -> Prompt:
    """:func:`encode` for a row of a training set, with the columns ``prompt``, ``images`` and ``id``."""
    return encode(processor, row["prompt"], row["images"], row["id"], thinking=thinking)


class Asked(NamedTuple):
    """The arguments of :func:`encode` for one of several prompts."""

    messages: Sequence[dict[str, Any]]
    images: Sequence[Any]
    sample_id: str
    thinking: bool | None = None
    continued: bool = False


def encode_all(processor: Any, asked: Sequence[Asked]) -> list[Prompt]:
    """:func:`encode` for many prompts; a grid processor takes them in one call, which takes half the time."""
    rendered = [
        render(processor, one.messages, len(one.images), one.sample_id, thinking=one.thinking, continued=one.continued)
        for one in asked
    ]
    if hasattr(processor.image_processor, "merge_size"):
        parts = _together(processor, asked, [text for text, _ in rendered])
    else:
        parts = [_alone(processor, one, text) for one, (text, _) in zip(asked, rendered, strict=True)]
    return [
        Prompt(*_counted(processor, part, one.sample_id), opened)
        for one, part, (_, opened) in zip(asked, parts, rendered, strict=True)
    ]


def encode_text(processor: Any, text: str, images: Sequence[Any], sample_id: str) -> Prompt:
    """``text`` inside a conversation, with a placeholder for each image, as token ids; DataError as :func:`encode`."""
    ids, inputs = _counted(processor, _alone(processor, Asked([], images, sample_id), text), sample_id)
    begin = processor.tokenizer.bos_token
    if begin and ids[0] == processor.tokenizer.bos_token_id and not text.startswith(begin):
        ids = ids[1:]  # some tokenizers begin every text with it
    return Prompt(ids, inputs)


def _counted(processor: Any, part: _Parts, sample_id: str) -> _Parts:
    ids, inputs = part
    tokens, features = ids.count(processor.image_token_id), image_features(processor, inputs)
    if tokens != features:
        raise DataError(f"sample {sample_id}: {tokens} image tokens and {features} image features")
    return part


_Parts = tuple[list[int], dict[str, Any]]


def _together(processor: Any, asked: Sequence[Asked], texts: list[str]) -> list[_Parts]:
    """Token ids and image inputs of each prompt, from one call: the patches of all images are in one array."""
    import torch

    images = [image for one in asked for image in one.images]
    made = processor(text=texts, images=images or None, padding=False)
    ids = [list(own) for own in made["input_ids"]]
    if not images:
        return [(own, {}) for own in ids]
    grids = torch.as_tensor(np.asarray(made["image_grid_thw"])).split([len(one.images) for one in asked])
    pixels = torch.as_tensor(np.asarray(made["pixel_values"])).split([int(grid.prod(-1).sum()) for grid in grids])
    inputs = ({"pixel_values": part, "image_grid_thw": grid} for part, grid in zip(pixels, grids, strict=True))
    return [(own, seen if one.images else {}) for own, seen, one in zip(ids, inputs, asked, strict=True)]


def _alone(processor: Any, one: Asked, text: str) -> _Parts:
    images = {"images": [list(one.images)]} if one.images else {}
    made = processor(text=[text], return_tensors="pt", **images)
    return made["input_ids"][0].tolist(), {name: made[name] for name in IMAGE_INPUTS if name in made}


def collapsed(ids: Sequence[int], image_token: int) -> list[int]:
    """Token ids with one placeholder for each image; neighbouring placeholders are the cells of one image."""
    return [token for k, token in enumerate(ids) if token != image_token or k == 0 or ids[k - 1] != image_token]


def placeholder_runs(ids: Sequence[int], image_token: int) -> list[int]:
    """How many placeholders each image has, in order."""
    return [len(list(run)) for token, run in groupby(ids) if token == image_token]

"""Completions of many prompts in one batch; each prompt is encoded once for all of its completions.

The keys and values of a prompt are stored once and read by all completions of its group. Completions that have ended
leave the batch. Greedy tokens equal those of ``generate``, and samples have its distribution (tests check both).

:func:`complete_by_generate` calls ``generate`` for models whose layers packed rows do not support.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig

from mirg.errors import EngineError
from mirg.models.images import joined
from mirg.models.packing import decoder_hidden_states, pack
from mirg.models.prompts import Prompt
from mirg.models.trees import Trees, join_trunks

ROOM = 64  # tokens by which the buffers of the branches' keys and values grow
_SHRINK = 0.8  # the batch is compacted once this share of its rows is enough for the unfinished ones


@dataclass(frozen=True)
class Sampling:
    """Settings: ``temperature`` 0 is greedy, ``forbidden`` ids are never sampled, ``stops`` end a completion.

    ``prefill`` bounds the prompt tokens of one forward pass (at least one prompt); None: all prompts in one.
    ``watch`` is given the ids of all completions after every token; what it raises ends them.
    ``pauses`` says of the tokens of a turn whether it ends with the last of them, although that is no stop.
    """

    max_new_tokens: int
    stops: Collection[int]
    forbidden: Collection[int] = ()
    temperature: float = 1.0
    prefill: int | None = None
    watch: Callable[[Sequence[list[int]]], None] | None = None
    pauses: Callable[[Sequence[int]], bool] | None = None


@torch.no_grad()
def complete(model: Any, prompts: Sequence[Prompt], counts: Sequence[int], sampling: Sampling) -> list[list[list[int]]]:
    """``counts[n]`` completions of prompt n: token ids, including the stop token if one ended the completion.

    Sampling draws from torch's global generator. EngineError if the model's logits are not finite.
    """
    trunks, tips = prefill(model, prompts, sampling.prefill)
    return first_turn(model, trunks, tips, prompts, counts, sampling)


def first_turn(
    model: Any,
    trunks: Trees,
    tips: torch.Tensor,
    prompts: Sequence[Prompt],
    counts: Sequence[int],
    sampling: Sampling,
) -> list[list[list[int]]]:
    """:func:`complete` after the :func:`prefill`."""
    size = max(counts)
    growing = [k < count for count in counts for k in range(size)]
    last = torch.tensor([p.ids[-1] for p in prompts], device=model.device).repeat_interleave(size)
    out = grow(model, Growing(trunks, size), last, tips.repeat_interleave(size, 1), growing, sampling)
    return [out[n * size :][:count] for n, count in enumerate(counts)]


def prefill(model: Any, prompts: Sequence[Prompt], most: int | None) -> tuple[Trees, torch.Tensor]:
    """Trunks of ``prompts`` with their keys and values, and the rotary positions of their tips (3 or 1, prompts)."""
    parts: list[Trees] = []
    tips: list[torch.Tensor] = []
    every = [range(len(prompts))] if most is None else passes([len(prompt.ids) for prompt in prompts], most)
    for part in every:
        some = [prompts[k] for k in part]
        packed = pack(model, some, [() for _ in some])
        packed.trees.kept = {}
        decoder_hidden_states(model, packed.trees, **packed.inputs)
        parts.append(packed.trees)
        tips.append(packed.tips)
    return join_trunks(parts), torch.cat(tips, 1)


def passes(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Positions in ``lengths`` (tokens), in order, in parts of at most ``most`` tokens or of one position."""
    part: list[int] = []
    tokens = 0
    for position, length in enumerate(lengths):
        if part and tokens + length > most:
            yield part
            part, tokens = [], 0
        part.append(position)
        tokens += length
    yield part


def grow(
    model: Any,
    rows: Growing,
    last: torch.Tensor,
    position: torch.Tensor,
    growing: list[bool],
    sampling: Sampling,
    left: Sequence[int] | None = None,
) -> list[list[int]]:
    """What follows the token ``last`` (rows,) at ``position`` (3 or 1, rows); rows not ``growing`` stay empty.

    A row gets at most ``left`` tokens; None: ``sampling.max_new_tokens``.
    """
    device = model.device
    head = model.get_output_embeddings()
    barred = torch.tensor(sorted(sampling.forbidden), dtype=torch.long, device=device)
    stops, pauses = frozenset(sampling.stops), sampling.pauses
    most = list(left) if left is not None else [sampling.max_new_tokens] * len(growing)
    out: list[list[int]] = [[] for _ in growing]
    grown = list(out)  # the completion that each row grows
    for step in range(max(most)):
        hidden = decoder_hidden_states(model, rows, input_ids=last[:, None], position_ids=(position + step)[..., None])
        last = _choose(head(hidden[:, -1]).float(), barred, sampling.temperature)
        for row, token in enumerate(last.tolist()):  # the only wait for the device, apart from that of _choose
            if growing[row]:
                said = grown[row]
                said.append(token)
                growing[row] = token not in stops and len(said) < most[row] and not (pauses and pauses(said))
        if sampling.watch is not None:
            sampling.watch(out)
        if not any(growing):
            break
        if kept := rows.shrink(growing):
            growing, grown = [growing[row] for row in kept], [grown[row] for row in kept]
            most = [most[row] for row in kept]
            places = torch.tensor(kept, device=device)
            last, position = last[places], position[:, places]
    return out


def _choose(logits: torch.Tensor, barred: torch.Tensor, temperature: float) -> torch.Tensor:
    """The next token of each row; ``logits`` are (rows, vocabulary). EngineError if they are not finite."""
    scores = logits.index_fill_(-1, barred, -torch.inf)
    if temperature:
        scores = (scores / temperature).softmax(-1)
    best = scores.argmax(-1, keepdim=True)
    _require_finite(scores.gather(-1, best))  # the maximum of anything with NaN is NaN
    return torch.multinomial(scores, 1)[:, 0] if temperature else best[:, 0]


def _require_finite(best: torch.Tensor) -> None:
    if not best.isfinite().all():
        raise EngineError(
            "the model computes numbers that are not finite",
            hint="float16 overflows in some models: take bfloat16 or float32; otherwise its training diverged",
        )


@torch.no_grad()
def complete_by_generate(
    model: Any, prompts: Sequence[Prompt], counts: Sequence[int], sampling: Sampling
) -> list[list[list[int]]]:
    """As :func:`complete`, by the model's ``generate`` over prompts that are padded on the left.

    Nothing of the model's own generation settings is used: a checkpoint may store a repetition penalty or top-k.
    """
    stops = sorted(sampling.stops)
    padding, device = stops[0] if stops else 0, model.device
    n = max(counts) if sampling.temperature else 1  # greedy completions of a prompt are all the same
    # Most models would repeat each tile of a prompt, and not the prompt, for num_return_sequences.
    prompts = [prompt for prompt in prompts for _ in range(n)]
    longest = max(len(prompt.ids) for prompt in prompts)
    rows = [[padding] * (longest - len(prompt.ids)) + list(prompt.ids) for prompt in prompts]
    ids = torch.tensor(rows, device=device)
    starts = torch.tensor([longest - len(prompt.ids) for prompt in prompts], device=device)
    inputs = {"input_ids": ids, "attention_mask": (torch.arange(longest, device=device) >= starts[:, None]).long()}
    inputs |= joined([prompt.inputs for prompt in prompts], device)
    if "mm_token_type_ids" in inspect.signature(type(model).forward).parameters:
        inputs["mm_token_type_ids"] = (ids == model.config.image_token_id).int()
    settings = GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        do_sample=bool(sampling.temperature),
        temperature=sampling.temperature or None,
        top_k=0 if sampling.temperature else None,
        eos_token_id=stops,
        pad_token_id=padding,
    )
    barred = torch.tensor(sorted(sampling.forbidden), dtype=torch.long, device=device)

    def allowed(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if sampling.watch is not None:
            sampling.watch(ids[:, longest:].tolist())
        scores = scores.index_fill(-1, barred, -torch.inf)
        _require_finite(scores.amax(-1))
        return scores

    waits = sampling.pauses or (lambda _ids: False)

    def paused(rows: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
        return torch.tensor([waits(row) for row in rows[:, longest:].tolist()], device=device)

    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        made = model.generate(
            **inputs, generation_config=settings, logits_processor=[allowed], stopping_criteria=[paused]
        )[:, longest:].tolist()
    finally:
        model.generation_config = own

    def ended(said: list[int]) -> bool:
        return said[-1] in sampling.stops or waits(said)

    ends = [next((k for k in range(1, len(row)) if ended(row[:k])), len(row)) for row in made]
    said = [row[:end] for row, end in zip(made, ends, strict=True)]
    return [[said[k * n + j % n] for j in range(count)] for k, count in enumerate(counts)]


class Growing:
    """Branches that grow by one token per step: a grid of groups and rows, some of which may have ended.

    Keys and values of the trunks are (N, heads, P, width), those of the branches (N * G, heads, room, width).
    Branches may have ``begun``: (N * G, tokens), true at real tokens, with the keys and values of each layer.
    """

    def __init__(
        self,
        trunks: Trees,
        group_size: int,
        begun: tuple[torch.Tensor, dict[int, tuple[torch.Tensor, torch.Tensor]]] | None = None,
    ) -> None:
        if trunks.kept is None:
            raise ValueError("the trunks were not kept")
        self.grid = (trunks.trunk.shape[0], group_size)
        self._before = torch.where(trunks.trunk, 0.0, -torch.inf)[:, None, None]  # (N, 1, 1, P)
        self._trunks = trunks.kept
        self._length: dict[int, int] = {}
        self._branches: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._begun: torch.Tensor | None = None  # (N * G, 1, 1, tokens), minus infinity where there is no token
        if begun is not None:
            real, self._branches = begun
            self._begun = torch.where(real, 0.0, -torch.inf)[:, None, None]
            self._length = dict.fromkeys(self._branches, real.shape[1])

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Attention of one new token a row: (rows, heads, 1, width) in, (rows, 1, heads, width) out."""
        keys, values = self._extended(layer, key, value)
        trunk_keys, trunk_values = self._trunks[layer]
        rows, heads, _, width = query.shape
        kv = key.shape[1]
        query = query.view(rows, kv, heads // kv, width) * scale
        over_trunk = self._by_group(query) @ trunk_keys.transpose(-1, -2) + self._before.to(query.dtype)
        over_trunk = self._by_row(over_trunk, heads // kv)
        over_itself = query @ keys.transpose(-1, -2)
        if self._begun is not None:
            over_itself[..., : self._begun.shape[-1]] += self._begun.to(query.dtype)
        weights = torch.cat([over_trunk, over_itself], -1).softmax(-1, dtype=torch.float32).to(query.dtype)
        in_trunk, in_itself = weights.split([over_trunk.shape[-1], over_itself.shape[-1]], -1)
        out = self._by_row(self._by_group(in_trunk) @ trunk_values, heads // kv) + in_itself @ values
        return out.reshape(rows, 1, heads, width)

    def _by_group(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, kv, repeat, …) to (N, kv, G * repeat, …)."""
        return x.unflatten(0, self.grid).transpose(1, 2).flatten(2, 3)

    def _by_row(self, x: torch.Tensor, repeat: int) -> torch.Tensor:
        """(N, kv, G * repeat, …) to (rows, kv, repeat, …)."""
        return x.unflatten(2, (self.grid[1], repeat)).transpose(1, 2).flatten(0, 1)

    def _extended(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        at = self._length.get(layer, 0)
        if layer not in self._branches or at == self._branches[layer][0].shape[2]:
            more = key.new_empty(key.shape[0], key.shape[1], ROOM, key.shape[3])
            keys, values = self._branches.get(layer, (more[:, :, :0], more[:, :, :0]))
            self._branches[layer] = torch.cat([keys, more], 2), torch.cat([values, more], 2)
        keys, values = self._branches[layer]
        keys[:, :, at], values[:, :, at] = key[:, :, 0], value[:, :, 0]
        self._length[layer] = at + 1
        return keys[:, :, : at + 1], values[:, :, : at + 1]

    def shrink(self, growing: Sequence[bool]) -> list[int] | None:
        """Compact the grid if enough rows have ended; returns the rows that remain, in their new order, else None."""
        n, g = self.grid
        alive = [sum(growing[k * g : (k + 1) * g]) for k in range(n)]
        groups, most = [k for k in range(n) if alive[k]], max(alive)
        if len(groups) * most > _SHRINK * n * g:
            return None
        # The first ``most`` rows of each group, those that grow before those that have ended.
        kept = [k * g + j for k in groups for j in sorted(range(g), key=lambda j: not growing[k * g + j])[:most]]
        self.grid = (len(groups), most)
        rows, numbers = (torch.tensor(some, device=self._before.device) for some in (kept, groups))
        self._before = self._before[numbers]
        if self._begun is not None:
            self._begun = self._begun[rows]
        for layer, (keys, values) in self._branches.items():
            self._branches[layer] = keys[rows], values[rows]
            a, b = self._trunks[layer]
            self._trunks[layer] = a[numbers], b[numbers]
        return kept

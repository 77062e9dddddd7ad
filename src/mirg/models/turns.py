"""Completions with turns of an environment, which may show the model further images; each prompt is encoded once.

The first turn is that of :func:`mirg.models.sampling.complete`. The keys and values of the prompts are kept for all
turns. For a later one, only the branches that asked for it are read again, with what the environment replied: their
text, and the images in it, go over the prompt's keys and values, so that nothing of a prompt is computed twice.

:func:`turns_by_generate` makes a new prompt out of every branch, for models whose layers packed rows do not support.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch

from mirg.models.packing import branch_positions, decoder_hidden_states, grid_of, row_inputs
from mirg.models.prompts import Branch, Prompt
from mirg.models.sampling import ROOM, Growing, Sampling, complete_by_generate, first_turn, grow, passes, prefill
from mirg.models.trees import Reread, Trees

REREAD = 4096  # tokens of branches in one forward pass, which bounds its scores over the prompts


class Environment(Protocol):
    """What a model can ask for inside a completion. Equal branches get equal replies."""

    def pauses(self, ids: Sequence[int]) -> bool:
        """Whether a turn of these tokens has just ended because the model waits for the environment."""
        ...

    def reply(self, prompt: int, branch: Branch) -> Prompt | None:
        """What the environment says after ``branch`` of the prompt of that number; None: the completion has ended.

        A reply ends with a token of text.
        """
        ...


class Row(NamedTuple):
    """A completion that another turn continues: the number of its prompt, its place in the group, what it is so far."""

    prompt: int
    place: int
    branch: Branch


@torch.no_grad()
def complete_in_turns(
    model: Any, prompts: Sequence[Prompt], counts: Sequence[int], sampling: Sampling, environment: Environment
) -> list[list[Branch]]:
    """As :func:`mirg.models.sampling.complete`, with the turns of ``environment`` between those of the model.

    ``sampling.max_new_tokens`` bounds what the model writes in all turns of a completion together.
    """
    sampling = replace(sampling, pauses=environment.pauses)
    trunks, tips = prefill(model, prompts, sampling.prefill)
    kept = replace(trunks, kept=dict(trunks.kept or {}))  # the groups that have ended leave this copy
    said = first_turn(model, kept, tips, prompts, counts, sampling)
    made = [[Branch([]).extended(ids, own=True) for ids in group] for group in said]
    while rows := list(replies(made, sampling.max_new_tokens, environment)):
        turn = _next_turn(model, trunks, tips, prompts, rows, sampling, max(counts))
        for row, ids in zip(rows, turn, strict=True):
            made[row.prompt][row.place] = row.branch.extended(ids, own=True)
    return made


@torch.no_grad()
def turns_by_generate(
    model: Any, prompts: Sequence[Prompt], counts: Sequence[int], sampling: Sampling, environment: Environment
) -> list[list[Branch]]:
    """As :func:`complete_in_turns`, by the model's ``generate``, which reads everything again in each turn."""
    sampling = replace(sampling, pauses=environment.pauses)
    said = complete_by_generate(model, prompts, counts, sampling)
    made = [[Branch([]).extended(ids, own=True) for ids in group] for group in said]
    while rows := list(replies(made, sampling.max_new_tokens, environment)):
        shown = [row.branch.after(prompts[row.prompt]) for row in rows]
        most = max(sampling.max_new_tokens - row.branch.written for row in rows)
        turn = complete_by_generate(model, shown, [1] * len(rows), replace(sampling, max_new_tokens=most))
        for row, (ids,) in zip(rows, turn, strict=True):
            left = sampling.max_new_tokens - row.branch.written
            made[row.prompt][row.place] = row.branch.extended(ids[:left], own=True)
    return made


def replies(made: Sequence[Sequence[Branch]], most: int, environment: Environment) -> Iterator[Row]:
    """The completions that another turn continues, each with the reply after it.

    Ended are those that end with a reply already, those with ``most`` tokens of the model, and those without a reply.
    """
    for number, group in enumerate(made):
        for place, branch in enumerate(group):
            if branch.own and branch.own[-1] and branch.written < most:
                reply = environment.reply(number, branch)
                if reply is not None:
                    yield Row(number, place, branch.extended(reply.ids, own=False, inputs=reply.inputs))


def _next_turn(
    model: Any,
    trunks: Trees,
    tips: torch.Tensor,
    prompts: Sequence[Prompt],
    rows: Sequence[Row],
    sampling: Sampling,
    size: int,
) -> list[list[int]]:
    """What the model says after each of ``rows``, which are in the order of their prompts; groups have ``size`` places.

    Places without a row are in the grid as well, until the first token is drawn.
    """
    wide, device = size * len(prompts), model.device
    places = [row.prompt * size + row.place for row in rows]
    room = -(-max(len(row.branch) for row in rows) // ROOM) * ROOM
    real, ends = torch.zeros(wide, room, dtype=torch.bool, device=device), tips.repeat_interleave(size, 1)
    kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for part in passes([len(row.branch) for row in rows], REREAD):
        at = torch.tensor([places[k] for k in part], device=device)
        trees, ends[:, at] = _read(model, trunks, tips, prompts, [rows[k] for k in part])
        length = trees.branch.shape[2]
        real[at, :length] = trees.branch[trees.branch.any(2)]
        for layer, (keys, values) in trees.grown.items():
            if layer not in kept:
                shape = wide, keys.shape[1], room, keys.shape[3]
                kept[layer] = keys.new_zeros(shape), values.new_zeros(shape)
            kept[layer][0][at, :, :length], kept[layer][1][at, :, :length] = keys, values
    last = torch.zeros(wide, dtype=torch.long, device=device)
    growing, left = [False] * wide, [1] * wide
    for place, row in zip(places, rows, strict=True):
        last[place], growing[place] = row.branch.ids[-1], True
        left[place] = sampling.max_new_tokens - row.branch.written
    branches = Growing(replace(trunks, kept=dict(trunks.kept or {})), size, (real, kept))
    out = grow(model, branches, last, ends, growing, sampling, left)
    return [out[place] for place in places]


def _read(
    model: Any, trunks: Trees, tips: torch.Tensor, prompts: Sequence[Prompt], rows: Sequence[Row]
) -> tuple[Reread, torch.Tensor]:
    """The branches with their keys and values, without the last token of each; its positions (3 or 1, rows)."""
    numbers = list(dict.fromkeys(row.prompt for row in rows))
    groups = [[row.branch for row in rows if row.prompt == number] for number in numbers]
    trees = Reread(trunks.trunk[numbers], grid_of(groups, model.device), trunks.kept, places=numbers)
    tokens = [t for row in rows for t in (prompts[row.prompt].ids[-1], *row.branch.ids[:-1])]
    positions = [
        branch_positions(model, prompts[row.prompt], tips[:, row.prompt : row.prompt + 1], row.branch) for row in rows
    ]
    inputs = row_inputs(model, tokens, [own[:, :-1] for own in positions], [row.branch for row in rows])
    decoder_hidden_states(model, trees, **inputs)
    return trees, torch.cat([own[:, -1:] for own in positions], 1)

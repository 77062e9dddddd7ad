"""Looks in rollouts by vLLM: every turn after the first is a new prompt, which includes the crops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mirg.engines.look_turns import LookTurns
from mirg.models.prompts import Branch, Prompt
from mirg.models.sampling import Sampling
from mirg.models.turns import Row, replies

Logs = list[float | None]


class Drawn(NamedTuple):
    """Completions of one prompt, and each token's log-probability when it was drawn (None if vLLM has none)."""

    completions: list[list[int]]
    logs: list[Logs]


def in_turns(
    draw: Callable[[list[dict[str, Any]], list[Prompt], list[int]], list[Drawn]],
    rows: Sequence[dict[str, Any]],
    prompts: Sequence[Prompt],
    first: Sequence[Drawn],
    looks: LookTurns,
    sampling: Sampling,
    most_of_all: Callable[[int], int],
) -> tuple[list[Branch], list[Logs]]:
    """The completions of ``prompts`` in order, which begin with the turns in ``first``, and their log-probabilities.

    ``draw`` takes rows, their prompts and the number of completions of each. All processes call it equally often and
    with equally many rows: ``most_of_all`` is the largest of a number in all processes. Tokens of the environment have
    the log-probability 0, which is masked like them.
    """
    turns = [[_turn(*one, looks, sampling) for one in zip(*group, strict=True)] for group in first]
    made = [[Branch([]).extended(ids, own=True) for ids, _ in group] for group in turns]
    logs = [[scores for _, scores in group] for group in turns]
    while True:
        waiting = list(replies(made, sampling.max_new_tokens, looks))
        count = most_of_all(len(waiting))
        if not count:
            return [one for group in made for one in group], [scores for group in logs for scores in group]
        shown = [row.branch.after(prompts[row.prompt]) for row in waiting]
        asked = [_with_crops(rows[row.prompt], looks, row) for row in waiting]
        spare = count - len(waiting)  # drawn and dropped
        drawn = draw([*asked, *[rows[0]] * spare], [*shown, *[prompts[0]] * spare], [1] * count)
        for row, one in zip(waiting, drawn[: len(waiting)], strict=True):
            left = sampling.max_new_tokens - row.branch.written
            ids, scores = _turn(one.completions[0][:left], one.logs[0][:left], looks, sampling)
            made[row.prompt][row.place] = row.branch.extended(ids, own=True)
            before = logs[row.prompt][row.place]
            before += [*[0.0] * (len(row.branch) - len(before)), *scores]


def _turn(ids: list[int], logs: Logs, looks: LookTurns, sampling: Sampling) -> tuple[list[int], Logs]:
    """A turn up to its first look, also if vLLM did not stop there."""
    ends = (k for k in range(1, len(ids) + 1) if ids[k - 1] in sampling.stops or looks.pauses(ids[:k]))
    end = next(ends, len(ids))
    return ids[:end], logs[:end]


def _with_crops(row: dict[str, Any], looks: LookTurns, one: Row) -> dict[str, Any]:
    return row | {"images": [*row["images"], *looks.crops(one.prompt, one.branch)]}

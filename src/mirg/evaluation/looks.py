"""The looks of an evaluation: accuracy by number of looks, what they cost, and what the environment refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from mirg.evaluation.metrics import measure
from mirg.evaluation.records import Record

TITLES = {"joint_accuracy": "joint Acc@0.5 by number of looks", "image_accuracy": "image accuracy by number of looks"}


def looks_table(records: Sequence[Record]) -> dict[str, Any] | None:
    """Metrics by the number of looks that were shown, in the form of ``metrics.table``; None if looks were off."""
    groups: dict[int, list[Record]] = {}
    for record in records:
        if record.looks is not None:
            groups.setdefault(sum(look.refusal is None for look in record.looks), []).append(record)
    if not groups:
        return None
    rows = {("1 look" if n == 1 else f"{n} looks"): _block(groups[n]) for n in sorted(groups)}
    return {"overall": _block([record for rows in groups.values() for record in rows]), "tasks": rows}


def _block(records: Sequence[Record]) -> dict[str, Any]:
    found = measure(records)
    return {name: found[name] for name in ("n", "n_sets", *TITLES)}


def looks_cost(records: Sequence[Record]) -> dict[str, Any]:
    """Means over the samples: looks, visual tokens of crops and tokens written; the rewards for looks; refusals."""
    looking = [record for record in records if record.looks is not None]
    every = [look for record in looking for look in record.looks or ()]
    rewards = [record.look_rewards for record in looking if record.look_rewards]
    return {
        "looks": len(every) / len(looking),
        "crop_tokens": sum(look.tokens for look in every) / len(looking),
        "completion_tokens": fmean(record.completion_tokens for record in looking),
        "rewards": {name: fmean(one[name] for one in rewards) for name in (rewards[0] if rewards else ())},
        "refused": dict(Counter(look.refusal for look in every if look.refusal).most_common()),
    }

"""Which samples are looked at: as many of each task as there is room for, the same ones every time."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass

from mirg.samples import DatasetFolder, Rejection


@dataclass(frozen=True)
class Choice:
    """Row numbers (from 1) in the order in which they are shown, and what they were chosen from."""

    rows: tuple[int, ...]
    tasks: dict[str, int]  # accepted rows by task, also those of other tasks than the one asked for
    candidates: int  # accepted rows of the task asked for; all accepted rows where none was
    rejected: int


def choose(
    folder: DatasetFolder,
    n: int,
    *,
    task: str | None = None,
    seed: int = 0,
    tell: Callable[[int], None] | None = None,
) -> Choice:
    """Up to ``n`` rows, the tasks in turn; within a task a digest of ``seed`` and the sample's id decides.

    One pass over the rows; memory is at most ``n`` numbers for each task. ``tell`` hears the number of rows read.
    """
    heaps: dict[str, list[tuple[int, int]]] = {}
    tasks: dict[str, int] = {}
    rejected: list[int] = []

    def reject(rejection: Rejection) -> None:
        rejected.append(rejection.row)

    for row, sample in folder.numbered(reject):
        if tell is not None:
            tell(row)
        tasks[sample.task] = tasks.get(sample.task, 0) + 1
        if task is not None and sample.task != task:
            continue
        heap = heaps.setdefault(sample.task, [])
        entry = (-_rank(seed, sample.id), -row)  # the largest rank of those kept lies at the top
        if len(heap) < n:
            heapq.heappush(heap, entry)
        elif entry > heap[0]:
            heapq.heapreplace(heap, entry)
    ranked = [
        (place, name, -row) for name, heap in heaps.items() for place, (_, row) in enumerate(sorted(heap, reverse=True))
    ]
    rows = tuple(row for _, _, row in sorted(ranked)[:n])
    candidates = tasks.get(task, 0) if task is not None else sum(tasks.values())
    return Choice(rows, dict(sorted(tasks.items())), candidates, len(rejected))


def _rank(seed: int, sample_id: str) -> int:
    data = f"{seed}\n{sample_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())

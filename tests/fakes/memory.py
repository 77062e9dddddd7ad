"""What torch itself says about memory: the tensors that autograd keeps, and every allocation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


def kept_bytes(work: Callable[[], Any], but: Iterable[torch.Tensor]) -> int:
    """Bytes of the storages that autograd keeps for the backward pass of ``work``, each once, ``but`` given ones."""
    known = {tensor.untyped_storage().data_ptr() for tensor in but}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        made = work()  # holds the graph, so that no storage is used twice
    del made
    return sum(kept.values())


def peak_bytes(work: Callable[[], Any]) -> int:
    """The most bytes by which torch's allocations on the CPU exceed those before ``work``."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    found: Any = profiler.profiler
    events = [event for event in found.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak

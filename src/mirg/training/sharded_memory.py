"""Memory of one process if several share weights, gradients or optimiser: an estimate that has not been measured yet.

The sums follow what DeepSpeed (ZeRO-2, ZeRO-3) and FSDP2 state in their documentation about the settings in
``configs/``; activations are those of a process that holds everything.
"""

from __future__ import annotations

from mirg.training.memory_layers import FLOAT
from mirg.training.recipe import Sharding
from mirg.training.sharding import sharding_config

Moments = dict[str, dict[str, int]]


def shared(
    moments: Moments, sharding: Sharding, processes: int, base: int, trained: int, product: int, gathers: bool
) -> Moments:
    """``moments`` (bytes of each part at each moment) of one of ``processes``; ``base`` and ``trained`` are numbers.

    ``product`` is the number of bytes in which products are computed. ``gathers``: completions are drawn with the
    trained model, for which all weights are put together.
    """
    zero, whole = sharding != "fsdp2", sharding == "zero2"
    narrow = zero and product < FLOAT  # DeepSpeed trains narrow weights beside float32 ones
    weights = base * (product if narrow else FLOAT) // (1 if whole else processes)
    weights += trained * FLOAT // processes if narrow else 0
    made: Moments = {"start": {"weights": base * FLOAT}}  # each process loads the whole model before it is divided
    for name, parts in moments.items():
        kept = {part: size for part, size in parts.items() if part != "copies of weights"} | {"weights": weights}
        width = product if narrow and name != "optimizer" else FLOAT
        kept["gradients"] = parts.get("gradients", 0) // processes * width // FLOAT
        for part in ("optimizer", "reference"):
            kept[part] = parts.get(part, 0) // processes
        kept["exchange"] = _exchange(sharding, base, product)
        if name == "rollouts" and not whole and gathers:
            kept["gathered weights"] = base * product
        made[name] = {part: size for part, size in kept.items() if size}
    return made


def _exchange(sharding: Sharding, base: int, product: int) -> int:
    """Buckets of what is on its way, and weights that are there for the layers that are computed."""
    if sharding == "fsdp2":
        # Two units at a time; the largest, the embeddings, are a fifteenth of a 7B model.
        return 2 * base // 20 * product
    settings = sharding_config(sharding)["zero_optimization"]
    if sharding == "zero2":
        return 2 * min(settings["reduce_bucket_size"], base) * product
    return 2 * min(settings["stage3_max_live_parameters"], base) * product

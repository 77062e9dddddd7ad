"""A whole GRPO step with a frozen vision tower: features of images seen before are kept, against computed again."""

from __future__ import annotations

from typing import Any

import torch
from case import flops, make_model, make_rows, our_trainer, parse, show, step, summary, timed

ROOM = 2**30  # bytes


def main() -> None:
    told, settings = parse(__doc__ or "")
    loaded, rows = make_model(settings), make_rows(settings)
    tower: Any = loaded.model.base_model.visual
    tower.requires_grad_(False)
    keeping, computing = (our_trainer(settings, loaded, rows, room) for room in (ROOM, 0))
    torch.manual_seed(settings.seed)
    repeated = [row for row in rows for _ in range(settings.group)]
    # The turn that is not measured fills the cache, as a first epoch does.
    kept, computed = timed([lambda: step(keeping, repeated), lambda: step(computing, repeated)], settings.repeat)
    work = {"ours": flops(lambda: step(keeping, repeated)), "theirs": flops(lambda: step(computing, repeated))}
    length = len(keeping.batch.prompts[0].ids)
    result = summary(
        "step, seconds, computed / kept", kept, computed, settings,
        alternative="mirg's own step without the cache",
        parameters=sum(p.numel() for p in loaded.model.parameters()),
        tower_parameters=sum(p.numel() for p in tower.parameters()),
        prompt_tokens=length,
        tokens={"generated": settings.prompts * settings.group * settings.completion},
        flops=work | {"saved": work["theirs"] - work["ours"]},
        cache_mib=keeping.features.bytes / 2**20,
    )  # fmt: skip
    show(result, told.json)


if __name__ == "__main__":
    main()

"""A whole GRPO step, rollouts and update: shared prompts against TRL's own way."""

from __future__ import annotations

import torch
from case import flops, operations, parse, show, step, summary, timed, tokens, trainers


def main() -> None:
    told, settings = parse(__doc__ or "")
    ours, theirs, loaded, rows = trainers(settings)
    torch.manual_seed(settings.seed)
    repeated = [row for row in rows for _ in range(settings.group)]
    work = {"ours": lambda: step(ours, repeated), "theirs": lambda: step(theirs, repeated)}
    mine, trls = timed(list(work.values()), settings.repeat)
    length = len(ours.batch.prompts[0].ids)
    result = summary(
        "step, seconds, theirs / ours", mine, trls, settings,
        parameters=sum(p.numel() for p in loaded.model.parameters()),
        prompt_tokens=length,
        tokens=tokens(settings, length) | {"generated": settings.prompts * settings.group * settings.completion},
        # The counter of torch does not know the compiled attention of a GPU, and counting takes another two steps.
        flops=operations(loaded, ours.batch.prompts, settings)
        if settings.shape
        else {side: flops(piece) for side, piece in work.items()},
    )  # fmt: skip
    show(result, told.json)


if __name__ == "__main__":
    main()

"""A whole GRPO step, rollouts and update: shared prompts against TRL's own way."""

from __future__ import annotations

import torch
from case import parse, show, step, summary, timed, trainers


def main() -> None:
    told, settings = parse(__doc__ or "")
    ours, theirs, loaded, rows = trainers(settings)
    torch.manual_seed(settings.seed)
    repeated = [row for row in rows for _ in range(settings.group)]
    mine, trls = timed([lambda: step(ours, repeated), lambda: step(theirs, repeated)], settings.repeat)
    length = len(ours._prompts[0].ids)
    result = summary(
        "step, seconds, theirs / ours", mine, trls, settings,
        parameters=sum(p.numel() for p in loaded.model.parameters()),
        prompt_tokens=length,
        tokens={"generated": settings.prompts * settings.group * settings.completion},
    )  # fmt: skip
    show(result, told.json)


if __name__ == "__main__":
    main()

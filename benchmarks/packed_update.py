"""The update of one step, forward and backward: packed groups against TRL's own pass over the same completions."""

from __future__ import annotations

import random
from typing import Any

import torch
from case import (
    IMAGES,
    Settings,
    flops,
    make_prompts,
    parse,
    peak_of,
    peak_while,
    show,
    summary,
    timed,
    tokens,
    trainers,
)

from mirg.training.groups import GROUP


def batches(ours: Any, prompts: list[Any], settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same completions and advantages as both trainers take them."""
    device = ours.accelerator.device
    draw = random.Random(settings.seed)
    rows = [prompt for prompt in prompts for _ in range(settings.group)]
    ids = torch.tensor([list(prompt.ids) for prompt in rows], device=device)
    said = torch.tensor([[draw.randrange(20, 200) for _ in range(settings.completion)] for _ in rows], device=device)
    ones = torch.ones_like(ids)
    packed = {
        "prompt_ids": ids,
        "prompt_mask": ones,
        "completion_ids": said,
        "completion_mask": torch.ones_like(said),
        "advantages": torch.tensor([draw.uniform(-1, 1) for _ in rows], device=device),
        "num_items_in_batch": torch.tensor(said.numel(), device=device),
        GROUP: torch.arange(len(prompts), device=device).repeat_interleave(settings.group),
    }
    kinds = (ids == ours.processing_class.image_token_id).int()
    plain = {key: value for key, value in packed.items() if key != GROUP} | {
        "pixel_values": torch.cat([prompt.pixels for prompt in rows]).to(device),
        "image_grid_thw": torch.cat([prompt.grid for prompt in rows]).to(device),
        "num_images": [IMAGES] * len(rows),
        "mm_token_type_ids": torch.cat([kinds, torch.zeros_like(said, dtype=torch.int)], 1),
    }
    return packed, plain


def update(trainer: Any, batch: dict[str, Any]) -> None:
    trainer.model.zero_grad()
    trainer._compute_loss(trainer.model, batch).backward()


def gradient(trainer: Any) -> torch.Tensor:
    """All gradients in one vector; the loss says little, it is minus the mean advantage on both sides."""
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])


def main() -> None:
    told, settings = parse(__doc__ or "")
    ours, theirs, loaded, rows = trainers(settings)
    prompts = make_prompts(loaded, rows)
    ours._prompts = prompts
    packed, plain = batches(ours, prompts, settings)
    work = {"ours": lambda: update(ours, packed), "theirs": lambda: update(theirs, plain)}
    if told.peak_of:
        print(peak_while(work[told.peak_of]))
        return
    work["ours"]()
    work["theirs"]()
    mine_grad, trls_grad = gradient(ours), gradient(theirs)
    difference = ((mine_grad - trls_grad).norm() / trls_grad.norm()).item()
    mine, trls = timed([work["ours"], work["theirs"]], settings.repeat)
    length = len(prompts[0].ids)
    # Memory takes two more processes, which a quick run leaves out.
    peak = {} if told.quick else {side: peak_of(side) for side in work}
    result = summary(
        "update, seconds, theirs / ours", mine, trls, settings,
        parameters=sum(p.numel() for p in loaded.model.parameters()),
        prompt_tokens=length,
        tokens=tokens(settings, length),
        flops={side: flops(piece) for side, piece in work.items()},
        peak_mib=peak | ({"ratio": peak["ours"] / peak["theirs"]} if peak else {}),
        gradient_difference=difference,
    )  # fmt: skip
    show(result, told.json)


if __name__ == "__main__":
    main()

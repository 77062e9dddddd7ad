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
from shapes import ceiling, needed_flops

from mirg.models.load import LoadedModel
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


def operations(loaded: LoadedModel, prompts: list[Any], settings: Settings) -> dict[str, float]:
    """What an update of either side needs, by the formula of :func:`shapes.needed_flops`."""
    processor: Any = loaded.processor
    visual = list(prompts[0].ids).count(processor.image_token_id)
    case = (len(prompts[0].ids), visual, settings.completion, settings.group)
    return {
        side: len(prompts) * needed_flops(loaded.model, *case, shared=side == "ours") for side in ("ours", "theirs")
    }


def speed(
    needed: dict[str, float], seconds: dict[str, float], tokens: dict[str, float], loaded: LoadedModel
) -> dict[str, Any]:
    """Tokens a second, and the share of the speed of a bare matrix product that needed operations are done at."""
    weight = next(loaded.model.parameters())
    top = ceiling(weight.device.type, weight.dtype)
    return {
        "matmul_tflops": top / 1e12,
        **{
            side: {"tokens_per_second": tokens[side] / seconds[side], "utilisation": needed[side] / seconds[side] / top}
            for side in needed
        },
    }


def main() -> None:
    told, settings = parse(__doc__ or "")
    # Memory takes two more processes, which a quick run leaves out; they come first, while the device is free.
    peak = {} if told.quick or told.peak_of else {side: peak_of(side) for side in ("ours", "theirs")}
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
    needed = operations(loaded, prompts, settings) if settings.shape else {}
    result = summary(
        "update, seconds, theirs / ours", mine, trls, settings,
        parameters=sum(p.numel() for p in loaded.model.parameters()),
        prompt_tokens=length,
        tokens=tokens(settings, length),
        flops=needed if settings.shape else {side: flops(piece) for side, piece in work.items()},
        peak_mib=peak | ({"ratio": peak["ours"] / peak["theirs"]} if peak else {}),
        gradient_difference=difference,
    )  # fmt: skip
    if settings.shape:
        result["speed"] = speed(needed, {"ours": result["ours"], "theirs": result["theirs"]}, result["tokens"], loaded)
    show(result, told.json)


if __name__ == "__main__":
    main()

"""The update of one step, forward and backward: packed groups against TRL's own pass over the same completions."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from typing import Any

import torch
from case import (
    IMAGES,
    Settings,
    flops,
    make_prompts,
    operations,
    parse,
    peak_of,
    peak_while,
    show,
    summary,
    timed,
    tokens,
    trainers,
)
from shapes import HEAD, ceiling
from torch.nn import functional as F
from torch.nn.attention.flex_attention import create_mask

from mirg.models.load import LoadedModel
from mirg.models.packing import pack
from mirg.training.grpo import GroupBatch


def batches(ours: Any, prompts: list[Any], settings: Settings) -> tuple[GroupBatch, dict[str, Any]]:
    """The same completions and advantages as both trainers take them."""
    device = ours.accelerator.device
    draw = random.Random(settings.seed)
    rows = [prompt for prompt in prompts for _ in range(settings.group)]
    ids = torch.tensor([list(prompt.ids) for prompt in rows], device=device)
    said = torch.tensor([[draw.randrange(20, 200) for _ in range(settings.completion)] for _ in rows], device=device)
    ones = torch.ones_like(ids)
    columns = {
        "prompt_ids": ids,
        "prompt_mask": ones,
        "completion_ids": said,
        "completion_mask": torch.ones_like(said),
        "advantages": torch.tensor([draw.uniform(-1, 1) for _ in rows], device=device),
        "num_items_in_batch": torch.tensor(said.numel(), device=device),
    }
    kinds = (ids == ours.processing_class.image_token_id).int()
    plain = columns | {
        "pixel_values": torch.cat([prompt.pixels for prompt in rows]).to(device),
        "image_grid_thw": torch.cat([prompt.grid for prompt in rows]).to(device),
        "num_images": [IMAGES] * len(rows),
        "mm_token_type_ids": torch.cat([kinds, torch.zeros_like(said, dtype=torch.int)], 1),
    }
    groups = [number for number in range(len(prompts)) for _ in range(settings.group)]
    return GroupBatch([{}] * len(rows), groups, prompts, columns), plain


def update(trainer: Any, batch: Any) -> None:
    trainer.model.zero_grad()
    trainer.compute_loss(trainer.model, batch if isinstance(batch, dict) else trainer.begin_pass(batch)).backward()


def gradients(trainer: Any) -> dict[str, torch.Tensor]:
    """All gradients, copied to the host: two sets of a 7B model do not fit on a GPU beside its weights."""
    return {name: p.grad.to("cpu", copy=True) for name, p in trainer.model.named_parameters() if p.grad is not None}


def relative_difference(mine: dict[str, torch.Tensor], theirs: Any) -> float:
    """The norm of the difference of all gradients over the norm of TRL's. The loss would say little: it is minus the
    mean advantage on both sides.
    """
    difference = norm = 0.0
    for name, parameter in theirs.model.named_parameters():
        if parameter.grad is None and name not in mine:
            continue
        wanted = parameter.grad.float()
        found = mine[name].to(wanted.device).float()
        difference += (found - wanted).square().sum().item()
        norm += wanted.square().sum().item()
    return (difference / norm) ** 0.5


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


def attention(loaded: LoadedModel, prompts: list[Any], settings: Settings) -> dict[str, Any]:
    """One layer's attention over a packed row, forward and backward, against a product with the dense mask.

    On a GPU the packed row is computed by FlexAttention. ``difference`` is that of the outputs in the benchmark's
    dtype, relative to the norm of the dense ones.
    """
    heads, keys = (getattr(loaded.model.config.text_config, f"num_{name}_heads") for name in ("attention", "key_value"))
    device, dtype = loaded.model.device, next(loaded.model.parameters()).dtype
    trees = pack(loaded.model, prompts[:1], [[[21] * settings.completion] * settings.group]).trees
    tokens = int(trees.trunk.sum() + trees.branch.sum())
    shapes = ((heads, tokens), (keys, tokens), (keys, tokens))
    q, k, v = (torch.randn(1, *shape, HEAD, device=device, dtype=dtype, requires_grad=True) for shape in shapes)
    mask = create_mask(trees.blocks.mask_mod, None, None, tokens, tokens, device=str(device))
    scale = HEAD**-0.5

    def packed() -> torch.Tensor:
        return trees.attend(0, q, k, v, scale)

    def dense() -> torch.Tensor:
        # Only without grouped heads does torch choose a fused kernel that takes a mask.
        repeated = (x.repeat_interleave(heads // keys, 1) for x in (k, v))
        return F.scaled_dot_product_attention(q, *repeated, attn_mask=mask, scale=scale).transpose(1, 2)

    def both_passes(work: Callable[[], torch.Tensor]) -> Callable[[], None]:
        return lambda: work().float().square().sum().backward()

    with torch.no_grad():
        found, wanted = packed(), dense()
    ours, theirs = timed([both_passes(packed), both_passes(dense)], settings.repeat)
    return {
        "tokens": tokens,
        "seconds": {"packed": statistics.median(ours), "dense": statistics.median(theirs)},
        "peak_mib": {"packed": peak_while(both_passes(packed)), "dense": peak_while(both_passes(dense))},
        "difference": ((found - wanted).float().norm() / wanted.float().norm()).item(),
    }


def main() -> None:
    told, settings = parse(__doc__ or "")
    # On a CPU, memory takes two more processes, which a quick run leaves out.
    cuda, wanted = torch.cuda.is_available(), not (told.quick or told.no_memory or told.peak_of)
    peak = {side: peak_of(side) for side in ("ours", "theirs")} if wanted and not cuda else {}
    ours, theirs, loaded, rows = trainers(settings)
    prompts = make_prompts(loaded, rows)
    packed, plain = batches(ours, prompts, settings)
    work = {"ours": lambda: update(ours, packed), "theirs": lambda: update(theirs, plain)}
    if told.peak_of:
        print(peak_while(work[told.peak_of]))
        return
    work["ours"]()
    mine_gradients = gradients(ours)
    work["theirs"]()
    difference = relative_difference(mine_gradients, theirs)
    del mine_gradients
    if wanted and cuda:
        peak = {side: peak_while(piece) for side, piece in work.items()}
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
        result["attention"] = attention(loaded, prompts, settings)
    show(result, told.json)


if __name__ == "__main__":
    main()

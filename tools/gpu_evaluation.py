"""The evaluation part of the GPU proof: the local engine against the loop of the published scripts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gpu_training import IMAGES, SIDE, SMALL_SIDE, now, random_weights
from shapes import configuration, named_shape

from mirg.answers.prompts import messages
from mirg.data.scenes.generate import iter_samples
from mirg.data.scenes.world import WorldConfig
from mirg.engines.base import Generation, Request
from mirg.engines.transformers import TransformersEngine
from mirg.models.load import fast_dtype, forbidden_tokens, load_model

ALONE = 8  # samples of the loop: all of them would take longer than a part may


def measure(folder: Path, rehearse: bool, add: Callable[..., None]) -> None:
    """Tokens a second of both, and whether their greedy answers are equal; ``add`` keeps what is known."""
    side, samples, tokens, alone = (SMALL_SIDE, 4, 8, 2) if rehearse else (SIDE, 32, 128, ALONE)
    config, processor = configuration(named_shape("qwen2.5-vl-7b" + (", shrunk" if rehearse else "")), side)
    config.save_pretrained(folder)
    processor.save_pretrained(folder)
    with random_weights():
        loaded = load_model(str(folder), dtype=fast_dtype())
    engine = TransformersEngine(loaded)
    world = WorldConfig(side=side, images=(IMAGES, IMAGES))
    made = iter_samples(["group_grounding", "odd_one_out"], samples, split="test", config=world)
    requests = [Request(sample.id, messages(sample, engine.family, engine.limits), images) for sample, images in made]
    settings = Generation(max_new_tokens=tokens, batch_size=16)
    engine.generate(requests[:2], Generation(max_new_tokens=2))
    began = now()
    together = engine.generate(requests, settings)
    ours = now() - began
    add(engine={"samples": samples, "seconds": ours, "tokens_per_second": sum(c.tokens for c in together) / ours})
    one_by_one(loaded, requests[0], 2)
    began = time.perf_counter()
    texts = [one_by_one(loaded, request, tokens) for request in requests[:alone]]
    theirs = now() - began
    rate = sum(count for _, count in texts) / theirs
    add(
        loop={"samples": alone, "seconds": theirs, "tokens_per_second": rate},
        ratio=sum(c.tokens for c in together) / ours / rate,
        equal_answers=[text == done.text for (text, _), done in zip(texts, together, strict=False)],
        max_new_tokens=tokens,
        dtype=str(loaded.model.dtype),
    )


@torch.inference_mode()
def one_by_one(loaded: Any, request: Request, tokens: int) -> tuple[str, int]:
    """The greedy answer to one request by ``generate``, and the number of its tokens."""
    processor = loaded.processor
    text = processor.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
    inputs = processor(text=[text], images=request.images, return_tensors="pt").to(loaded.model.device)
    made = loaded.model.generate(
        **inputs, max_new_tokens=tokens, do_sample=False,
        suppress_tokens=forbidden_tokens(loaded.tokenizer, loaded.family),
    )  # fmt: skip
    said = made[0, inputs["input_ids"].shape[1] :]
    return loaded.tokenizer.decode(said, skip_special_tokens=True), len(said)

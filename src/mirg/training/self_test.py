"""A self-test of a few seconds: the embedded model in packed rows against ``generate``, and one packed gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from mirg.answers.prompts import messages
from mirg.data.scenes.generate import iter_samples
from mirg.data.scenes.world import WorldConfig
from mirg.models.load import SHIPPED, forbidden_tokens, load_model
from mirg.models.packing import enable_packed_forward, pack, score_packed
from mirg.models.prompts import Asked, encode_all
from mirg.models.sampling import Sampling, complete, complete_by_generate

TOLERANCE = 1e-3  # nats of one token in float32; a wrong position or a wrong mask changes far more


class SelfTest(NamedTuple):
    """Whether greedy tokens and their log-probabilities agree, and gradients are finite, on ``device``."""

    same: bool
    finite: bool
    device: str


def compare_paths() -> SelfTest:
    """Complete two prompts by both paths on the default device, and take the gradient of one packed update."""
    loaded = load_model(SHIPPED.name, dtype="float32")
    shown = iter_samples(["refer"], 2, split="test", config=WorldConfig(images=(2, 3)))
    asked = [Asked(messages(one, loaded.family, loaded.limits), images, one.id) for one, images in shown]
    prompts = encode_all(loaded.processor, asked)
    forbidden = forbidden_tokens(loaded.tokenizer, loaded.family)
    sampling = Sampling(16, stops=[loaded.tokenizer.eos_token_id], forbidden=forbidden, temperature=0.0)
    unpacked = complete_by_generate(loaded.model, prompts, [1, 1], sampling)
    enable_packed_forward(loaded.model)
    packed = complete(loaded.model, prompts, [1, 1], sampling)
    scores, _ = score_packed(loaded.model, pack(loaded.model, prompts, packed))
    usual = torch.cat([_usual_scores(loaded.model, p, ids) for p, (ids,) in zip(prompts, packed, strict=True)])
    same = packed == unpacked and bool(((scores - usual).abs() < TOLERANCE).all())
    (-scores.mean()).backward()
    gradients = [p.grad for p in loaded.model.parameters() if p.grad is not None]
    finite = bool(gradients) and all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    return SelfTest(same, finite, loaded.model.device.type)


@torch.no_grad()
def _usual_scores(model: Any, prompt: Any, completion: Sequence[int]) -> torch.Tensor:
    """The log-probability of each token of ``completion`` by the forward pass of transformers: (tokens,)."""
    ids = torch.tensor([[*prompt.ids, *completion]], device=model.device)
    kinds = (ids == model.config.image_token_id).int()
    images = {"pixel_values": prompt.pixels.to(model.device), "image_grid_thw": prompt.grid.to(model.device)}
    logits = model(input_ids=ids, mm_token_type_ids=kinds, **images).logits[0, len(prompt.ids) - 1 : -1]
    return logits.float().log_softmax(-1).gather(-1, ids[0, len(prompt.ids) :, None])[:, 0]

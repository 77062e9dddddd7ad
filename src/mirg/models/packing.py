"""One prompt per group: completions share their prompt in one packed sequence, with the same loss and gradients.

A group is a tree. Its *trunk* is the prompt without its last token; each *branch* is the prompt's last token followed
by a completion without its last. Every branch token predicts the next token of its completion, so the tree has as
many tokens as prompt and completions together, and nothing of a prompt is ever projected to the vocabulary:

    unpacked   p1 p2 p3 a1 a2 a3        packed   p1 p2 | p3 a1 a2 | p3 b1
               p1 p2 p3 b1 b2           predicts         a1 a2 a3   b1 b2

All trees of a batch are in one row, trunks first, without padding: (1, tokens). A branch sees its trunk and itself,
never its siblings; its rotary positions continue those of its trunk. The idea of sharing the prompt is that of Prefix
Grouper (arXiv 2506.05433); docs/design/0007-packing.md derives it.

A branch may hold turns of an environment with images (:class:`mirg.models.prompts.Branch`). Their tokens are read like
any others, and no token that predicts one of them is scored.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from mirg.errors import EngineError
from mirg.models.images import joined
from mirg.models.prompts import Branch, Prompt
from mirg.models.trees import Trees
from mirg.models.vision import base_of, decoder_of, patch_layer, patches_by_product, tower_of

_PREFIX = "mirg_trees_"
LOGITS = 2**27  # bytes of logits in memory at a time


@dataclass(frozen=True)
class Packed:
    """The inputs of the model's forward pass, and which of its outputs predict the completions."""

    inputs: dict[str, Any]
    trees: Trees
    labels: torch.Tensor  # (scored tokens,): the token that each predicts
    tips: torch.Tensor  # (3 or 1, prompts): rotary position of each prompt's last token


def pack(model: Any, prompts: Sequence[Prompt], groups: Sequence[Sequence[Sequence[int] | Branch]]) -> Packed:
    """One row out of ``prompts`` and, for each, its completions (none of them empty): token ids, or branches."""
    device = model.device
    positions = [rope_positions(model, prompt) for prompt in prompts]
    tips, trunks = [p[:, -1:] for p in positions], [p[:, :-1] for p in positions]
    branches = [(n, _branch(ids)) for n, group in enumerate(groups) for ids in group]
    tokens = [
        *(t for p in prompts for t in p.ids[:-1]),
        *(t for n, c in branches for t in (prompts[n].ids[-1], *c.ids[:-1])),
    ]
    offsets = [branch_positions(model, prompts[n], tips[n], branch)[:, :-1] for n, branch in branches]
    shown = [*prompts, *(branch for _, branch in branches)]
    inputs = row_inputs(model, tokens, [*trunks, *offsets], shown)
    own = [on for _, branch in branches for on in branch.own]
    scored = None if all(own) else torch.tensor(own, device=device)
    trees = Trees(_lengths([t.shape[1] for t in trunks], device), grid_of(groups, device), scored=scored)
    labels = torch.tensor(
        [t for _, branch in branches for t, on in zip(branch.ids, branch.own, strict=True) if on], device=device
    )
    return Packed(inputs, trees, labels, torch.cat(tips, 1))


def _branch(completion: Sequence[int] | Branch) -> Branch:
    return completion if isinstance(completion, Branch) else Branch([]).extended(completion, own=True)


def row_inputs(
    model: Any, tokens: list[int], positions: Sequence[torch.Tensor], shown: Sequence[Prompt]
) -> dict[str, Any]:
    """What a forward pass takes of one row: its tokens, their positions, and the images of ``shown`` in that order."""
    inputs: dict[str, Any] = {
        "input_ids": torch.tensor([tokens], device=model.device),
        "position_ids": torch.cat(list(positions), 1)[:, None],
    }
    if images := joined([one.inputs for one in shown], model.device):
        inputs |= images
        if hasattr(tower_of(model), "feature_cache"):  # mirg.models.vision
            inputs["feature_keys"] = tuple(key for one in shown for key in one.image_keys)
    return inputs


def branch_positions(model: Any, prompt: Prompt, tip: torch.Tensor, branch: Branch) -> torch.Tensor:
    """Rotary positions (3 or 1, 1 + tokens) of the last token of ``prompt``, which is ``tip``, and of a branch.

    An image in the branch takes rows and columns: the model counts the whole sequence then.
    """
    if not branch.inputs:
        return tip + torch.arange(1 + len(branch), device=model.device)
    return rope_positions(model, branch.after(prompt))[:, len(prompt.ids) - 1 :]


def _lengths(lengths: Sequence[int], device: Any) -> torch.Tensor:
    return torch.arange(max(lengths), device=device) < torch.tensor(lengths, device=device)[:, None]


def grid_of(groups: Sequence[Sequence[Sequence[int] | Branch]], device: Any) -> torch.Tensor:
    """(N, G, C): the real tokens of every branch."""
    wide = max(len(group) for group in groups)
    if not wide:
        return torch.ones(len(groups), 0, 0, dtype=torch.bool, device=device)
    lengths = [len(group[k]) if k < len(group) else 0 for group in groups for k in range(wide)]
    return _lengths(lengths, device).view(len(groups), wide, -1)


def rope_positions(model: Any, prompt: Prompt) -> torch.Tensor:
    """The rotary positions (3, tokens) of time, row and column, as the model itself counts them.

    (1, tokens) if the model counts tokens and knows no rows and columns.
    """
    if prompt.grid is None:
        kinds = 3 if hasattr(base_of(model), "get_rope_index") else 1
        return torch.arange(len(prompt.ids), device=model.device).expand(kinds, -1)
    # Computed on the host: on a device, every image would cost a synchronisation.
    ids = torch.tensor([list(prompt.ids)])
    kinds = (ids == model.config.image_token_id).int()
    positions = base_of(model).get_rope_index(ids, mm_token_type_ids=kinds, image_grid_thw=prompt.grid)[0]
    return positions[:, 0].to(model.device)


def other_attention(model: Any) -> str:
    """The kind of a layer that packed rows do not support, such as ``linear_attention``; "" if every layer is full."""
    kinds = getattr(decoder_of(model).config, "layer_types", None) or ()
    return next((kind for kind in kinds if kind != "full_attention"), "")


def enable_packed_forward(model: Any, temperature: float = 1.0) -> None:
    """Let ``model(..., trees=…, labels=…)`` score packed rows; without ``trees`` its forward pass is unchanged.

    Logits are divided by ``temperature``. EngineError if a layer has another attention than full attention
    (:func:`other_attention`).
    """
    text = decoder_of(model).config
    before = text._attn_implementation or "eager"
    if before.startswith(_PREFIX):
        return
    if other := other_attention(model):
        raise EngineError(f"this model has {other} layers", hint="GRPO can train it with packed: false")
    name = _PREFIX + before
    AttentionInterface.register(name, _attention(before))
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[before])
    text._attn_implementation_internal = name
    patches_by_product(tower_of(model))
    whole = _whole(model)
    whole.forward_without_trees = whole.forward
    whole.score_temperature = temperature
    # A bound method is copied with its model. `generate` inspects the name and the arguments of the method.
    whole.forward = MethodType(functools.wraps(type(whole).forward)(_forward), whole)


@contextmanager
def packed_forward_undone(model: Any) -> Iterator[None]:
    """After the block, ``model`` computes as before to the last bit, also if the block enabled the packed forward."""
    text, whole = decoder_of(model).config, _whole(model)
    before = text._attn_implementation
    modules = [whole, *filter(None, [patch_layer(tower_of(model))])]
    forwards = [module.__dict__.get("forward") for module in modules]
    try:
        yield
    finally:
        text._attn_implementation_internal = before
        for module, forward in zip(modules, forwards, strict=True):
            module.__dict__.pop("forward", None)
            if forward is not None:
                module.forward = forward


def _whole(model: Any) -> Any:
    """The model inside PEFT's wrapper, or ``model`` itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _forward(self: Any, *args: Any, trees: Trees | None = None, **kwargs: Any) -> Any:
    if trees is None:
        return self.forward_without_trees(*args, **kwargs)
    labels = kwargs.pop("labels")
    given = {key: value for key, value in kwargs.items() if value is not None}  # PEFT passes arguments on that are None
    hidden = decoder_hidden_states(self, trees, **given)[0, int(trees.trunk.sum()) :]
    if trees.scored is not None:
        hidden = hidden[trees.scored]
    return token_scores(hidden, self.get_output_embeddings(), labels, self.score_temperature)


def _attention(before: str) -> Any:
    def attention(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        *,
        scaling: float | None = None,
        trees: Any = None,
        **others: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if trees is not None:
            scale = scaling or query.shape[-1] ** -0.5
            return trees.attend(module.layer_idx, query, key, value, scale), None
        eager = sys.modules[type(module).__module__].eager_attention_forward
        usual = ALL_ATTENTION_FUNCTIONS.get_interface(before, eager)
        return usual(module, query, key, value, attention_mask, scaling=scaling, **others)

    return attention


def decoder_hidden_states(model: Any, trees: Any, **inputs: Any) -> torch.Tensor:
    """The last hidden states (batch, tokens, width) of the decoder along ``trees``."""
    # transformers passes a mask of four dimensions on unchanged; the attention functions here do not read it.
    positions = inputs.pop("position_ids")
    mask = torch.empty(1, 1, 1, 1, device=positions.device)
    inputs["position_ids"] = positions if len(positions) > 1 else positions[0]
    return base_of(model)(**inputs, attention_mask=mask, trees=trees, use_cache=False).last_hidden_state


def score_packed(model: Any, packed: Packed) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability and entropy of every token that a model wrote, by completions in order: two tensors (tokens,).

    ``model`` may be wrapped (DDP, DeepSpeed, PEFT) around one that :func:`enable_packed_forward` prepared.
    """
    return model(**packed.inputs, trees=packed.trees, labels=packed.labels)


def token_scores(
    hidden: torch.Tensor, head: torch.nn.Linear, labels: torch.Tensor, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of ``labels`` (K,) and entropy (K,) in nats after ``hidden`` (K, width).

    Logits are made for some of the tokens at a time and again in the backward pass, never kept.
    """

    def score(part: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logs = (head(part).float() / temperature).log_softmax(-1)
        entropy = -(logs.exp() * logs).sum(-1)
        return logs.gather(-1, wanted[:, None])[:, 0], entropy.detach()

    step = max(LOGITS // (4 * head.out_features), 1)
    parts = [
        checkpoint(score, part, wanted, use_reentrant=False)
        for part, wanted in zip(hidden.split(step), labels.split(step), strict=True)
    ]
    logs, entropies = zip(*parts, strict=True)
    return torch.cat(logs), torch.cat(entropies)

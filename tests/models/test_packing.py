"""A packed group has the loss and the gradients of its completions one by one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn.attention.flex_attention import flex_attention

from fakes.tiny import tiny_pair
from fakes.trees import completions, one_by_one, prompts, tiny_loaded
from mirg.errors import EngineError
from mirg.models import packing, trees
from mirg.models.packing import enable_packed_forward, pack, packed_forward_undone, score_packed, token_scores
from mirg.models.prompts import Prompt
from mirg.models.vision import decoder_of, patch_layer, tower_of

KINDS = ["qwen3_vl", "qwen2_5_vl", "qwen2_vl"]
COUNTS = {"ragged": (3, 1, 4, 2), "one each": (1, 1, 1, 1), "a group without completions": (2, 0, 1, 3)}


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm().clamp(min=1e-12)).item()


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("kv_heads", [2, 1], ids=["a head each", "shared heads"])
@pytest.mark.parametrize("kind", KINDS)
def test_packing_changes_neither_scores_nor_gradients(kind: str, kv_heads: int, counts: str) -> None:
    """In float32: log-probabilities to 1e-5, gradients to 1e-5 relative, over images of several numbers and sizes."""
    loaded = tiny_loaded(kind, kv_heads=kv_heads)
    model, shown, groups = loaded.model, prompts(loaded), completions(COUNTS[counts])
    packed = pack(model, shown, groups)
    scores, _ = score_packed(model, packed)
    slow = one_by_one(loaded, shown, groups)
    torch.testing.assert_close(scores, slow, atol=1e-5, rtol=0)
    weights = torch.randn(len(slow), generator=torch.Generator().manual_seed(1))
    ours, theirs = gradients(model, (scores * weights).sum()), gradients(model, (slow * weights).sum())
    assert ours.keys() == theirs.keys()
    # A bias of the keys moves no attention: its gradient is only rounding, of either sign.
    assert {
        name: relative(ours[name], theirs[name])
        for name in ours
        if "k_proj.bias" not in name and "qkv.bias" not in name
    } == {name: pytest.approx(0, abs=1e-5) for name in ours if "k_proj.bias" not in name and "qkv.bias" not in name}


@pytest.mark.parametrize("kind", KINDS)
def test_checkpointing_recomputes_the_same(kind: str) -> None:
    loaded = tiny_loaded(kind)
    model, shown, groups = loaded.model, prompts(loaded), completions((3, 1, 4, 2))
    packed = pack(model, shown, groups)
    plain = gradients(model, score_packed(model, packed)[0].sum())
    model.train()
    model.gradient_checkpointing_enable()
    again = gradients(model, score_packed(model, packed)[0].sum())
    for name, grad in plain.items():
        torch.testing.assert_close(again[name], grad, msg=name)


def test_long_trunks_take_the_fused_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_loaded("qwen3_vl")
    shown, groups = prompts(loaded), completions((3, 1, 4, 2))
    packed = pack(loaded.model, shown, groups)
    short = score_packed(loaded.model, packed)[0]
    monkeypatch.setattr(trees, "SHORT", 0)
    torch.testing.assert_close(score_packed(loaded.model, packed)[0], short, atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("kv_heads", [2, 1], ids=["a head each", "shared heads"])
def test_the_mask_of_a_gpu_is_the_same(kv_heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention, which a GPU takes, evaluated here by its slow definition."""
    loaded = tiny_loaded("qwen3_vl", kv_heads=kv_heads)
    shown, groups = prompts(loaded), completions((3, 0, 4, 2))
    packed = pack(loaded.model, shown, groups)
    parts = score_packed(loaded.model, packed)[0]
    calls = []

    def plainly(*tensors: torch.Tensor, training: bool, **settings: Any) -> Any:
        calls.append(training)
        return flex_attention(*tensors, **settings)

    monkeypatch.setattr(trees, "FLEX", "cpu")
    monkeypatch.setattr(trees, "compile_friendly_flex_attention", plainly)
    with torch.no_grad():  # there is no backward pass of it on a CPU
        torch.testing.assert_close(score_packed(loaded.model, packed)[0], parts, atol=1e-5, rtol=0)
    assert len(calls) == 2, "once a layer"


def test_scores_in_parts_equal_scores_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head, hidden, labels = torch.nn.Linear(8, 50), torch.randn(33, 8, requires_grad=True), torch.randint(50, (33,))
    reference = (head(hidden) / 0.7).log_softmax(-1)
    monkeypatch.setattr(packing, "LOGITS", 4 * 50 * 10)  # ten tokens at a time
    logs, entropies = token_scores(hidden, head, labels, temperature=0.7)
    torch.testing.assert_close(logs, reference.gather(-1, labels[:, None])[:, 0])
    torch.testing.assert_close(entropies, -(reference.exp() * reference).sum(-1))
    (ours,) = torch.autograd.grad(logs.sum(), hidden, retain_graph=True)
    (theirs,) = torch.autograd.grad(reference.gather(-1, labels[:, None]).sum(), hidden)
    torch.testing.assert_close(ours, theirs)


def test_a_planted_model_computes_what_it_did_before() -> None:
    loaded = tiny_loaded("qwen3_vl")
    model: Any = loaded.model
    plain = copy.deepcopy(model)
    plain.config.text_config._attn_implementation_internal = "eager"
    del plain.__dict__["forward"]
    ids = torch.randint(20, 200, (3, 17))
    mask = torch.ones_like(ids).index_fill(1, torch.arange(4), 0)
    torch.testing.assert_close(
        model(input_ids=ids, attention_mask=mask).logits, plain(input_ids=ids, attention_mask=mask).logits
    )


def test_the_attention_of_the_model_is_kept() -> None:
    loaded = tiny_loaded("qwen3_vl")
    text: Any = loaded.model.base_model.language_model.config
    text._attn_implementation_internal = "sdpa"
    enable_packed_forward(loaded.model)
    assert text._attn_implementation == "mirg_trees_sdpa"


def test_windows_of_attention_are_refused() -> None:
    loaded = tiny_loaded("qwen2_vl")
    text: Any = loaded.model.base_model.language_model.config
    text._attn_implementation_internal = "eager"
    text.layer_types = ["full_attention", "sliding_attention"]
    with pytest.raises(EngineError, match="sliding_attention"):
        enable_packed_forward(loaded.model)


def test_tokens_of_a_row_are_those_of_prompts_and_completions_once() -> None:
    """A group of G completions of C tokens over a prompt of P costs P - 1 + G * C tokens."""
    loaded = tiny_loaded("qwen3_vl")
    shown = [Prompt(list(range(20, 30))), Prompt([30, 31])]
    packed = pack(loaded.model, shown, [[[1, 2, 3], [4]], [[5, 6]]])
    assert packed.inputs["input_ids"][0].tolist() == [*range(20, 29), 30, 29, 1, 2, 29, 31, 5]
    assert packed.labels.tolist() == [1, 2, 3, 4, 5, 6]
    assert packed.inputs["position_ids"][0, 0].tolist() == [*range(9), 0, 9, 10, 11, 9, 1, 2]


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_packed_rows_need_is_undone(kind: str, enabled: bool) -> None:
    """Attention, the forward pass of the model and that of its patch embedding are what they were before."""
    model, _ = tiny_pair(kind)
    if enabled:
        enable_packed_forward(model)
    layer = patch_layer(tower_of(model))
    assert layer is not None
    text = decoder_of(model).config

    def state() -> tuple[object, ...]:
        return text._attn_implementation, vars(model).get("forward"), vars(layer).get("forward")

    before = state()
    with packed_forward_undone(model):
        enable_packed_forward(model)
        assert None not in state()
    assert state() == before and (None in before) != enabled

"""Completions in which an environment shows further images: packed scores and gradients, and sampling in turns."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fakes.trees import Showing, completions, looking, noise, one_by_one, prompts, tiny_loaded, turn
from mirg.models import turns
from mirg.models.load import LoadedModel, forbidden_tokens
from mirg.models.packing import pack, score_packed
from mirg.models.prompts import Branch, Prompt
from mirg.models.sampling import Sampling, complete
from mirg.models.turns import complete_in_turns, turns_by_generate
from mirg.models.vision import FeatureCache, keep_features

KINDS = ["qwen3_vl", "qwen2_5_vl", "qwen2_vl"]
SLOW = pytest.mark.slow
LOOKS = {"ragged": ((2, 0, 1), (0,), (1, 0, 3, 1), (0, 0)), "none": ((0, 0), (0,), (0,), (0,))}


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("looks", ["ragged", pytest.param("none", marks=SLOW)])
@pytest.mark.parametrize("kind", KINDS)
def test_packing_changes_neither_scores_nor_gradients(kind: str, looks: str) -> None:
    """In float32 to 1e-5: ragged numbers of looks, refusals between them, crops of several sizes."""
    loaded = tiny_loaded(kind, kv_heads=1)
    model, shown, groups = loaded.model, prompts(loaded), looking(loaded, LOOKS[looks])
    packed = pack(model, shown, groups)
    scores, _ = score_packed(model, packed)
    assert len(scores) == sum(branch.written for group in groups for branch in group)
    slow = one_by_one(loaded, shown, groups)
    torch.testing.assert_close(scores, slow, atol=1e-5, rtol=0)
    weights = torch.randn(len(slow), generator=torch.Generator().manual_seed(1))
    ours, theirs = gradients(model, (scores * weights).sum()), gradients(model, (slow * weights).sum())
    assert ours.keys() == theirs.keys()
    for name, grad in theirs.items():
        if "k_proj.bias" not in name and "qkv.bias" not in name:  # moves no attention: only rounding
            assert (ours[name] - grad).norm() <= 1e-5 * grad.norm() + 1e-7, name


def test_branches_without_looks_are_packed_like_token_ids() -> None:
    loaded = tiny_loaded("qwen3_vl")
    shown, groups = prompts(loaded), completions((3, 1, 4, 2))
    plain = pack(loaded.model, shown, groups)
    same = pack(loaded.model, shown, [[Branch([]).extended(ids, own=True) for ids in group] for group in groups])
    assert same.trees.scored is None
    assert torch.equal(score_packed(loaded.model, plain)[0], score_packed(loaded.model, same)[0])


def test_kept_features_serve_crops() -> None:
    loaded = tiny_loaded("qwen3_vl")
    shown, groups = prompts(loaded), looking(loaded, LOOKS["ragged"])
    plain = score_packed(loaded.model, pack(loaded.model, shown, groups))[0]
    loaded.model.requires_grad_(False)
    cache = FeatureCache(2**26)
    keep_features(loaded.model, cache)
    for share in (0.0, 1.0):
        kept = score_packed(loaded.model, pack(loaded.model, shown, groups))[0]
        torch.testing.assert_close(kept, plain, atol=1e-5, rtol=0)
        assert cache.take_share() == share


# Sampling.


def asking(loaded: LoadedModel, shown: list[Prompt]) -> tuple[Showing, Sampling]:
    """An environment that some of the greedy completions ask, at different places, and a stop that ends some."""
    forbidden = forbidden_tokens(loaded.tokenizer, loaded.family)
    endless = complete(loaded.model, shown, (1,) * len(shown), Sampling(8, [], forbidden, temperature=0))
    said = {token for (ids,) in endless for token in ids}
    asked = sorted(said)[::2] + [t for t in range(20, len(loaded.tokenizer), 7)]
    return Showing(loaded, asked), Sampling(24, range(3, len(loaded.tokenizer), 11), forbidden, temperature=0)


@pytest.mark.parametrize("reread", [turns.REREAD, pytest.param(1, marks=SLOW)], ids=["one pass", "a pass each"])
@pytest.mark.parametrize("kind", ["qwen3_vl", *(pytest.param(kind, marks=SLOW) for kind in KINDS[1:])])
def test_greedy_turns_are_those_of_generate(kind: str, reread: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Token for token: prompts with 2, 3, 1 and 0 images, completions with 0 to 2 looks, one look more refused."""
    monkeypatch.setattr(turns, "REREAD", reread)
    loaded = tiny_loaded(kind, kv_heads=1)
    shown, counts = prompts(loaded), (3, 1, 2, 2)
    environment, settings = asking(loaded, shown)
    ours = complete_in_turns(loaded.model, shown, counts, settings, environment)
    theirs = turns_by_generate(loaded.model, shown, counts, settings, environment)
    assert [[(list(b.ids), list(b.own)) for b in group] for group in ours] == [
        [(list(b.ids), list(b.own)) for b in group] for group in theirs
    ]
    looks = {len(branch.image_keys) for group in ours for branch in group}
    assert len(looks) > 1 and max(looks) == 2, looks
    assert all(branch.own[-1] and branch.written <= 24 for group in ours for branch in group)


@pytest.mark.parametrize("temperature", [0.7])
def test_every_sampled_token_has_the_probability_of_the_update(temperature: float) -> None:
    """Rollouts and update see the same: resampling the last turn from its packed logits gives its distribution."""
    loaded = tiny_loaded("qwen3_vl")
    shown = prompts(loaded, images=(2, 1))
    environment, settings = asking(loaded, shown)
    torch.manual_seed(3)
    sampling = Sampling(24, settings.stops, settings.forbidden, temperature)
    groups = complete_in_turns(loaded.model, shown, (4, 3), sampling, environment)
    torch.manual_seed(3)
    again = complete_in_turns(loaded.model, shown, (4, 3), sampling, environment)
    assert [[b.ids for b in group] for group in groups] == [[b.ids for b in group] for group in again]
    assert any(branch.inputs for group in groups for branch in group)
    scores = score_packed(loaded.model, pack(loaded.model, shown, groups))[0]
    torch.testing.assert_close(scores, one_by_one(loaded, shown, groups), atol=1e-5, rtol=0)


def test_without_looks_turns_are_completions() -> None:
    """The same draws, to the bit."""
    loaded = tiny_loaded("qwen3_vl")
    shown, counts = prompts(loaded), (3, 1, 2, 2)
    sampling = Sampling(12, range(3, len(loaded.tokenizer), 5), forbidden_tokens(loaded.tokenizer, loaded.family), 0.7)
    torch.manual_seed(5)
    plain = complete(loaded.model, shown, counts, sampling)
    torch.manual_seed(5)
    same = complete_in_turns(loaded.model, shown, counts, sampling, Showing(loaded, ()))
    assert [[list(branch.ids) for branch in group] for group in same] == plain


def test_a_branch_knows_its_turns() -> None:
    loaded = tiny_loaded("qwen3_vl")
    said = turn(loaded, noise((56, 84), 0.5))
    branch = Branch([]).extended([7, 8], own=True).extended(said.ids, own=False, inputs=said.inputs)
    branch = branch.extended([9], own=True)
    assert (len(branch), branch.written, len(branch.image_keys)) == (len(said.ids) + 3, 3, 1)
    (prompt,) = prompts(loaded, images=(2,))
    whole = branch.after(prompt)
    assert list(whole.ids) == [*prompt.ids, *branch.ids]
    assert whole.image_keys == (*prompt.image_keys, *branch.image_keys)

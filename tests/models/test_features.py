"""Features of a frozen vision tower are computed once per image, and nothing else changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.trees import completions, prompts, tiny_loaded
from mirg.errors import ConfigError
from mirg.models.packing import base_of, pack, score_packed
from mirg.models.prompts import Prompt
from mirg.models.sampling import Sampling, complete
from mirg.models.vision import FeatureCache, keep_features, share_tower

KINDS = ["qwen3_vl", "qwen2_5_vl", "qwen2_vl"]
ROOM = 2**24  # bytes, far more than a test needs
GROUPS = completions((3, 1, 4, 2))


def frozen(kind: str = "qwen3_vl", **changes: Any) -> Any:
    loaded = tiny_loaded(kind, **changes)
    base_of(loaded.model).visual.requires_grad_(False)
    return loaded


def gradients(model: Any, shown: list[Prompt]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    scores, _ = score_packed(model, pack(model, shown, GROUPS))
    scores.square().sum().backward()
    return scores.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@contextmanager
def calls(model: Any) -> Iterator[list[list[list[int]]]]:
    """The grids of each call that reaches the layers of the vision tower."""
    seen: list[list[list[int]]] = []
    tower = base_of(model).visual
    usual = tower.forward_without_keys

    def counting(patches: torch.Tensor, grid_thw: torch.Tensor, **kwargs: Any) -> Any:
        seen.append(grid_thw.tolist())
        return usual(patches, grid_thw, **kwargs)

    tower.forward_without_keys = counting
    yield seen
    tower.forward_without_keys = usual


@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_gradients_are_those_without_a_cache(kind: str) -> None:
    """Log-probabilities to 3e-6, gradients to 1e-5 relative, in float32, with an empty cache and with a full one.

    The last bits of an image's features depend on the images that are computed with it.
    """
    loaded = frozen(kind)
    model, shown = loaded.model, prompts(loaded)
    expected, theirs = gradients(model, shown)
    keep_features(model, FeatureCache(ROOM))
    for _ in range(2):
        scores, ours = gradients(model, shown)
        torch.testing.assert_close(scores, expected, atol=3e-6, rtol=0)
        assert ours.keys() == theirs.keys()
        for name, grad in theirs.items():
            if not name.endswith("k_proj.bias"):  # moves no attention: its gradient is only rounding
                assert (ours[name] - grad).norm() <= 1e-5 * grad.norm(), name


@pytest.mark.parametrize("kind", KINDS)
def test_the_tower_sees_each_image_once(kind: str) -> None:
    """In rollouts, updates, checkpointed ones too, and whichever prompts the images come in."""
    loaded = frozen(kind)
    model, shown = loaded.model, prompts(loaded)
    keep_features(model, FeatureCache(ROOM))
    model.train()
    model.gradient_checkpointing_enable()
    with calls(model) as seen:
        complete(model, shown[:2], [2, 2], Sampling(2, []))
        assert len(seen) == 5 and all(len(grids) == 1 for grids in seen)
        gradients(model, shown[::-1])
        assert len(seen) == 6, "the one image that is new"
        gradients(model, [shown[1], shown[1], shown[0], shown[3]])
        assert len(seen) == 6


def test_the_features_of_an_image_do_not_depend_on_its_company() -> None:
    """Bit-identical: a run that resumes with an empty cache encodes its images in other batches."""
    loaded = frozen()
    shown = prompts(loaded, images=(1, 3, 1))
    tower = base_of(loaded.model).visual
    torch.set_num_threads(2)  # with one, the products of a batch and of its parts happen to round alike
    runs = []
    for company in ([shown], [[prompt] for prompt in shown], [shown[::-1]]):
        cache = FeatureCache(ROOM)
        keep_features(loaded.model, cache)
        for together in company:
            inputs = pack(loaded.model, together, [() for _ in together]).inputs
            tower(inputs["pixel_values"], inputs["image_grid_thw"], feature_keys=inputs["feature_keys"])
        runs.append(cache._kept)
    for other in runs[1:]:
        assert other.keys() == runs[0].keys() and len(other) == 5
        for key, features in runs[0].items():
            assert all(torch.equal(a, b) for a, b in zip(features, other[key], strict=True))


def test_numbers_of_another_kind_are_computed_anew() -> None:
    loaded = frozen()
    model, shown = loaded.model, prompts(loaded)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        expected, _ = score_packed(model, pack(model, shown, GROUPS))
    keep_features(model, FeatureCache(ROOM))
    with torch.no_grad():
        score_packed(model, pack(model, shown, GROUPS))
        with calls(model) as seen, torch.autocast("cpu", torch.bfloat16):
            for _ in range(2):
                scores, _ = score_packed(model, pack(model, shown, GROUPS))
                torch.testing.assert_close(scores, expected, atol=1e-2, rtol=0)
    assert len(seen) == 6, "a second time for each image, then found"
    kept = base_of(model).visual.feature_cache._kept
    assert {(numbers, features[0].dtype) for (_, numbers), features in kept.items()} == {
        ((torch.float32, None), torch.float32),
        ((torch.float32, torch.bfloat16), torch.bfloat16),
    }


def test_a_small_budget_costs_time_and_changes_nothing() -> None:
    loaded = frozen()
    model, shown = loaded.model, prompts(loaded)
    expected, _ = gradients(model, shown)
    keep_features(model, FeatureCache(1))
    with calls(model) as seen:
        for _ in range(2):
            torch.testing.assert_close(gradients(model, shown)[0], expected, atol=1e-6, rtol=0)
        assert len(seen) == 12
    assert len(base_of(model).visual.feature_cache) == 0


def test_without_keys_the_tower_computes_what_it_did() -> None:
    """``generate`` and plain forward passes know nothing of the cache."""
    loaded = frozen()
    model: Any = loaded.model
    (prompt,) = prompts(loaded, images=(2,))
    given = {"grid_thw": prompt.grid}
    plain = base_of(model).visual(prompt.pixels, **given).pooler_output
    cache = FeatureCache(ROOM)
    keep_features(model, cache)
    assert torch.equal(base_of(model).visual(prompt.pixels, **given).pooler_output, plain)
    assert len(cache) == 0


def test_a_tower_that_is_trained_is_refused() -> None:
    with pytest.raises(ConfigError, match="trained") as caught:
        keep_features(tiny_loaded("qwen3_vl").model, FeatureCache(ROOM))
    assert "freeze_vision" in caught.value.hint


def test_a_reference_shares_an_equal_tower_and_no_other() -> None:
    loaded = frozen()
    model: Any = loaded.model
    equal, other, narrow = copy.deepcopy(model), copy.deepcopy(model), copy.deepcopy(model)
    next(base_of(other).visual.parameters()).data[0] += 1e-3
    base_of(narrow).visual.to(torch.bfloat16)
    assert share_tower(model, equal) and base_of(equal).visual is base_of(model).visual
    for reference in (other, narrow):
        assert not share_tower(model, reference) and base_of(reference).visual is not base_of(model).visual


def test_keys_are_those_of_content() -> None:
    loaded = frozen()
    one, two = (prompts(loaded, images=(2, 3), seed=0) for _ in range(2))
    assert [p.image_keys for p in one] == [p.image_keys for p in two]
    assert len({key for p in one for key in p.image_keys}) == 5
    wide, high = (
        Prompt([1], {"pixel_values": torch.zeros(8, 6), "image_grid_thw": torch.tensor([grid])})
        for grid in ([1, 2, 4], [1, 4, 2])
    )
    assert wide.image_keys != high.image_keys, "the same patches in another shape"
    assert Prompt([1, 2]).image_keys == ()


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=40), st.integers(0, 30))
def test_the_budget_holds_and_the_least_used_goes(uses: list[tuple[int, int]], budget: int) -> None:
    """Against the slow way: a list in the order of use, cut from its old end until it fits."""
    cache = FeatureCache(4 * budget)
    order: list[tuple[int, int]] = []
    for key, size in uses:
        found = cache.get(key)
        held = next((pair for pair in order if pair[0] == key), None)
        assert (found is None) == (held is None)
        if held is not None:
            assert found is not None and len(found[0]) == held[1]
            order.remove(held)
            order.append(held)
            continue
        cache.put(key, (torch.zeros(size),))
        if size <= budget:
            order.append((key, size))
        while sum(kept for _, kept in order) > budget:
            order.pop(0)
        assert cache.bytes == 4 * sum(kept for _, kept in order) <= 4 * budget
        assert len(cache) == len(order)


def test_the_share_that_was_found() -> None:
    cache = FeatureCache(ROOM)
    assert cache.take_share() == 0
    cache.put("a", (torch.zeros(1),))
    assert [cache.get(key) is not None for key in "aaba"] == [True, True, False, True]
    assert cache.take_share() == 0.75
    assert cache.take_share() == 0

"""Completions over a shared prompt: greedy ones are those of ``generate``, samples have its distribution."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from fakes.trees import prompts, tiny_loaded
from mirg.errors import EngineError
from mirg.models.load import LoadedModel, forbidden_tokens
from mirg.models.prompts import Prompt
from mirg.models.sampling import Sampling, complete, passes

KINDS = ["qwen3_vl", "qwen2_5_vl", "qwen2_vl"]
LENGTH = 20


def stops_of(loaded: LoadedModel) -> list[int]:
    """A fifth of the vocabulary ends a completion, so that rows of a batch end one after another."""
    return list(range(3, len(loaded.tokenizer), 5))


def generated(loaded: LoadedModel, prompt: Prompt, stops: list[int], n: int, **sampling: Any) -> list[list[int]]:
    """What transformers' ``generate`` says after one prompt, cut after the first stop."""
    model: Any = loaded.model
    ids = torch.tensor([list(prompt.ids)])
    seen = {} if prompt.grid is None else {"pixel_values": prompt.pixels, "image_grid_thw": prompt.grid}
    rows = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == model.config.image_token_id).int(),
        **seen,
        max_new_tokens=LENGTH,
        eos_token_id=stops,
        suppress_tokens=forbidden_tokens(loaded.tokenizer, loaded.family),
        num_return_sequences=n,
        top_k=0,
        **sampling,
    )[:, ids.shape[1] :].tolist()
    return [row[: next((k + 1 for k, t in enumerate(row) if t in stops), LENGTH)] for row in rows]


@pytest.mark.parametrize("kv_heads", [2, 1], ids=["a head each", "shared heads"])
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_completions_are_those_of_generate(kind: str, kv_heads: int) -> None:
    """Token for token, for prompts of several lengths in one batch, with other numbers of completions each."""
    loaded = tiny_loaded(kind, kv_heads=kv_heads)
    shown, counts = prompts(loaded), (3, 1, 2, 2)
    endless = [generated(loaded, prompt, [], 1, do_sample=False)[0] for prompt in shown]
    # A token that one says early and another not at all, regardless of the random weights.
    stops = [next(t for row in endless for t in row[:-1] if any(t not in other for other in endless))]
    settings = Sampling(LENGTH, stops, forbidden_tokens(loaded.tokenizer, loaded.family), temperature=0)
    ours = complete(loaded.model, shown, counts, settings)
    theirs = [generated(loaded, prompt, stops, 1, do_sample=False) for prompt in shown]
    assert ours == [group * count for group, count in zip(theirs, counts, strict=True)]
    assert len({len(group[0]) for group in theirs}) > 1, "all end at once: nothing leaves the batch"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_prompts_in_several_passes_are_those_of_one(kind: str, temperature: float) -> None:
    """Two prompts of different lengths, then one in a pass: also the shared keys of a trunk have several widths."""
    loaded = tiny_loaded(kind, kv_heads=1)
    shown, counts = prompts(loaded), (3, 1, 2, 2)
    forbidden = forbidden_tokens(loaded.tokenizer, loaded.family)
    made = []
    for most in (None, len(shown[0].ids) + len(shown[1].ids), 1):
        torch.manual_seed(3)
        sampling = Sampling(LENGTH, stops_of(loaded), forbidden, temperature, prefill=most)
        made.append(complete(loaded.model, shown, counts, sampling))
    assert made[0] == made[1] == made[2]


@given(st.lists(st.integers(1, 9), min_size=1), st.integers(1, 20))
def test_passes_hold_every_prompt_in_order_and_no_more_tokens_than_allowed(lengths: list[int], most: int) -> None:
    parts = list(passes(lengths, most))
    tokens = [sum(lengths[k] for k in part) for part in parts]
    assert [k for part in parts for k in part] == list(range(len(lengths)))
    assert all(len(part) == 1 or total <= most for part, total in zip(parts, tokens, strict=True))
    assert all(total + lengths[after[0]] > most for total, after in zip(tokens, parts[1:], strict=False)), (
        "as few as can be"
    )


def test_samples_have_the_distribution_of_generate() -> None:
    """The first two tokens of 2 x 2,000 samples at temperature 0.5, by a chi-square test at 0.1 %."""
    loaded = tiny_loaded("qwen3_vl")
    stops, n = stops_of(loaded), 2000
    (prompt,) = prompts(loaded, images=(2,))
    torch.manual_seed(0)
    forbidden = forbidden_tokens(loaded.tokenizer, loaded.family)
    (ours,) = complete(loaded.model, [prompt], [n], Sampling(2, stops, forbidden, temperature=0.5))
    theirs = generated(loaded, prompt, stops, n, do_sample=True, temperature=0.5, top_p=1.0)
    for place in (0, 1):
        a, b = (Counter(row[place] for row in rows if len(row) > place) for rows in (ours, theirs))
        often = [token for token in a | b if a[token] + b[token] >= 10]
        table = [[c[t] for t in often] + [c.total() - sum(c[t] for t in often)] for c in (a, b)]
        assert chi2_contingency([[x + 1 for x in row] for row in table]).pvalue > 0.001, f"token {place}"
    assert len(a | b) > 20, "hardly anything is random"


def test_forbidden_tokens_are_never_taken() -> None:
    loaded = tiny_loaded("qwen3_vl")
    allowed = [40, 41, 42]
    barred = [k for k in range(len(loaded.tokenizer)) if k not in allowed]
    groups = complete(loaded.model, prompts(loaded), (5, 5, 5, 5), Sampling(6, [], barred, temperature=2.0))
    assert {token for group in groups for ids in group for token in ids} == set(allowed)
    assert all(len(ids) == 6 for group in groups for ids in group)


def test_sampling_follows_the_seed() -> None:
    loaded = tiny_loaded("qwen3_vl")
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(complete(loaded.model, prompts(loaded), (2, 2, 2, 2), Sampling(8, [5])))
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_numbers_that_are_not_finite_are_no_completion(temperature: float) -> None:
    """They are found while the model runs, too: weights may be finite and their products not."""
    loaded = tiny_loaded("qwen3_vl")
    model: Any = loaded.model
    with torch.no_grad():
        model.model.language_model.norm.weight.fill_(3e38)
    with pytest.raises(EngineError, match="not finite"):
        complete(model, prompts(loaded), (1, 1, 1, 1), Sampling(3, [], temperature=temperature))


def test_a_watch_sees_all_completions_after_every_token() -> None:
    """It is also given the completions that have ended and left the batch."""
    loaded = tiny_loaded("qwen3_vl")
    seen: list[list[list[int]]] = []
    sampling = Sampling(LENGTH, stops_of(loaded), watch=lambda rows: seen.append([list(row) for row in rows]))
    torch.manual_seed(5)
    groups = complete(loaded.model, prompts(loaded), (3, 3, 3, 3), sampling)
    made = [ids for group in groups for ids in group]
    assert len(seen) == max(map(len, made)) > min(map(len, made))
    assert all(rows == [ids[: k + 1] for ids in made] for k, rows in enumerate(seen))

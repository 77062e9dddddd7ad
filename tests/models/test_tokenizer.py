"""The tokenizer made on the spot: nothing is lost, and what is looked up is one token."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.tiny import WORLD
from mirg.data.scenes.generate import corpus
from mirg.data.scenes.objects import NAMES
from mirg.families import FAMILIES
from mirg.models.load import forbidden_tokens
from mirg.models.tiny import GRID, MAX_IMAGES, SPECIAL_TOKENS, TURN_END, train_tokenizer

TOKENIZER: Any = train_tokenizer(list(corpus(n=40, config=WORLD)), names=NAMES, coordinates=GRID, max_images=MAX_IMAGES)


def ids(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


@given(st.text(max_size=60))
def test_any_text_comes_back(text: str) -> None:
    assert TOKENIZER.decode(ids(text), skip_special_tokens=False) == text


@given(st.lists(st.sampled_from([*NAMES, "Image-3", "Image-12", "1040", "(40,80),(400,520)", "<answer>", "\n", " "])))
def test_texts_of_the_grammar_come_back(parts: list[str]) -> None:
    text = " ".join(parts)
    assert TOKENIZER.decode(ids(text), skip_special_tokens=False) == text


@pytest.mark.parametrize("value", GRID)
def test_a_coordinate_is_one_token(value: int) -> None:
    inside = TOKENIZER.convert_ids_to_tokens(ids(f"({value},{value}),({value},{value})"))
    assert inside.count(str(value)) == 4


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_one_token(name: str) -> None:
    assert len(ids(f" {name}")) == 1


@pytest.mark.parametrize("number", range(1, MAX_IMAGES + 1))
def test_a_label_is_one_token(number: int) -> None:
    assert len(ids(f"Image-{number}")) == len(ids(f" Image-{number}")) == 1


@pytest.mark.parametrize(
    ("text", "token"), [("Image-12", "Image-1"), ("1040", "40"), ("400", "40"), ("Image-3x", "Image-3")]
)
def test_a_token_does_not_match_inside_another_word(text: str, token: str) -> None:
    assert TOKENIZER.convert_tokens_to_ids(token) not in ids(text)


def test_grammar_tags_are_one_token_and_stay_in_the_text() -> None:
    text = "<think>a</think><answer>none</answer>"
    assert TOKENIZER.decode(ids(text), skip_special_tokens=True) == text
    assert all(len(ids(tag)) == 1 for tag in ("<think>", "</think>", "<answer>", "</answer>"))


def test_special_tokens_vanish_from_an_answer() -> None:
    assert TOKENIZER.decode(ids("<|image_pad|>a<|im_end|>"), skip_special_tokens=True) == "a"


@pytest.mark.parametrize("family", ["qwen2-vl", "qwen2.5-vl", "qwen3-vl", "mirg-tiny"])
def test_what_may_never_be_said(family: str) -> None:
    """Every special token but the end of the turn, and where a family puts tokens around a box, those."""
    facts = FAMILIES[family]
    banned = set(TOKENIZER.convert_ids_to_tokens(forbidden_tokens(TOKENIZER, facts)))
    assert set(facts.vision_tokens) <= banned
    around = {token for token in (facts.box_open, facts.box_close) if token}
    assert banned == set(SPECIAL_TOKENS) - {TURN_END} - around
    plain = SimpleNamespace(added_tokens_decoder={}, convert_tokens_to_ids=TOKENIZER.convert_tokens_to_ids)
    plain.eos_token_id = TOKENIZER.eos_token_id
    banned = set(TOKENIZER.convert_ids_to_tokens(forbidden_tokens(plain, facts)))
    assert banned == set(facts.vision_tokens), "also if the tokenizer does not call them special"


def test_training_is_deterministic() -> None:
    again = train_tokenizer(list(corpus(n=40, config=WORLD)), names=NAMES, coordinates=GRID, max_images=MAX_IMAGES)
    assert again.get_vocab() == TOKENIZER.get_vocab()

"""Answers that begin with given text, and several answers to one prompt read once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes.engines import ScriptedEngine
from fakes.tiny import MODEL_TYPES, read_data
from mirg.answers.prompts import messages
from mirg.engines.base import Completion, Generation, Request, Sampler, several
from mirg.engines.load import load_engine
from mirg.engines.transformers import TransformersEngine
from mirg.errors import ConfigError, EngineError
from mirg.models.sampling import complete

SHORT = Generation(max_new_tokens=8)
HOT = Generation(max_new_tokens=8, temperature=1.0, seed=3)


@pytest.fixture(scope="module")
def engine(folders: dict[str, Path]) -> TransformersEngine:
    """The engine of the random Qwen3-VL model."""
    made = load_engine(str(folders["qwen3_vl"]))
    assert isinstance(made, TransformersEngine)
    return made


@pytest.fixture(scope="module")
def requests(engine: TransformersEngine, data: Path) -> list[Request]:
    """Four prompts of two and three images."""
    return [
        Request(s.id, messages(s, engine.family, engine.limits, "none"), images) for s, images in read_data(data)[:4]
    ]


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_a_beginning_is_what_the_model_would_have_said(
    kind: str, folders: dict[str, Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given the start of its own greedy answer, the model goes on as it went on: the prefix stands where it stood."""
    made: Any = load_engine(str(folders[kind]))
    tokenizer = made.loaded.tokenizer
    said: list[list[int]] = []

    def recorded(*args: Any) -> Any:
        groups = complete(*args)
        said.append(groups[0][0])
        return groups

    monkeypatch.setattr("mirg.engines.transformers.complete", recorded)
    cuts = 0
    for sample, images in read_data(data)[:4]:
        request = Request(sample.id, messages(sample, made.family, made.limits, "none"), images)
        (whole,) = made.generate([request], SHORT)
        ids = said[-1][: whole.tokens]
        for cut in range(1, len(ids)):
            start = tokenizer.decode(ids[:cut])
            if tokenizer(start, add_special_tokens=False)["input_ids"] != ids[:cut]:
                continue  # said in other tokens than it is read in
            left = Generation(max_new_tokens=SHORT.max_new_tokens - cut)
            (rest,) = made.generate([replace(request, prefix=start)], left)
            assert start + rest.text == whole.text, f"{sample.id} cut after {cut}"
            assert (rest.tokens, rest.finish) == (whole.tokens - cut, whole.finish)
            cuts += 1
    assert cuts >= 4, "hardly anything was tried"


def test_prompt_tokens_are_those_of_the_processor(engine: TransformersEngine, requests: list[Request]) -> None:
    """Visual tokens and the beginning of the answer included."""
    processor: Any = engine.loaded.processor
    begun = [replace(request, prefix="<think>red ring</think>") for request in requests]
    for request, plain, with_start in zip(
        requests, engine.generate(requests, SHORT), engine.generate(begun, SHORT), strict=True
    ):
        text = processor.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
        made = processor(text=[text], images=request.images, return_tensors="pt")
        assert plain.prompt_tokens == made["input_ids"].shape[1]
        start = engine.loaded.tokenizer("<think>red ring</think>", add_special_tokens=False)["input_ids"]
        assert with_start.prompt_tokens == plain.prompt_tokens + len(start)
        assert not with_start.text.startswith("<think>red ring"), "the beginning is not said again"


def test_a_vision_token_in_the_beginning_is_refused(engine: TransformersEngine, requests: list[Request]) -> None:
    bad = replace(requests[0], prefix="<think><|image_pad|></think>")
    with pytest.raises(EngineError, match=f"sample {bad.sample_id}: the beginning of the answer holds"):
        engine.generate([bad], SHORT)


def test_several_answers_read_a_prompt_once(
    engine: TransformersEngine, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mirg.engines import transformers as module

    encoded: list[str] = []
    real = module.encode

    def counting(processor: Any, told: Any, images: Any, sample_id: str) -> Any:
        encoded.append(sample_id)
        return real(processor, told, images, sample_id)

    monkeypatch.setattr(module, "encode", counting)
    groups = several(engine, requests, HOT, 5)
    assert sorted(encoded) == sorted(request.sample_id for request in requests)
    assert [len(group) for group in groups] == [5] * 4
    assert len({said.text for group in groups for said in group}) > 10, "hardly anything is random"
    assert several(engine, requests, HOT, 5) == groups
    assert several(engine, requests, replace(HOT, seed=4), 5) != groups


def test_greedy_answers_are_all_the_same(engine: TransformersEngine, requests: list[Request]) -> None:
    alone = engine.generate(requests, SHORT)
    assert engine.sample(requests, SHORT, 3) == [[said] * 3 for said in alone]


def test_an_engine_that_cannot_sample_is_asked_again() -> None:
    """A remote engine, say: the same number of answers, in the same order."""
    plain = ScriptedEngine(lambda request, settings: f"{request.sample_id}!")
    assert not isinstance(plain, Sampler)
    asked = [Request(name, [], []) for name in ("a", "b")]
    groups = several(plain, asked, SHORT, 3)
    assert [[said.text for said in group] for group in groups] == [["a!"] * 3, ["b!"] * 3]
    assert plain.asked == [["a", "a", "a", "b", "b", "b"]]


def test_another_number_of_answers_is_an_error() -> None:
    class Short(ScriptedEngine):
        def generate(self, requests: Any, settings: Generation) -> list[Completion]:
            return super().generate(requests, settings)[:-1]

    with pytest.raises(EngineError, match="scripted gave 3 completions for 2 requests, 2 of each"):
        several(Short(lambda request, settings: ""), [Request("a", [], []), Request("b", [], [])], SHORT, 2)
    with pytest.raises(ConfigError, match="0 completions per prompt"):
        several(Short(lambda request, settings: ""), [Request("a", [], [])], SHORT, 0)

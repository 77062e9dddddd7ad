"""The transformers engine: order, seeds, stops, beginnings, several answers, and what may never be said."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fakes.engines import ScriptedEngine
from fakes.tiny import MODEL_TYPES, read_data
from fakes.training import answer
from mirg.answers.prompts import messages
from mirg.engines.base import Completion, Engine, Generation, Request, Sampler, several
from mirg.engines.load import load_engine
from mirg.engines.transformers import TransformersEngine
from mirg.errors import ConfigError, EngineError
from mirg.evaluation.batches import run_settings
from mirg.models.load import load_model
from mirg.models.prompts import encode_all
from mirg.models.sampling import complete
from mirg.rewards import RewardConfig
from mirg.samples import DatasetFolder

SHORT = Generation(max_new_tokens=6, batch_size=4)


@pytest.fixture(scope="module")
def engine(folders: dict[str, Path]) -> Engine:
    """The engine of the random Qwen3-VL model."""
    return load_engine(str(folders["qwen3_vl"]))


@pytest.fixture(scope="module")
def requests(engine: Engine, data: Path) -> list[Request]:
    """A request for each sample, with two and with three images."""
    return [Request(s.id, messages(s, engine.family, engine.limits, "none"), images) for s, images in read_data(data)]


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_it_is_an_engine(kind: str, folders: dict[str, Path], data: Path) -> None:
    made = load_engine(str(folders[kind]))
    assert isinstance(made, Engine)
    assert made.name == str(folders[kind]) and len(made.fingerprint) == 16
    said = answer(made, *read_data(data)[0], max_new_tokens=4)
    assert said.tokens <= 4 and said.finish in ("stop", "length")


@pytest.mark.parametrize(
    ("dtype", "numerics"), [(None, "float32 on cpu"), ("bfloat16", "bfloat16 on cpu"), ("float32", "float32 on cpu")]
)
def test_it_says_how_it_computes(dtype: str | None, numerics: str, folders: dict[str, Path], data: Path) -> None:
    """Promise 18: an evaluation is not continued with another dtype."""
    made = load_engine(str(folders["qwen3_vl"]), device="cpu", dtype=dtype)
    assert run_settings(made, DatasetFolder.open(data), SHORT, "full", RewardConfig())["numerics"] == numerics


def test_answers_come_in_the_order_of_the_questions(engine: Engine, requests: list[Request]) -> None:
    """A request gets the same answer by itself, in a batch with others and in another order."""
    together = engine.generate(requests, SHORT)
    assert len(together) == len(requests) and len({said.text for said in together}) > 4, "an exchange would show"
    assert engine.generate(requests[::-1], SHORT) == together[::-1]
    assert [engine.generate([request], SHORT)[0] for request in requests] == together
    assert engine.generate([], SHORT) == []


@pytest.mark.parametrize("size", [1, 2, 3, 7, 40, 100])
def test_every_request_gets_its_own_answer(
    engine: Engine, requests: list[Request], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of any number of requests of any lengths, on an engine whose model repeats the sample's id."""
    batches: list[list[str]] = []

    def echo(batch: list[Request], settings: Generation, n: int) -> list[list[Completion]]:
        batches.append([request.sample_id for request in batch])
        return [[Completion(request.sample_id, 1, "stop")] * n for request in batch]

    monkeypatch.setattr(engine, "_batch", echo)
    rng = random.Random(size)
    asked = []
    for k in range(40):
        like = rng.choice(requests)
        longer = [*like.messages, {"role": "user", "content": "x" * rng.randint(0, 90)}]
        asked.append(Request(f"r{k}", longer, like.images))
    said = engine.generate(asked, Generation(batch_size=size))
    assert [completion.text for completion in said] == [request.sample_id for request in asked]
    assert sum(map(len, batches)) == 40 and max(map(len, batches)) == min(size, 40)
    done = [sample_id for batch in batches for sample_id in batch]
    assert done != [request.sample_id for request in asked], "like lengths were put together"


def test_sampling_follows_the_seed(engine: Engine, requests: list[Request]) -> None:
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = engine.generate(requests[:3], HOT)
    assert engine.generate(requests[:3], HOT) == first != engine.generate(requests[:3], replace(HOT, seed=4))
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random state is unchanged"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The ids of all completions, in order."""
    ids: list[list[int]] = []

    def recording(*arguments: Any) -> Any:
        groups = complete(*arguments)
        ids.extend(one for group in groups for one in group)
        return groups

    monkeypatch.setattr("mirg.engines.transformers.complete", recording)
    return ids


def louder(loaded: Any, token: str) -> Any:
    """A copy of the model for which ``token`` is by far the likeliest next one."""
    model = copy.deepcopy(loaded.model)
    favourite = loaded.tokenizer.convert_tokens_to_ids(token)

    def shout(_module: Any, _inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.clone()
        logits[..., favourite] += 1e4
        return logits

    model.lm_head.register_forward_hook(shout)
    return type(loaded)(model, loaded.processor, loaded.family, loaded.limits, loaded.path)


@pytest.mark.parametrize("kind", MODEL_TYPES)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_vision_token_is_ever_said(
    kind: str, temperature: float, folders: dict[str, Path], data: Path, said: list[list[int]]
) -> None:
    """Promise 10: not even if the model gives every other token a lower probability."""
    loaded = load_model(str(folders[kind]))
    sample, images = read_data(data)[0]
    for token in loaded.family.vision_tokens:
        said.clear()
        answer(TransformersEngine(louder(loaded, token)), sample, images, max_new_tokens=4, temperature=temperature)
        assert any(said) and not any(loaded.tokenizer.convert_tokens_to_ids(token) in ids for ids in said)


def test_the_end_of_the_turn_stops(folders: dict[str, Path], data: Path) -> None:
    loud = louder(load_model(str(folders["qwen3_vl"])), "<|im_end|>")
    said = answer(TransformersEngine(loud), *read_data(data)[0])
    assert (said.text, said.tokens, said.finish) == ("", 0, "stop")


def test_a_prompt_whose_images_do_not_fit_is_named(engine: Engine, requests: list[Request]) -> None:
    """Also where a neighbour's surplus makes up for it: each would see the other's image."""
    lacking = Request("lonely", requests[0].messages, requests[0].images[:1])
    surplus = Request("rich", requests[1].messages, [*requests[1].images, requests[0].images[1]])
    for batch in ([lacking], [surplus, lacking]):
        with pytest.raises(EngineError, match="sample lonely: 2 image placeholders for 1 images"):
            engine.generate(batch, SHORT)


EIGHT = Generation(max_new_tokens=8)
HOT = Generation(max_new_tokens=8, temperature=1.0, seed=3)


@pytest.fixture
def four(requests: list[Request]) -> list[Request]:
    return requests[:4]


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_a_beginning_is_what_the_model_would_have_said(
    kind: str, folders: dict[str, Path], data: Path, said: list[list[int]]
) -> None:
    """Given the start of its greedy answer, the model generates the same rest: the prefix keeps its positions."""
    made: Any = load_engine(str(folders[kind]))
    tokenizer = made.loaded.tokenizer
    cuts = 0
    for sample, images in read_data(data)[:4]:
        request = Request(sample.id, messages(sample, made.family, made.limits, "none"), images)
        (whole,) = made.generate([request], EIGHT)
        ids = said[-1][: whole.tokens]
        for cut in range(1, len(ids)):
            start = tokenizer.decode(ids[:cut])
            if tokenizer(start, add_special_tokens=False)["input_ids"] != ids[:cut]:
                continue  # said in other tokens than it is read in
            left = Generation(max_new_tokens=EIGHT.max_new_tokens - cut)
            (rest,) = made.generate([replace(request, prefix=start)], left)
            assert start + rest.text == whole.text, f"{sample.id} cut after {cut}"
            assert (rest.tokens, rest.finish) == (whole.tokens - cut, whole.finish)
            cuts += 1
    assert cuts >= 4, "hardly anything was tried"


def test_prompt_tokens_are_those_of_the_processor(engine: Any, four: list[Request]) -> None:
    """Visual tokens and the beginning of the answer included."""
    processor: Any = engine.loaded.processor
    begun = [replace(request, prefix="<think>red ring</think>") for request in four]
    for request, plain, with_start in zip(
        four, engine.generate(four, EIGHT), engine.generate(begun, EIGHT), strict=True
    ):
        text = processor.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
        made = processor(text=[text], images=request.images, return_tensors="pt")
        assert plain.prompt_tokens == made["input_ids"].shape[1]
        start = engine.loaded.tokenizer("<think>red ring</think>", add_special_tokens=False)["input_ids"]
        assert with_start.prompt_tokens == plain.prompt_tokens + len(start)
        assert not with_start.text.startswith("<think>red ring"), "the beginning is not said again"


def test_a_vision_token_in_the_beginning_is_refused(engine: Any, four: list[Request]) -> None:
    bad = replace(four[0], prefix="<think><|image_pad|></think>")
    with pytest.raises(EngineError, match=f"sample {bad.sample_id}: the beginning of the answer holds"):
        engine.generate([bad], EIGHT)


def test_several_answers_read_a_prompt_once(engine: Any, four: list[Request], monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []

    def counting(processor: Any, asked: Any) -> Any:
        encoded.extend(one.sample_id for one in asked)
        return encode_all(processor, asked)

    monkeypatch.setattr("mirg.engines.transformers.encode_all", counting)
    groups = several(engine, four, HOT, 5)
    assert sorted(encoded) == sorted(request.sample_id for request in four)
    assert [len(group) for group in groups] == [5] * 4
    assert len({said.text for group in groups for said in group}) > 10, "hardly anything is random"
    assert several(engine, four, HOT, 5) == groups != several(engine, four, replace(HOT, seed=4), 5)


def test_greedy_answers_are_all_the_same(engine: Any, four: list[Request]) -> None:
    alone = engine.generate(four, EIGHT)
    assert engine.sample(four, EIGHT, 3) == [[said] * 3 for said in alone]


def test_an_engine_that_cannot_sample_is_asked_again() -> None:
    """A remote engine, say: the same number of answers, in the same order."""
    plain = ScriptedEngine(lambda request, settings: f"{request.sample_id}!")
    assert not isinstance(plain, Sampler)
    asked = [Request(name, [], []) for name in ("a", "b")]
    groups = several(plain, asked, EIGHT, 3)
    assert [[said.text for said in group] for group in groups] == [["a!"] * 3, ["b!"] * 3]
    assert plain.asked == [["a", "a", "a", "b", "b", "b"]]


def test_another_number_of_answers_is_an_error() -> None:
    class Short(ScriptedEngine):
        def generate(self, requests: Any, settings: Generation) -> list[Completion]:
            return super().generate(requests, settings)[:-1]

    with pytest.raises(EngineError, match="scripted gave 3 completions for 2 requests, 2 of each"):
        several(Short(lambda request, settings: ""), [Request("a", [], []), Request("b", [], [])], EIGHT, 2)
    with pytest.raises(ConfigError, match="0 completions per prompt"):
        several(Short(lambda request, settings: ""), [Request("a", [], [])], EIGHT, 0)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_watched_completion_grows_to_that_of_generate(
    engine: TransformersEngine, requests: list[Request], temperature: float
) -> None:
    settings = replace(SHORT, temperature=temperature, seed=5)
    seen: list[str] = []
    watched = engine.complete_watched(requests[1], settings, seen.append)
    (whole,) = engine.generate([requests[1]], settings)
    assert watched == whole
    assert len(seen) == SHORT.max_new_tokens or watched.finish == "stop"
    assert all(whole.text.startswith(text) for text in seen)
    assert seen[-1] == whole.text.removesuffix("\ufffd")


def test_a_watched_completion_of_generate_grows_too(
    engine: TransformersEngine, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for models whose layers packed rows do not support."""
    seen: list[str] = []
    packed = engine.complete_watched(requests[1], SHORT, lambda text: None)
    monkeypatch.setattr(engine, "_packed", False)
    assert engine.complete_watched(requests[1], SHORT, seen.append) == packed
    assert seen[0] == ""
    assert packed.text.startswith(seen[-1])


def test_what_a_watch_raises_ends_the_completion(engine: TransformersEngine, requests: list[Request]) -> None:
    seen: list[str] = []

    def stop(text: str) -> None:
        seen.append(text)
        if len(seen) == 3:
            raise KeyError("enough")

    with pytest.raises(KeyError):
        engine.complete_watched(requests[1], replace(SHORT, max_new_tokens=500), stop)
    assert len(seen) == 3
    engine.generate(requests[:1], SHORT)  # the model is as before

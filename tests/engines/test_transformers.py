"""The transformers engine: order, seeds, stops, and what may never be said."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from fakes.tiny import MODEL_TYPES, read_data
from fakes.training import answer
from mirg.answers.prompts import messages
from mirg.engines.base import Completion, Engine, Generation, Request
from mirg.engines.load import load_engine
from mirg.engines.transformers import TransformersEngine
from mirg.errors import EngineError
from mirg.evaluation.batches import run_settings
from mirg.models.load import load_model
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
    """Whatever the batches: the same request is answered alike alone, in company and in another order."""
    together = engine.generate(requests, SHORT)
    assert len(together) == len(requests) and len({said.text for said in together}) > 4, "an exchange would show"
    assert engine.generate(requests[::-1], SHORT) == together[::-1]
    assert [engine.generate([request], SHORT)[0] for request in requests] == together


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
    hot = Generation(max_new_tokens=6, temperature=1.0, seed=3)
    first = engine.generate(requests[:3], hot)
    assert engine.generate(requests[:3], hot) == first
    assert engine.generate(requests[:3], Generation(max_new_tokens=6, temperature=1.0, seed=4)) != first
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random state is left alone"


def test_nothing_asked_nothing_said(engine: Engine) -> None:
    assert engine.generate([], SHORT) == []


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
    kind: str, temperature: float, folders: dict[str, Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 10: not even if the model gives every other token a lower probability."""
    loaded = load_model(str(folders[kind]))
    sample, images = read_data(data)[0]
    ids: list[int] = []

    def recording(*arguments: Any) -> Any:
        groups = complete(*arguments)
        ids.extend(token for group in groups for said in group for token in said)
        return groups

    monkeypatch.setattr("mirg.engines.transformers.complete", recording)
    for token in loaded.family.vision_tokens:
        ids.clear()
        answer(TransformersEngine(louder(loaded, token)), sample, images, max_new_tokens=4, temperature=temperature)
        assert ids and loaded.tokenizer.convert_tokens_to_ids(token) not in ids


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

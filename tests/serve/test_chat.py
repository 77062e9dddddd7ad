"""A real model over real sockets, asked by OpenAI's own client: the answers are those of the engine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image

from fakes.serving import as_openai, data_uri, serving
from fakes.typist import Typist, typist
from mirg.data.scenes.render import render
from mirg.data.scenes.world import Scene, load_world
from mirg.engines.base import Completion, Generation, Request, Watch, instructions_of
from mirg.engines.load import Remote, load_engine
from mirg.engines.transformers import TransformersEngine
from mirg.errors import ConfigError
from mirg.families import MIRG_TINY
from mirg.models.load import load_model
from research.perception.exercises import locate

LONGEST = 24


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    """mirg-tiny, whose own exercises it can answer."""
    return TransformersEngine(load_model("mirg-tiny"))


@pytest.fixture(scope="module")
def address(engine: TransformersEngine) -> Iterator[str]:
    with serving(engine) as found:
        yield found


@pytest.fixture(scope="module")
def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=120)


@pytest.fixture(scope="module")
def exercises() -> list[Request]:
    """Two images with a large object each; the question names one. The text is as long as in training."""
    world = load_world("tiny/world").model_copy(update={"object_side": (0.35, 0.55), "clutter": 0})
    rng = np.random.default_rng(11)
    found: list[Request] = []
    while len(found) < 4:
        item = locate(rng, 0, world, MIRG_TINY)
        if len(item.about) != 1 or item.completion.count("Found") != 1:
            continue
        content: list[dict[str, Any]] = [
            {"type": "image", "text": None} if isinstance(part, Scene) else {"type": "text", "text": part}
            for part in item.parts
        ]
        images = [render(scene, (world.side, world.side)) for scene in item.scenes]
        found.append(Request(item.completion, [{"role": "user", "content": content}], images))
    return found


def ask(client: openai.OpenAI, request: Request, **settings: Any) -> Any:
    told = {"model": "mirg-tiny", "temperature": 0, "max_tokens": LONGEST} | settings
    return client.chat.completions.create(messages=as_openai(request.messages, request.images), **told)  # type: ignore[arg-type]


def direct(engine: TransformersEngine, request: Request, **settings: Any) -> Completion:
    return engine.generate([request], Generation(**{"max_new_tokens": LONGEST, "batch_size": 1} | settings))[0]


def test_it_answers_as_the_engine_does(
    engine: TransformersEngine, client: openai.OpenAI, exercises: list[Request]
) -> None:
    """Text, end, and tokens of prompt and answer; and the model sees the images: it finds the requested object."""
    right = 0
    for request in exercises:
        said, expected = ask(client, request), direct(engine, request)
        (choice,) = said.choices
        assert choice.message.content == expected.text and choice.finish_reason == expected.finish
        usage = (said.usage.prompt_tokens, said.usage.completion_tokens, said.usage.total_tokens)
        assert usage == (expected.prompt_tokens, expected.tokens, expected.prompt_tokens + expected.tokens)
        right += choice.message.content.strip().startswith(request.sample_id.split(".")[0])
    assert right >= len(exercises) - 1
    assert said.model == "mirg-tiny" and said.system_fingerprint == engine.fingerprint


def test_requests_at_the_same_time_get_their_own_answers(
    engine: TransformersEngine, client: openai.OpenAI, exercises: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting requests share a forward pass, which does not change their answers."""
    batches: list[int] = []
    real = engine.sample

    def counting(requests: Any, settings: Generation, n: int) -> Any:
        batches.append(len(requests))
        return real(requests, settings, n)

    monkeypatch.setattr(engine, "sample", counting)
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda r: ask(client, r).choices[0].message.content, exercises * 2))
    assert max(batches) > 1 and sum(batches) == 8
    monkeypatch.undo()
    assert texts == [direct(engine, request).text for request in exercises] * 2


def test_sampled_answers_follow_the_seed(
    engine: TransformersEngine, client: openai.OpenAI, exercises: list[Request]
) -> None:
    for seed in (0, 5):
        said = [ask(client, exercises[0], temperature=1.0, n=4, seed=seed) for _ in range(2)]
        drawn = engine.sample([exercises[0]], Generation(LONGEST, 1.0, seed, 1), 4)[0]
        for one in said:
            assert [choice.message.content for choice in one.choices] == [completion.text for completion in drawn]
            counted = (one.usage.prompt_tokens, one.usage.completion_tokens)
            assert counted == (drawn[0].prompt_tokens, sum(completion.tokens for completion in drawn))
    # Eight, of some length: two short ones of a model that is sure are the same now and then.
    hotter = {"temperature": 2.0, "max_tokens": 32}
    unseeded = {ask(client, exercises[0], **hotter).choices[0].message.content for _ in range(8)}
    assert len(unseeded) > 1, "without a seed, an answer asked for again is another one"


def test_an_answer_is_cut_at_its_length(client: openai.OpenAI, exercises: list[Request]) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        said = ask(client, exercises[0], **{"max_tokens": openai.omit, name: 3})
        assert (said.choices[0].finish_reason, said.usage.completion_tokens) == ("length", 3)
    both = ask(client, exercises[0], max_tokens=9, max_completion_tokens=3)
    assert both.usage.completion_tokens == 3, "the newer name of the two counts"


def test_a_stream_grows_to_the_whole_answer(client: openai.OpenAI, exercises: list[Request]) -> None:
    whole = ask(client, exercises[1])
    for options in ({}, {"stream_options": {"include_usage": True}}):
        chunks = list(ask(client, exercises[1], stream=True, **options))
        text = "".join(chunk.choices[0].delta.content for chunk in chunks if chunk.choices)
        assert text == whole.choices[0].message.content
        reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
        assert reasons == [None] * (len(reasons) - 1) + [whole.choices[0].finish_reason]
        assert chunks[-1].usage == (whole.usage if options else None)


def test_a_stream_arrives_while_the_model_writes_and_ends_with_its_client() -> None:
    written: list[str] = []
    engine = Typist(lambda request, settings: "word " * 2000, name="t", pause=0.01)
    watched = engine.complete_watched

    def counted(request: Request, settings: Generation, watch: Watch) -> Completion:
        return watched(request, settings, lambda text: (written.append(text), watch(text))[1])

    engine.complete_watched = counted  # type: ignore[method-assign]
    with serving(engine) as found:
        client = openai.OpenAI(base_url=f"{found}/v1", api_key="none", max_retries=0, timeout=60)
        told = [{"role": "user", "content": "x"}]
        stream = client.chat.completions.create(model="t", messages=told, stream=True)  # type: ignore[call-overload]
        texts = [chunk.choices[0].delta.content for chunk, _ in zip(stream, range(5), strict=False)]
        assert "".join(texts).startswith("word ")
        assert len(written) < 2000
        stream.close()
        engine.script = lambda request, settings: "short"
        said = client.chat.completions.create(model="t", messages=told)  # type: ignore[call-overload]
        assert said.choices[0].message.content == "short"
        assert len(written) < 2000


def test_a_model_that_fails_within_a_stream_says_so() -> None:
    engine = typist("t", "a b c d e f", pause=0.2, words=4, error=RuntimeError("out of memory"))
    with serving(engine) as found:
        client = openai.OpenAI(base_url=f"{found}/v1", api_key="none", max_retries=0, timeout=60)
        told = [{"role": "user", "content": "x"}]
        with pytest.raises(openai.APIError, match="the model failed"):
            list(client.chat.completions.create(model="t", messages=told, stream=True))  # type: ignore[call-overload]


def test_an_answer_can_be_begun(engine: TransformersEngine, client: openai.OpenAI, exercises: list[Request]) -> None:
    """vLLM's ``continue_final_message``: the model continues the last message of the assistant."""
    request = exercises[2]
    begun = [*as_openai(request.messages, request.images), {"role": "assistant", "content": "Found: red ring"}]
    extra = {"continue_final_message": True, "add_generation_prompt": False}
    said = client.chat.completions.create(
        model="mirg-tiny",
        messages=begun,
        temperature=0,
        max_tokens=LONGEST,
        extra_body=extra,  # type: ignore[arg-type]
    )
    expected = direct(engine, Request("begun", request.messages, request.images, "Found: red ring"))
    assert said.choices[0].message.content == expected.text
    assert said.usage is not None and said.usage.prompt_tokens == expected.prompt_tokens


def test_a_conversation_of_several_turns(engine: TransformersEngine, client: openai.OpenAI) -> None:
    """A system message, plain strings, an answer of before, and images in two turns: in their order."""
    images = [Image.new("RGB", (96, 96), colour) for colour in ("red", "blue", "green")]
    uri = [{"type": "image_url", "image_url": {"url": data_uri(image), "detail": "low"}} for image in images]
    asked = [
        {"role": "developer", "content": "Answer."},
        {"role": "user", "content": [uri[0], {"type": "text", "text": "red ring"}, uri[1]]},
        {"role": "assistant", "content": "Image-1", "refusal": None, "tool_calls": []},
        {"role": "user", "content": [uri[2]]},
        {"role": "user", "content": "blue"},
    ]
    said = client.chat.completions.create(
        model="mirg-tiny",
        messages=asked,
        temperature=0,
        max_tokens=LONGEST,  # type: ignore[arg-type]
    )
    image, text = {"type": "image", "text": None}, lambda t: {"type": "text", "text": t}
    told = [
        {"role": "system", "content": [text("Answer.")]},
        {"role": "user", "content": [image, text("red ring"), image]},
        {"role": "assistant", "content": [text("Image-1")]},
        {"role": "user", "content": [image]},
        {"role": "user", "content": [text("blue")]},
    ]
    expected = direct(engine, Request("turns", told, images))
    assert said.choices[0].message.content == expected.text
    assert said.usage is not None and said.usage.prompt_tokens == expected.prompt_tokens


def test_it_binds_this_machine_alone(address: str, client: openai.OpenAI) -> None:
    """Promise 29: the server listens on 127.0.0.1 only."""
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
    (model,) = client.models.list().data
    assert (model.id, model.owned_by) == ("mirg-tiny", "mirg")


def test_an_engine_over_the_address_asks_as_the_model_was_trained(engine: TransformersEngine, address: str) -> None:
    """Without an option: the server says which family its model is, and how much its prompts say about the form."""
    remote = load_engine("mirg-tiny", remote=Remote(f"{address}/v1"))
    assert (remote.family, instructions_of(remote)) == (MIRG_TINY, instructions_of(engine)) == (MIRG_TINY, "none")
    with pytest.raises(ConfigError, match="the family of the model behind the endpoint is needed"):
        load_engine("another", remote=Remote(f"{address}/v1"))

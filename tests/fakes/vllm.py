"""vLLM without a GPU: what TRL's VLLMGeneration talks to, answered by a tiny model; and its known faults.

The server is met behind the client's session, as requests and JSON; the engine of colocate mode behind ``LLM``, which
expands placeholders the way vLLM does. Log-probabilities come from the model's plain forward pass, not from mirg's.
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Sequence
from threading import Lock
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import pytest
import torch
from PIL import Image

from mirg.models.load import load_model
from mirg.models.packing import enable_packed_forward
from mirg.models.prompts import Prompt, collapsed
from mirg.models.sampling import Sampling, complete
from mirg.training import grpo

# What an engine may get wrong, and one thing that it may do.
FAULTS = (
    "swapped images",  # in reverse order, while what it reports looks right
    "first slot",  # all of them where the first belongs
    "stale weights",
    "own temperature",
    "raw logs",  # log-probabilities before temperature and logit_bias
    "deaf to logit_bias",
    "bfloat16",  # no fault: what a server computes in
    "pixel limits",  # other than those of the run
)


class Engine:
    """A small model that completes token prompts about images. ``faults`` are what it gets wrong.

    What it draws follows from the prompt and how often that was asked: TRL's client asks from several threads, in any
    order, and vLLM has its own random generator.
    """

    def __init__(self, model: str, faults: Sequence[str] = ()) -> None:
        assert set(faults) <= set(FAULTS)
        loaded = load_model(model, dtype="bfloat16" if "bfloat16" in faults else None)
        self.model: Any = loaded.model
        self.processor: Any = loaded.processor
        self.stop = loaded.tokenizer.eos_token_id
        enable_packed_forward(self.model)
        self.faults = set(faults)
        self.calls: list[str] = []
        self.llm: LLM | None = None  # the one of colocate mode that TRL has made
        self._asked: Counter[int] = Counter()
        self._busy = Lock()
        if "pixel limits" in faults:
            size = self.processor.image_processor.size
            size["shortest_edge"] = size["longest_edge"] = 4 * size["shortest_edge"]

    @property
    def token(self) -> int:
        return self.processor.image_token_id

    def load(self, named: Any) -> None:
        """Take weights by name, as ``load_weights`` does."""
        own = self.model.state_dict()
        for name, weight in named:
            if "stale weights" not in self.faults:
                own[name].copy_(weight)
        if self.calls[-1:] != ["weights"]:  # colocate mode loads them one by one
            self.calls.append("weights")

    def features(self, images: Sequence[Any]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Patches and grid of each image."""
        made = [self.processor.image_processor(images=[image], return_tensors="pt") for image in images]
        return [(one["pixel_values"], one["image_grid_thw"]) for one in made]

    def cells(self, grid: torch.Tensor) -> int:
        return int(grid.prod()) // self.processor.image_processor.merge_size**2

    def complete(
        self, ids: list[int], images: Sequence[tuple[torch.Tensor, torch.Tensor]], params: dict[str, Any]
    ) -> list[tuple[list[int], list[float]]]:
        """Completions with a log-probability for each token."""
        if "swapped images" in self.faults:
            ids, images = self._swapped(ids, images)
        if "first slot" in self.faults:
            ids = self.first_slot(ids)
        bias = {} if "deaf to logit_bias" in self.faults else params.get("logit_bias") or {}
        temperature = 1.5 if "own temperature" in self.faults else params["temperature"]
        pixels, grids = ([one[k] for one in images] for k in (0, 1))
        prompt = Prompt(ids, {"pixel_values": torch.cat(pixels), "image_grid_thw": torch.cat(grids)} if grids else {})
        barred = [int(token) for token, value in bias.items() if value <= -100]
        stops = [*(params.get("stop_token_ids") or ()), *(() if params.get("ignore_eos") else (self.stop,))]
        texts = params.get("stop") or ()
        assert not texts or params["include_stop_str_in_output"]

        def pauses(said: Sequence[int]) -> bool:
            return any(text in self.processor.tokenizer.decode(said) for text in texts)

        sampling = Sampling(params["max_tokens"], stops, barred, temperature, pauses=pauses)
        seed = params.get("seed")
        with self._busy, torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._next_seed(prompt) if seed is None else seed)
            made = complete(self.model, [prompt], [params["n"]], sampling)[0]
            return [(said, self._logs(prompt, said, bias, temperature)) for said in made]

    def _next_seed(self, prompt: Prompt) -> int:
        shown = b"" if prompt.pixels is None else prompt.pixels.numpy().tobytes()
        key = crc32(shown, crc32(json.dumps(prompt.ids).encode()))
        self._asked[key] += 1
        return key + self._asked[key]

    @torch.no_grad()
    def _logs(self, prompt: Prompt, said: list[int], bias: dict[Any, float], temperature: float) -> list[float]:
        ids = torch.tensor([[*prompt.ids, *said]])
        shown = {} if prompt.pixels is None else {"pixel_values": prompt.pixels, "image_grid_thw": prompt.grid}
        logits = self.model(input_ids=ids, mm_token_type_ids=(ids == self.token).int(), **shown).logits[0].float()
        logits = logits[len(prompt.ids) - 1 : -1]
        if "raw logs" not in self.faults:
            for token, value in bias.items():
                logits[:, int(token)] += value
            logits = logits / temperature
        return logits.log_softmax(-1).gather(-1, torch.tensor(said)[:, None])[:, 0].tolist()

    def _places(self, ids: Sequence[int]) -> list[slice]:
        """Every image's placeholders with the two tokens around them."""
        starts = [k for k, token in enumerate(ids) if token == self.token and ids[k - 1] != self.token]
        return [slice(k - 1, next(j for j in range(k, len(ids)) if ids[j] != self.token) + 1) for k in starts]

    def _swapped(self, ids: list[int], images: Sequence[Any]) -> tuple[list[int], list[Any]]:
        places, out, at = self._places(ids), [], 0
        for place, other in zip(places, places[::-1], strict=True):
            out += [*ids[at : place.start], *ids[other]]
            at = place.stop
        return out + ids[at:], list(images)[::-1]

    def first_slot(self, ids: list[int]) -> list[int]:
        """The prompt with all its images where the first belongs."""
        places = self._places(ids)
        inside = {k for place in places for k in range(place.start, place.stop)}
        images = [token for place in places for token in ids[place]]
        first = places[0].start
        return [*ids[:first], *images, *(token for k, token in enumerate(ids) if k >= first and k not in inside)]


class Server:
    """``vllm serve`` behind a client's ``session``: requests in, JSON out; images stay here between two requests."""

    def __init__(self, engine: Engine, **settings: Any) -> None:
        self.engine = engine
        self.settings = settings
        self._kept: dict[str, Any] = {}

    def get(self, url: str, **_: Any) -> Any:
        info = {"model_config": {"logprobs_mode": "processed_logprobs"}, "weight_transfer_config": {}}
        return _answer({"/server_info": {"vllm_config": info}}[_path(url)])

    def post(self, url: str, json: Any = None, **_: Any) -> Any:
        path, body = _path(url), _over_the_wire(json)
        self.engine.calls.append(path)
        if path in ("/reset_prefix_cache", "/reset_encoder_cache"):
            return _answer(None)
        return _answer(
            {"/v1/chat/completions/render": self._render, "/inference/v1/generate": self._generate}[path](body)
        )

    def _render(self, body: dict[str, Any]) -> dict[str, Any]:
        parts = body["messages"][0]["content"]
        images = [_image(part["image_url"]["url"]) for part in parts]
        made = self.engine.features(images)
        keys = [f"{len(self._kept) + k}" for k in range(len(made))]
        self._kept |= dict(zip(keys, made, strict=True))
        places = [{"offset": k, "length": self.engine.cells(grid)} for k, (_, grid) in enumerate(made)]
        return {"features": {"mm_hashes": {"image": keys}, "mm_placeholders": {"image": places}}}

    def _generate(self, body: dict[str, Any]) -> dict[str, Any]:
        ids, features = body["token_ids"], body["features"]
        for place in features["mm_placeholders"]["image"]:
            cells = ids[place["offset"] : place["offset"] + place["length"]]
            assert set(cells) == {self.engine.token}, "image features beside their placeholders"
        images = [self._kept[key] for key in features["mm_hashes"]["image"]]
        params = _known(body["sampling_params"])
        return {"choices": [_choice(*made) for made in self.engine.complete(ids, images, params)]}


class LLM:
    """vLLM in the training process: it takes one placeholder per image and expands them in order."""

    def __init__(self, engine: Engine, **settings: Any) -> None:
        self.engine, self.settings = engine, settings
        self.asleep: set[str] = set()  # parts of the memory that were given back
        model = SimpleNamespace(load_weights=self._load)
        worker = SimpleNamespace(model_runner=SimpleNamespace(model=model))
        self.llm_engine = SimpleNamespace(
            model_executor=SimpleNamespace(driver_worker=worker),
            reset_encoder_cache=lambda: engine.calls.append("/reset_encoder_cache"),
        )

    def reset_prefix_cache(self) -> None:
        self.engine.calls.append("/reset_prefix_cache")

    def sleep(self, level: int) -> None:
        """Level 2 discards the weights; buffers are kept."""
        assert level == 2 and self.settings["enable_sleep_mode"]
        self.asleep = {"weights", "kv_cache"}
        for weight in self.engine.model.parameters():
            weight.data.fill_(torch.nan)
        self.engine.calls.append("sleep")

    def wake_up(self, tags: list[str]) -> None:
        self.asleep -= set(tags)

    def _load(self, named: Any) -> None:
        assert "weights" not in self.asleep, "weights are written to memory that was given back"
        self.engine.load(named)

    def generate(self, prompts: list[dict[str, Any]], sampling_params: dict[str, Any], use_tqdm: bool) -> list[Any]:
        assert not self.asleep, f"asleep: {self.asleep}"
        return [self._generate(row, sampling_params) for row in prompts]

    def _generate(self, row: dict[str, Any], params: dict[str, Any]) -> Any:
        shown = row["multi_modal_data"]["image"]
        images = self.engine.features(shown if isinstance(shown, list) else [shown])
        cells = [self.engine.cells(grid) for _, grid in images]
        ids = expanded(row["prompt_token_ids"], self.engine.token, cells)
        once = expanded(collapsed(row["prompt_token_ids"], self.engine.token), self.engine.token, cells)
        # Expanded for a second time, the placeholders of the first image take the features of all images.
        seen = once if ids == once else self.engine.first_slot(once)
        said = self.engine.complete(seen, images, params)
        outputs = [
            SimpleNamespace(
                token_ids=tokens,
                logprobs=[{t: SimpleNamespace(logprob=x, rank=1)} for t, x in zip(tokens, logs, strict=True)],
            )
            for tokens, logs in said
        ]
        return SimpleNamespace(prompt_token_ids=ids, outputs=outputs)


def expanded(ids: Sequence[int], token: int, cells: Sequence[int]) -> list[int]:
    """The prompt with the next placeholder found for each image repeated; others stay."""
    left = list(cells)
    return [t for k in ids for t in [k] * (left.pop(0) if k == token and left else 1)]


def install(monkeypatch: pytest.MonkeyPatch, engine: Engine, mode: str = "server") -> Engine:
    """Let TRL find ``engine`` in the place of vLLM; weights go there without NCCL, which needs GPUs."""
    from trl.generation import vllm_client, vllm_generation

    class Client(vllm_client.VLLMClient):
        def __init__(self, base_url: str, **_: Any) -> None:
            self.base_url, self.model, self.session = base_url, "tiny", Server(engine)

        def init_communicator(self, device: Any = 0) -> None:
            pass

        def update_named_params(self, metadata: list[Any], named_params: Any) -> None:
            # TRL unmerges adapters after the last tensor.
            given = [(name, weight.clone()) for name, weight in named_params]
            assert [name for name, _, _ in metadata] == [name for name, _ in given]
            engine.load(given)

    monkeypatch.setattr(grpo, "require_vllm", lambda config, loaded: None)
    monkeypatch.setattr(vllm_generation, "is_vllm_available", lambda: True)
    if mode == "server":
        monkeypatch.setattr(vllm_generation, "VLLMClient", Client)
        return engine

    def made(llm: LLM) -> LLM:
        engine.llm = llm
        return llm

    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # TRL will write them; thus they are as before after the test
        monkeypatch.delenv(name)
    monkeypatch.setattr(vllm_generation, "LLM", lambda **settings: made(LLM(engine, **settings)), raising=False)
    monkeypatch.setattr(vllm_generation, "SamplingParams", lambda **params: _known(params), raising=False)
    return engine


# Fields of vLLM's SamplingParams that TRL or mirg set; vLLM refuses any that it does not know.
_FIELDS = {"n", "repetition_penalty", "temperature", "top_p", "top_k", "min_p", "max_tokens", "logprobs"} | {
    "logit_bias",
    "output_kind",
    "stop",
    "include_stop_str_in_output",
}


def _known(params: dict[str, Any]) -> dict[str, Any]:
    if unknown := params.keys() - _FIELDS:
        raise TypeError(f"Unexpected keyword argument {sorted(unknown)[0]!r}")
    filters = params["top_p"], params["top_k"], params["min_p"], params["repetition_penalty"]
    assert filters == (1.0, 0, 0.0, 1.0), "temperature only"
    return params


def _choice(said: list[int], logs: list[float]) -> dict[str, Any]:
    content = [
        {"token": f"token_id:{token}", "logprob": log, "top_logprobs": []}
        for token, log in zip(said, logs, strict=True)
    ]
    return {"token_ids": said, "logprobs": {"content": content}}


def _image(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")


def _path(url: str) -> str:
    return "/" + url.partition("://")[2].partition("/")[2]


def _over_the_wire(body: Any) -> Any:
    return json.loads(json.dumps(body))


def _answer(body: Any) -> Any:
    return SimpleNamespace(status_code=200, text="", json=lambda: _over_the_wire(body))

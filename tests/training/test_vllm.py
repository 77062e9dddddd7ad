"""What a recipe tells TRL about vLLM, and what is said where vLLM, a GPU or the right server is missing."""

from __future__ import annotations

import importlib.util
import json
import shlex
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import torch

from mirg.config import load_recipe
from mirg.errors import ConfigError
from mirg.models.load import load_model
from mirg.training import vllm
from mirg.training.recipe import GrpoRecipe, RolloutConfig
from mirg.training.vllm import generation_arguments, reach_server, require_vllm, serve_command

GOOD = {"vllm_config": {"weight_transfer_config": {}, "model_config": {"logprobs_mode": "processed_logprobs"}}}


def recipe(*overrides: str) -> GrpoRecipe:
    return load_recipe(GrpoRecipe, None, ["model=m", "data=d", *overrides])


@pytest.mark.parametrize(
    ("overrides", "expected", "why"),
    [
        ([], {"generation_kwargs": {"suppress_tokens": [3, 5]}}, "by ourselves"),
        (
            ["rollouts.backend=vllm"],
            {"use_vllm": True, "vllm_mode": "server", "generation_kwargs": {"logit_bias": {3: -100.0, 5: -100.0}}},
            "vLLM refuses suppress_tokens",
        ),
        (
            ["rollouts.backend=vllm", "rollouts.server=http://gpu7:9000", "rollouts.timeout=5"],
            {"vllm_server_base_url": "http://gpu7:9000", "vllm_server_timeout": 5},
            "another machine",
        ),
        (
            ["rollouts.backend=vllm", "rollouts.mode=colocate", "rollouts.gpu_memory=0.5", "rollouts.sleep=true"],
            {"vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.5, "vllm_enable_sleep_mode": True},
            "beside the trained model",
        ),
        (["rollouts.backend=vllm"], {"vllm_importance_sampling_mode": "sequence_mask"}, "TRL's own"),
        (
            ["rollouts.backend=vllm", "loss=vespo"],
            {"vllm_importance_sampling_mode": "token_truncate"},
            "TRL refuses VESPO otherwise",
        ),
    ],
)
def test_arguments(overrides: list[str], expected: dict[str, Any], why: str) -> None:
    from trl.trainer.grpo_config import GRPOConfig

    made = generation_arguments(recipe(*overrides), [3, 5])
    assert {key: made[key] for key in expected} == expected, why
    GRPOConfig(output_dir="", report_to="none", use_cpu=True, **made)


@pytest.mark.parametrize(
    ("overrides", "message", "hint"),
    [
        (["rollouts.backend=vlm"], "rollouts.backend", "vlm"),
        (["rollouts.server=gpu7:8000"], "rollouts.server", "gpu7:8000"),
        (["rollouts.port=8000"], "unknown recipe key rollouts.port", "did you mean rollouts.group_port?"),
        (["rollouts.gpu_memory=1.5"], "rollouts.gpu_memory", "1.5"),
    ],
)
def test_wrong_values_are_refused(overrides: list[str], message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        recipe(*overrides)
    assert hint in caught.value.hint


def test_vllm_needs_packed_groups() -> None:
    with pytest.raises(ConfigError, match="needs packed groups") as caught:
        generation_arguments(recipe("rollouts.backend=vllm", "packed=false"), [])
    assert caught.value.hint == "set packed: true"


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_a_missing_vllm_is_said_with_the_versions_that_fit(loaded: Any) -> None:
    with pytest.raises(ConfigError, match="vLLM is not installed") as caught:
        require_vllm(RolloutConfig(backend="vllm"), loaded)
    assert "pip install 'vllm>=0.22.0,<=0.31.0'" in caught.value.hint


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_said(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm, "find_spec", lambda name: object())
    with pytest.raises(ConfigError, match="needs a GPU"):
        require_vllm(RolloutConfig(backend="vllm"), loaded)


def test_the_command_starts_a_server_for_this_run(loaded: Any) -> None:
    words = shlex.split(serve_command(RolloutConfig(server="http://127.0.0.1:8765"), loaded))
    assert words[:4] == ["VLLM_SERVER_DEV_MODE=1", "vllm", "serve", loaded.path]
    options = dict(zip(words[4:-1:2], words[5:-1:2], strict=True))
    assert (options["--host"], options["--port"]) == ("127.0.0.1", "8765")
    size = json.loads(options["--mm-processor-kwargs"])["size"]
    assert size == {"shortest_edge": loaded.limits.min_pixels, "longest_edge": loaded.limits.max_pixels}
    assert options["--logprobs-mode"] == "processed_logprobs"


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, tuple[int, Any]]], str]]:
    """``serve(answers)``: the address of a server that gives each path its status and JSON."""
    servers: list[ThreadingHTTPServer] = []

    def start(answers: dict[str, tuple[int, Any]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = answers.get(self.path.partition("?")[0], (404, {}))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


UP = {"/health": (200, None)}


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (UP | {"/server_info": (200, GOOD)}, ""),
        ({"/health": (503, None)}, "no vLLM server answers at .* status 503"),
        (UP, "server_info.* gives status 404"),
        (UP | {"/server_info": (200, {"a": 1})}, "/server_info is not understood"),
        (UP | {"/server_info": (200, [])}, "/server_info is not understood"),
        (
            UP | {"/server_info": (200, {"vllm_config": GOOD["vllm_config"] | {"weight_transfer_config": None}})},
            "it takes no new weights",
        ),
        (
            UP
            | {
                "/server_info": (
                    200,
                    {"vllm_config": GOOD["vllm_config"] | {"model_config": {"logprobs_mode": "raw_logprobs"}}},
                )
            },
            "its log-probabilities are raw_logprobs",
        ),
    ],
)
def test_servers(answers: dict[str, Any], message: str, serve: Callable[[dict[str, Any]], str]) -> None:
    config = RolloutConfig(server=serve(answers), timeout=0)
    if not message:
        return reach_server(config, "vllm serve m")
    with pytest.raises(ConfigError, match=message) as caught:
        reach_server(config, "vllm serve m")
    assert caught.value.hint.endswith("vllm serve m") and config.server in caught.value.message


def test_a_server_that_is_not_there_is_named_with_its_command() -> None:
    config = RolloutConfig(server="http://127.0.0.1:9", timeout=0)
    with pytest.raises(ConfigError, match="no vLLM server answers at http://127.0.0.1:9 within 0 s") as caught:
        reach_server(config, "vllm serve m")
    assert caught.value.hint.endswith("vllm serve m")


def test_a_server_that_comes_up_late_is_waited_for(
    serve: Callable[[dict[str, Any]], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: dict[str, Any] = {"/health": (503, None), "/server_info": (200, GOOD)}
    monkeypatch.setattr(vllm, "sleep", lambda seconds: answers.update(UP))
    reach_server(RolloutConfig(server=serve(answers), timeout=60), "")


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"PYTORCH_ALLOC_CONF": "expandable_segments:True"}, True),
        ({name: "expandable_segments:True" for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")}, False),
        ({}, False),
    ],
)
def test_memory_that_cannot_sleep(settings: dict[str, str], refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM looks at one of the two names only. Without it, the next thing that is missing here is said."""
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as said:
        require_vllm(RolloutConfig(backend="vllm", mode="colocate", sleep=True), load_model("mirg-tiny"))
    assert ("expandable_segments" in str(said.value)) == refused

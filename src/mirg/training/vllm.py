"""What rollouts by vLLM need before the trainer is made: TRL's arguments, an installation, a server that answers."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from importlib.util import find_spec
from time import monotonic, sleep
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import torch

from mirg.console import logger
from mirg.errors import ConfigError
from mirg.models.load import LoadedModel
from mirg.training.recipe import GrpoRecipe, RolloutConfig
from mirg.training.run import is_main_process

SUPPORTED = "vllm>=0.22.0,<=0.31.0"  # by TRL
# vLLM knows no suppress_tokens; its logit_bias ends at -100, which leaves exp(-100) of a token's probability.
_NEVER = -100.0
_RETRY_SECONDS = 2.0


def generation_arguments(recipe: GrpoRecipe, forbidden: Sequence[int]) -> dict[str, Any]:
    """The part of TRL's GRPOConfig that says who completes, ``forbidden`` ids never taken. ConfigError if unpacked."""
    config = recipe.rollouts
    if config.backend == "transformers":
        return {"generation_kwargs": {"suppress_tokens": list(forbidden)}}
    if not recipe.packed:
        raise ConfigError(
            "rollouts.backend = vllm needs packed groups: TRL's own way may show vLLM other prompts than it trains on",
            hint="set packed: true",
        )
    return {
        "use_vllm": True,
        "vllm_mode": config.mode,
        "vllm_server_base_url": config.server,
        "vllm_server_timeout": config.timeout,
        "vllm_group_port": config.group_port,
        "vllm_gpu_memory_utilization": config.gpu_memory,
        "vllm_tensor_parallel_size": config.tensor_parallel,
        "vllm_enable_sleep_mode": config.sleep,
        "vllm_max_model_length": config.max_model_length,
        # VESPO weighs whole completions itself and takes the correction token by token only.
        "vllm_importance_sampling_mode": "token_truncate" if recipe.loss == "vespo" else "sequence_mask",
        "generation_kwargs": {"logit_bias": dict.fromkeys(forbidden, _NEVER)},
    }


def require_vllm(config: RolloutConfig, loaded: LoadedModel) -> None:
    """ConfigError, before anything takes long, where vLLM, a GPU or the server is missing or set up otherwise."""
    if find_spec("vllm") is None:
        raise ConfigError(
            "rollouts.backend = vllm, but vLLM is not installed",
            hint=f"pip install '{SUPPORTED}' requests, or rollouts.backend: transformers",
        )
    if not torch.cuda.is_available():
        raise ConfigError(
            "rollouts.backend = vllm needs a GPU: weights are sent from GPU to GPU",
            hint="rollouts.backend: transformers",
        )
    if config.mode == "server" and is_main_process():
        reach_server(config, serve_command(config, loaded))


def serve_command(config: RolloutConfig, loaded: LoadedModel) -> str:
    """The command that starts a server for this run: same weights, same pixel limits, and what TRL asks of it."""
    limits = {"size": {"shortest_edge": loaded.limits.min_pixels, "longest_edge": loaded.limits.max_pixels}}
    address = urlsplit(config.server)
    words = [
        *("vllm", "serve", loaded.model.name_or_path),
        *("--host", address.hostname or "", "--port", str(address.port or 80)),
        *("--weight-transfer-config", json.dumps({"backend": "nccl"})),
        *("--logprobs-mode", "processed_logprobs"),
        *("--mm-processor-kwargs", json.dumps(limits)),
        "--enable-scale-out",
    ]
    return f"VLLM_SERVER_DEV_MODE=1 {shlex.join(words)}"


def reach_server(config: RolloutConfig, command: str) -> None:
    """Wait for the server, for ``config.timeout`` seconds. ConfigError where none answers, or one started otherwise.

    ``command`` is what would start it.
    """
    end = monotonic() + config.timeout
    while (problem := _get(f"{config.server}/health")[1]) and monotonic() < end:
        logger.info("waiting for vLLM at %s: %s", config.server, problem)
        sleep(min(_RETRY_SECONDS, max(end - monotonic(), 0)))
    if problem:
        raise ConfigError(
            f"no vLLM server answers at {config.server} within {config.timeout:g} s: {problem}",
            hint=f"start it on GPUs of its own with: {command}",
        )
    body, problem = _get(f"{config.server}/server_info?config_format=json")
    if not problem:
        problem = _settings_problem(body)
    if problem:
        raise ConfigError(
            f"the vLLM server at {config.server} cannot be trained with: {problem}",
            hint=f"start it on GPUs of its own with: {command}",
        )


def _settings_problem(body: bytes) -> str:
    """What is wrong with a server's own account of its settings; empty where nothing is."""
    try:
        settings = json.loads(body)["vllm_config"]
        if settings["weight_transfer_config"] is None:
            return "it takes no new weights"
        mode = settings["model_config"]["logprobs_mode"]
    except (ValueError, KeyError, TypeError) as error:
        return f"/server_info is not understood ({error!r})"
    return "" if mode == "processed_logprobs" else f"its log-probabilities are {mode}"


def _get(url: str) -> tuple[bytes, str]:
    """The answer to a request, or what went wrong."""
    try:
        with urlopen(url, timeout=10) as response:
            return response.read(), ""
    except HTTPError as error:
        return b"", f"{url} gives status {error.code}"
    except (URLError, OSError) as error:
        return b"", str(getattr(error, "reason", error))

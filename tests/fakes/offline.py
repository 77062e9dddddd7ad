"""The module ``vllm`` as far as offline generation goes: its arguments are checked, a tiny model completes.

The names and checks are those of vLLM's ``EngineArgs``, ``SamplingParams`` and ``LLM.generate`` (0.31).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from fakes.vllm import Engine, expanded
from mirg.models.prompts import collapsed

# Of the arguments of vllm.LLM, those that are likely to be given; any other is a TypeError here.
_ARGUMENTS = {
    *("model", "dtype", "seed", "max_model_len", "gpu_memory_utilization", "tensor_parallel_size", "quantization"),
    *("limit_mm_per_prompt", "mm_processor_kwargs", "generation_config", "enable_prefix_caching", "enforce_eager"),
    *("max_num_seqs", "max_num_batched_tokens", "tokenizer", "trust_remote_code", "hf_overrides", "load_format"),
}


@dataclass
class SamplingParams:
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    detokenize: bool = True
    logit_bias: dict[int, float] | None = None

    def __post_init__(self) -> None:
        if self.n < 1 or (self.n > 1 and self.temperature == 0):
            raise ValueError(f"n must be 1 when using greedy sampling, got {self.n}.")
        if not math.isfinite(self.temperature) or not 0 <= self.temperature <= 2:
            raise ValueError(f"temperature must be in [0, 2], got {self.temperature}.")
        if self.seed == -1:
            self.seed = None
        assert (self.top_p, self.top_k, self.min_p, self.repetition_penalty) == (1.0, 0, 0.0, 1.0)
        assert all(type(token) is int for token in [*(self.stop_token_ids or ()), *(self.logit_bias or ())])


@dataclass
class Started:
    """What the tests look at: the arguments of each ``LLM``, its calls, and what it gets wrong (``fakes.vllm``)."""

    faults: Sequence[str] = ()
    arguments: list[dict[str, Any]] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)
    prompts: list[list[int]] = field(default_factory=list)
    finish: str | None = None  # instead of the true reason


def install(monkeypatch: pytest.MonkeyPatch, *faults: str) -> Started:
    """Let ``import vllm`` find the fake."""
    started = Started(faults)

    class LLM:
        def __init__(self, model: str, **arguments: Any) -> None:
            if unknown := sorted(arguments.keys() - _ARGUMENTS):
                raise TypeError(f"EngineArgs.__init__() got an unexpected keyword argument {unknown[0]!r}")
            started.arguments.append({"model": model, **arguments})
            if arguments.get("gpu_memory_utilization", 0.9) > 1:
                raise ValueError("GPU memory utilization must be less than 1.0.")
            dtype = arguments["dtype"]
            self.engine = Engine(model, [*started.faults, *(["bfloat16"] if dtype == "bfloat16" else [])])
            self.engine._logs = lambda *_: []  # type: ignore[method-assign]  # no log-probability is requested
            if "pixel limits" not in started.faults:
                size = self.engine.processor.image_processor.size
                for name, pixels in arguments["mm_processor_kwargs"]["size"].items():
                    size[name] = pixels
            self.most = arguments.get("limit_mm_per_prompt", {}).get("image", 999)
            self.longest = arguments.get("max_model_len", 4096)

        def reset_prefix_cache(self) -> bool:
            started.calls.append("reset_prefix_cache")
            return True

        def generate(
            self, prompts: list[dict[str, Any]], sampling_params: list[SamplingParams], *, use_tqdm: bool = True
        ) -> list[Any]:
            assert not use_tqdm
            if len(prompts) != len(sampling_params):
                raise ValueError("The lengths of prompts and params must be the same.")
            started.calls.append(len(prompts))
            return [self._one(row, params) for row, params in zip(prompts, sampling_params, strict=True)]

        def _one(self, row: dict[str, Any], params: SamplingParams) -> Any:
            assert row.keys() == {"prompt_token_ids", "multi_modal_data"}
            shown = row["multi_modal_data"]["image"]
            if len(shown) > self.most:
                raise ValueError(f"At most {self.most} image(s) may be provided in one prompt.")
            images = self.engine.features(shown)
            ids = row["prompt_token_ids"]
            assert ids == collapsed(ids, self.engine.token), "placeholders that vLLM would expand again"
            started.prompts.append(ids)
            seen = expanded(ids, self.engine.token, [self.engine.cells(grid) for _, grid in images])
            if len(seen) >= self.longest:
                raise ValueError(f"The decoder prompt (length {len(seen)}) is longer than the maximum model length")
            room = min(params.max_tokens or 16, self.longest - len(seen))
            ((said, _),) = self.engine.complete(seen, images, vars(params) | {"max_tokens": room})
            stops = [*(params.stop_token_ids or ()), *(() if params.ignore_eos else (self.engine.stop,))]
            reason = started.finish or ("stop" if said[-1] in stops else "length")
            output = SimpleNamespace(index=0, text="", token_ids=said, finish_reason=reason, logprobs=None)
            return SimpleNamespace(prompt_token_ids=seen, outputs=[output], finished=True)

    module: Any = ModuleType("vllm")
    module.__version__, module.LLM, module.SamplingParams = "0.31.0", LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # so that it is as before after the test
    return started

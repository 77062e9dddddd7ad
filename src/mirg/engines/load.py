"""Loading the engine of a model by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from mirg.answers.prompts import Instructions
from mirg.engines.base import Engine, Offline
from mirg.errors import ConfigError
from mirg.families import PixelLimits, limits_of
from mirg.families import family as family_by_name


@dataclass(frozen=True)
class Remote:
    """The OpenAI-compatible endpoint that serves a model: its address, most often with ``/v1`` at the end.

    ``key_env`` names the environment variable that holds the key; None for a server without keys. Images with more than
    ``max_pixels`` pixels are resized before they are sent; None for the limit of the family's processor.
    """

    url: str
    key_env: str | None = None
    concurrency: int = 16
    max_pixels: int | None = None


def load_engine(
    model: str,
    *,
    family: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    limits: PixelLimits | Mapping[str, PixelLimits] | None = None,
    remote: Remote | None = None,
    offline: Offline | None = None,
    thinking: bool | None = None,
) -> Engine:
    """The engine for a model folder, a run folder or a hub name, or for the name that an endpoint has for its model.

    Transformers generates unless ``remote`` or ``offline`` (vLLM) is given. ``limits`` override those of the processor,
    for every family or by the name of the family; those of ``remote`` come first. ``thinking`` asks the chat template
    to let the model think or not; None leaves it to the template.

    Raises:
        EngineError: The model cannot be loaded.
        ConfigError: The endpoint has no usable address or key, or no family is given for it; vLLM is not installed;
            two engines are chosen; or the chat template has no switch for ``thinking``.
    """
    if remote is not None and offline is not None:
        raise ConfigError(
            "--endpoint and --engine vllm choose two engines", hint="leave one out: an endpoint may be a vLLM server"
        )
    if remote is not None:
        return _remote_engine(model, remote, family, limits, thinking)
    if offline is not None:
        if device is not None:
            hint = "CUDA_VISIBLE_DEVICES chooses the GPUs of vLLM"
            raise ConfigError(f"--device {device} does not apply to --engine vllm", hint=hint)
        from mirg.engines.vllm import VllmEngine

        return VllmEngine(model, offline, family=family, dtype=dtype, limits=limits, thinking=thinking)
    from mirg.engines.transformers import TransformersEngine
    from mirg.models.load import load_model

    loaded = load_model(model, family_name=family, device=device, dtype=dtype, limits=limits)
    return TransformersEngine(loaded, thinking=thinking)


def _remote_engine(
    model: str,
    remote: Remote,
    family: str | None,
    limits: PixelLimits | Mapping[str, PixelLimits] | None,
    thinking: bool | None,
) -> Engine:
    from mirg.engines.endpoint import checked_url, key_from_environment
    from mirg.engines.limits import Limits
    from mirg.engines.remote import EndpointEngine, served_facts

    url = checked_url(remote.url)  # first: the message about a missing key contains the address
    key = key_from_environment(remote.key_env, url)
    served = served_facts(url, model, key)
    family = family or served.get("family")
    if family is None:
        hint = "this endpoint does not tell it: for example --family qwen3-vl"
        raise ConfigError("the family of the model behind the endpoint is needed", hint=hint)
    known = family_by_name(family)
    limits = limits.get(known.name) if isinstance(limits, Mapping) else limits
    limits = limits if remote.max_pixels is None else limits_of(known, None, remote.max_pixels)
    requests = Limits(concurrency=remote.concurrency)
    told = served.get("instructions")
    instructions: Instructions | None = next((one for one in get_args(Instructions) if one == told), None)
    return EndpointEngine(
        *(url, model, known), key=key, limits=limits, requests=requests, instructions=instructions, thinking=thinking
    )

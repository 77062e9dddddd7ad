"""QLoRA: the frozen language model in 4 bits (NF4 with double quantisation, arXiv 2305.14314) under adapters.

The weights are quantised after they are loaded, so that a LoRA run, whose adapters are merged into its base first, can
be the starting model too. The vision tower, embeddings and the output layer keep their number type. A run saves
its adapters only; they are merged into the published base, not into its 4 bits.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from mirg.errors import ConfigError
from mirg.models.vision import base_of

BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # of a weight: 4 bits, a byte for 64 weights, a float32 for 256 of those bytes


def refuse_quantize() -> None:
    """ConfigError without bitsandbytes."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError("lora.quantize = 4bit needs bitsandbytes", hint="pip install bitsandbytes")


def quantized_layers(model: Any) -> dict[str, torch.nn.Linear]:
    """The layers of the language model that are held in 4 bits, by their name in it."""
    text = base_of(model).language_model
    return {name: layer for name, layer in text.named_modules() if type(layer) is torch.nn.Linear}


def quantize(model: Any, device: str) -> None:
    """Replace the layers of the language model by layers of 4 bits and move all to ``device``."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    text = base_of(model).language_model
    for name, layer in quantized_layers(model).items():
        weight, bias = layer.weight, layer.bias
        with torch.device("meta"):
            small: Any = Linear4bit(
                layer.in_features, layer.out_features, bias is not None, weight.dtype, quant_type="nf4"
            )
        small.weight = Params4bit(weight.data, requires_grad=False, quant_type="nf4").to(device)
        small.bias = bias
        text.set_submodule(name, small)
    model.to(device)
    model.is_loaded_in_4bit = True  # PEFT and TRL ask for it


def widen_adapters(model: Any) -> None:
    """Adapters in float32: TRL makes those of a quantised model bfloat16, which small steps would not change."""
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype == torch.bfloat16:
            parameter.data = parameter.data.float()

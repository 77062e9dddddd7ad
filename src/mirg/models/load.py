"""Loading a model by hub name, by path, or from a run folder: one code path for 1 M parameters and for 72 B."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirg.errors import EngineError
from mirg.frames import Family, PixelLimits, family, family_of_model_type
from mirg.models.processors import load_processor

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

# Above this many bytes a weight file is known by samples of it, so that asking for its digest takes no minute.
_WHOLE_FILE = 256 * 2**20
_SAMPLES, _SAMPLE_BYTES = 64, 2**16


@dataclass(frozen=True)
class LoadedModel:
    """A model, its processor, and the facts that writing and reading its boxes needs."""

    model: PreTrainedModel
    processor: ProcessorMixin
    family: Family
    limits: PixelLimits
    path: str

    @property
    def tokenizer(self) -> Any:
        """The processor's tokenizer."""
        return self.processor.tokenizer  # type: ignore[attr-defined]


def resolve_model(name: str) -> str:
    """A run folder stands for the model it made; anything else (a model folder, a hub name) stands for itself."""
    path = Path(name).expanduser()
    if (path / "model" / "config.json").is_file():
        return str(path / "model")
    if path.is_dir():
        if (path / "config.json").is_file() or (path / "adapter_config.json").is_file():
            return str(path)
        raise EngineError(f"{name} holds no model", hint="a model folder has config.json, a finished run has model/config.json")
    if path.is_absolute() or name.startswith((".", "~")) or len(path.parts) > 2:
        raise EngineError(f"{name} does not exist", hint="give a model folder, a run folder, or a hub name such as Qwen/Qwen3-VL-8B-Instruct")
    return name


def load_model(
    name: str,
    *,
    family_name: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    limits: PixelLimits | None = None,
) -> LoadedModel:
    """Load model and processor; EngineError says what is missing.

    ``dtype`` None keeps float32 on a CPU and takes the checkpoint's own type on a GPU. ``limits`` overrides the processor's.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    path = resolve_model(name)
    adapter = _adapter_base(path)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        config = AutoConfig.from_pretrained(adapter or path)
        kind = dtype or ("auto" if device.startswith("cuda") else "float32")
        model = AutoModelForImageTextToText.from_pretrained(adapter or path, dtype=kind)
        processor = load_processor(path if not adapter else adapter, config.model_type)
    except (OSError, ValueError, KeyError) as error:
        raise EngineError(f"cannot load {name}: {error}", hint="is it a Qwen-VL-class model folder or hub name?") from error
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, path).merge_and_unload()
    model.to(device).eval()
    return wrap(model, processor, path=path, family_name=family_name, limits=limits)


def wrap(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    *,
    path: str,
    family_name: str | None = None,
    limits: PixelLimits | None = None,
) -> LoadedModel:
    """Join a model in memory with its family and limits; prompts of a decoder are padded on the left."""
    from mirg.models.attention import pack_vision_attention

    tokenizer: Any = processor.tokenizer  # type: ignore[attr-defined]
    # AutoProcessor does not restore the saved side, and right-padded prompts break generation.
    tokenizer.padding_side = "left"
    own = getattr(model.config, "mirg_family", None)
    chosen = family(family_name or own) if family_name or own else family_of_model_type(model.config.model_type)
    size = processor.image_processor.size  # type: ignore[attr-defined]
    if limits is not None:
        size["shortest_edge"], size["longest_edge"] = limits.min_pixels, limits.max_pixels
    pack_vision_attention(model)
    return LoadedModel(model, processor, chosen, PixelLimits(size["shortest_edge"], size["longest_edge"]), path)


def forbidden_tokens(tokenizer: Any) -> list[int]:
    """Ids that may never be sampled into a completion: every special token but the end of the turn.

    An image token in a completion makes the next forward pass fail on the number of image features, hours into a run.
    """
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return sorted(special - {tokenizer.eos_token_id})


def fingerprint(path: str) -> str:
    """What identifies the weights and settings of a model folder; a hub name is identified by itself."""
    folder = Path(path)
    if not folder.is_dir():
        return path
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in {".json", ".jinja", ".safetensors"}:
            digest.update(file.name.encode())
            _update(digest, file)
    return digest.hexdigest()[:16]


def _update(digest: Any, file: Path) -> None:
    size = file.stat().st_size
    digest.update(str(size).encode())
    with file.open("rb") as stream:
        if size <= _WHOLE_FILE:
            while block := stream.read(2**20):
                digest.update(block)
            return
        for k in range(_SAMPLES):
            stream.seek(k * (size - _SAMPLE_BYTES) // (_SAMPLES - 1))
            digest.update(stream.read(_SAMPLE_BYTES))


def _adapter_base(path: str) -> str | None:
    """The base model of a LoRA folder, or None where ``path`` is a whole model."""
    file = Path(path) / "adapter_config.json"
    if not file.is_file():
        return None
    import json

    return str(json.loads(file.read_text())["base_model_name_or_path"])

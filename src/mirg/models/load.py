"""Loading a model by hub name, by path, or from a run folder: one code path for 1 M parameters and for 72 B."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirg.answers.prompts import Instructions
from mirg.errors import EngineError, StorageError
from mirg.families import EMBEDDED_MODELS, MIRG_TINY, Family, PixelLimits, family, family_of_model_type
from mirg.models.processors import load_processor, once_per_image
from mirg.storage import SEAL_FILE, read_json, seal_problems

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

# The digest of a larger weight file is computed from samples of its bytes, since hashing all of them takes minutes.
_WHOLE_FILE = 256 * 2**20
_SAMPLES, _SAMPLE_BYTES = 64, 2**16
NARROW = 512  # hidden size up to which, on a CPU, the fused attention's backward pass would take most of a step
DTYPES = ("auto", "float32", "bfloat16", "float16")  # auto: the checkpoint's
EMBEDDED_FOLDERS = {name: Path(__file__).parent / name for name in EMBEDDED_MODELS}
SHIPPED = EMBEDDED_FOLDERS[MIRG_TINY.name]
FACTS_FILE = "mirg.json"  # written by mirg's training: stage, family, instructions and seed of the model
# What transformers raises for files of a model that are missing or damaged, or hold JSON of another kind.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True)
class LoadedModel:
    """A model, its processor, and the facts that writing and reading its boxes needs."""

    model: PreTrainedModel
    processor: ProcessorMixin
    family: Family  # with the visual tokens or tiles of the processor, which those of a checkpoint may set otherwise
    limits: PixelLimits
    path: str
    instructions: Instructions = "full"  # how much its prompts said about the form of an answer when it was trained
    thinking: bool | None = None  # enable_thinking of its chat template in training

    @property
    def tokenizer(self) -> Any:
        """The processor's tokenizer."""
        return self.processor.tokenizer  # type: ignore[attr-defined]


def resolve_model(name: str) -> str:
    """The model folder or hub name that ``name`` refers to.

    A run folder refers to its trained model, the name of an embedded model to that model, and any other name to
    itself. EngineError if there is no such folder.
    """
    path = Path(name).expanduser()
    if name in EMBEDDED_FOLDERS and not path.is_dir():
        path = EMBEDDED_FOLDERS[name]
        if not (path / "config.json").is_file():
            raise EngineError(f"this installation of mirg does not contain {name}", hint="install mirg again")
    for folder in (path / "model", path):
        if any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
            return str(folder)
    if path.is_dir():
        raise EngineError(
            f"{name} does not contain a model",
            hint="a model folder has config.json, a finished run has model/config.json",
        )
    if path.is_absolute() or name.startswith((".", "~")) or len(path.parts) > 2:
        raise EngineError(
            f"{name} does not exist",
            hint="give a model folder, a run folder, or a hub name such as Qwen/Qwen3-VL-8B-Instruct",
        )
    return name


def load_model(
    name: str,
    *,
    family_name: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    limits: PixelLimits | Mapping[str, PixelLimits] | None = None,
) -> LoadedModel:
    """Load model and processor; EngineError if files are missing or damaged, or the device cannot be used.

    ``dtype`` None keeps float32 on a CPU and takes the checkpoint's own type on a GPU. ``limits`` overrides the
    processor's, for every family or by the name of the family.
    """
    path = resolve_model(name)
    device = usable_device(device)
    dtype = dtype or ("auto" if device.startswith("cuda") else "float32")
    if dtype not in DTYPES:
        raise EngineError(f"unknown dtype {dtype!r}", hint=f"known: {', '.join(DTYPES)}")
    _refuse_unknown(path, family_name)
    with load_refusals(name, path):
        model = _weights(path, dtype, device)
        processor = load_processor(processor_folder(path), model.config.model_type)
        model.to(device).eval()
    refuse_not_finite(model, name)
    return wrap(model, processor, path=path, family_name=family_name, limits=limits)


@contextmanager
def load_refusals(name: str, path: str) -> Iterator[None]:
    """Raise what transformers and torch raise while they load the model ``name`` from ``path`` as an EngineError."""
    from safetensors import SafetensorError

    try:
        yield
    except _UNREADABLE as error:
        broken = _broken_file(Path(path))
        hint = "copy or fetch that file again" if broken else "is it the folder or hub name of a vision-language model?"
        raise EngineError(f"cannot load {name}: {broken or error}", hint=hint) from error
    except (SafetensorError, RuntimeError) as error:  # torch's: other shapes than the configuration's, or no room
        raise EngineError(
            f"cannot load the weights of {name}: {error}",
            hint="damaged files: copy or fetch them again; no room on the device: --dtype bfloat16, or a smaller model",
        ) from error


def _refuse_unknown(path: str, family_name: str | None) -> None:
    """ConfigError if the folder ``path`` holds a model of a type that belongs to no family, and none is named."""
    file = Path(path) / "config.json"
    try:
        config = read_json(file) if file.is_file() else None
    except StorageError:
        return  # it is reported with the other files that cannot be read
    if isinstance(config, dict) and "model_type" in config and not (family_name or config.get("mirg_family")):
        family_of_model_type(config["model_type"])


def usable_device(device: str | None = None) -> str:
    """``device`` (``cpu``, ``cuda``, ``cuda:1`` …; None: a GPU if there is one), EngineError if torch cannot use it."""
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # a build without CUDA asserts
        usable = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
        reason = str(error).partition("\n")[0]
        raise EngineError(f"cannot use device {device!r}: {reason}", hint=f"here: {', '.join(usable)}") from error
    return device


def fast_dtype(device: str | None = None) -> str:
    """The dtype in which ``device`` (None: the first GPU, or the CPU) multiplies matrices fastest.

    ``bfloat16`` if the device supports it natively, else ``float32``: a processor without support emulates bfloat16 and
    is up to 50 times slower (measured on AVX2).
    """
    import torch

    if (device or "cuda").startswith("cuda") and torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported()  # AMX comes with it
    return "bfloat16" if fast else "float32"


def load_skeleton(
    name: str, *, family_name: str | None = None, limits: PixelLimits | Mapping[str, PixelLimits] | None = None
) -> LoadedModel:
    """The model without its weights (on torch's meta device; for a LoRA folder its base model) and its processor.

    Nothing is downloaded: EngineError if a hub name is not on this machine yet, or a folder cannot be read.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    path = resolve_model(name)
    _, base = adapter_chain(path)
    _refuse_unknown(base, family_name)
    try:
        config = AutoConfig.from_pretrained(base, local_files_only=True)
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
        processor = load_processor(processor_folder(path), config.model_type)
    except _UNREADABLE as error:
        raise EngineError(
            f"{name} is neither a readable model folder nor a hub name that is on this machine",
            hint=f'hf download {name} --include "*.json" "*.txt" fetches all but the weights',
        ) from error
    return wrap(model, processor, path=path, family_name=family_name, limits=limits)


def _weights(path: str, dtype: str, device: str) -> Any:
    """The model at ``path``; the adapters of a LoRA folder are merged into its base, which may be a LoRA folder too."""
    refuse_damaged(path)
    base = _adapter_base(path)
    if base is None:
        return read_weights(path, dtype, device)
    merged: Any = with_adapters(_weights(base, dtype, device), [path]).merge_and_unload()
    return merged.requires_grad_(True)  # peft froze the base


def refuse_damaged(path: str) -> None:
    """EngineError if a file of a model that mirg wrote is not what it was when it was written."""
    problems = seal_problems(Path(path)) if (Path(path) / SEAL_FILE).is_file() else []
    if problems:
        raise EngineError(
            f"the model {path} is damaged: {problems[0]}",
            hint=f"copy it again; if its files were changed on purpose, remove {SEAL_FILE} from it",
        )


def with_adapters(model: Any, folders: Sequence[str]) -> Any:
    """``model`` with the adapters of these LoRA folders on top of each other, as a PEFT model.

    RuntimeError if an adapter has weights for which the model has no place: PEFT would leave them out.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    names = [f"adapter{k}" for k in range(len(folders))]  # PEFT cuts them out of keys: a bare number is also a layer's
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of missing keys, which are refused below
        tuned: Any = PeftModel.from_pretrained(model, folders[0], adapter_name=names[0])
        for name, folder in zip(names[1:], folders[1:], strict=True):
            tuned.load_adapter(folder, adapter_name=name)
    tuned.base_model.set_adapter(names)
    for name, folder in zip(names, folders, strict=True):
        placed = get_peft_model_state_dict(tuned, adapter_name=name, save_embedding_layers=False)
        with safe_open(Path(folder) / "adapter_model.safetensors", framework="pt") as file:
            lost = sorted(key for key in file.keys() if ".lora_" in key and key not in placed)  # noqa: SIM118
        if lost:
            raise RuntimeError(f"{len(lost)} weights of the adapter {folder} have no place in its base: {lost[0]}")
    return tuned


def read_weights(path: str, dtype: str, device: str) -> Any:
    """The model whose weights are stored at ``path`` or under that hub name; adapters are ignored.

    RuntimeError if weights are missing: transformers fills them with random numbers.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText

    text: Any = AutoConfig.from_pretrained(path).get_text_config() if device == "cpu" else None
    narrow = getattr(text, "hidden_size", NARROW + 1) <= NARROW
    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        path, dtype=dtype, attn_implementation="eager" if narrow else None, output_loading_info=True
    )
    model, found = loaded
    if missing := sorted(found["missing_keys"]):
        raise RuntimeError(f"{len(missing)} weights are missing: {missing[0]}")
    return model


def wrap(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    *,
    path: str,
    family_name: str | None = None,
    limits: PixelLimits | Mapping[str, PixelLimits] | None = None,
) -> LoadedModel:
    """Join a model in memory with its family and limits.

    Prompts of a decoder are padded on the left, and the tokenizer's end token is the one that ends a turn.
    """
    from mirg.models.images import pixel_limits, with_own_cells
    from mirg.models.vision import pack_vision_attention

    parts: Any = processor
    if hasattr(parts.image_processor, "merge_size"):
        parts.image_processor = once_per_image(parts.image_processor)
    # AutoProcessor does not restore the saved side, and right-padded prompts break generation.
    parts.tokenizer.padding_side = "left"
    named = family_name or getattr(model.config, "mirg_family", None)
    chosen = family(named) if named else family_of_model_type(model.config.model_type)
    if chosen.turn_end:
        parts.tokenizer.eos_token = chosen.turn_end
    limits = limits.get(chosen.name) if isinstance(limits, Mapping) else limits
    seen = pixel_limits(parts.image_processor, limits)
    pack_vision_attention(model)
    facts = model_facts(path)
    told = facts.get("instructions", "full"), facts.get("thinking")
    return LoadedModel(model, processor, with_own_cells(chosen, processor), seen, path, *told)


def model_facts(path: str) -> dict[str, Any]:
    """The facts that mirg's training stored (stage, family, instructions, seed); empty for any other model."""
    file = Path(path) / FACTS_FILE
    facts = read_json(file) if path and file.is_file() else {}
    return facts if isinstance(facts, dict) else {}


def forbidden_tokens(tokenizer: Any, family: Family) -> list[int]:
    """Ids that must never be sampled: every special token except the end of the turn and those around a box.

    An image token in a completion makes the next forward pass fail on the number of image features, hours into a run.
    """
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    vision = {i for i in map(tokenizer.convert_tokens_to_ids, family.vision_tokens) if i is not None}
    allowed = {tokenizer.convert_tokens_to_ids(t) for t in (family.box_open, family.box_close) if t}
    return sorted((special - allowed | vision) - {tokenizer.eos_token_id})


def fingerprint(path: str) -> str:
    """A digest of the weights and settings of a model folder; a hub name is returned unchanged."""
    folder = Path(path)
    if not folder.is_dir():
        return path
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in {".json", ".jinja", ".safetensors"} and file.name != SEAL_FILE:
            size = file.stat().st_size
            digest.update(f"{file.name}{size}".encode())
            with file.open("rb") as stream:
                whole = size <= _WHOLE_FILE
                for start in [0] if whole else [k * (size - _SAMPLE_BYTES) // (_SAMPLES - 1) for k in range(_SAMPLES)]:
                    stream.seek(start)
                    digest.update(stream.read(size if whole else _SAMPLE_BYTES))
    if base := _adapter_base(path):
        digest.update(fingerprint(base).encode())
    return digest.hexdigest()[:16]


def refuse_not_finite(model: Any, name: str) -> None:
    """EngineError if a weight is NaN or infinite, which would make every answer noise without any other error."""
    for place, weight in model.named_parameters():
        # The sum needs no memory, but a sum of finite numbers may overflow: it decides only if it is finite.
        if weight.is_floating_point() and not weight.detach().sum().isfinite() and not weight.isfinite().all():
            raise EngineError(
                f"the weights of {name} are not finite ({place})",
                hint="they are damaged, or the training diverged: copy them again, or take an earlier checkpoint",
            )


def _broken_file(folder: Path) -> str:
    """Which file of a model cannot be read, and why; "" if all can. Errors of transformers do not name the file."""
    for file in sorted([*folder.glob("*.json"), *folder.glob("*.jinja")]):
        try:
            if file.suffix == ".jinja":
                file.read_text(encoding="utf-8")
            elif not isinstance(read_json(file), dict):
                return f"{file} does not contain a JSON object"
        except StorageError as error:
            return error.message
        except (OSError, UnicodeDecodeError) as error:
            return f"{file} cannot be read: {error}"
    return ""


def adapter_chain(path: str) -> tuple[list[str], str]:
    """The LoRA folders from the base model to ``path``, in the order in which they were trained, and the base model."""
    adapters: list[str] = []
    while (below := _adapter_base(path)) is not None:
        adapters.insert(0, path)
        if below in adapters:
            raise EngineError(f"the adapter {below} names itself as its base", hint="correct its adapter_config.json")
        path = below
    return adapters, path


def _adapter_base(path: str) -> str | None:
    """The base model of a LoRA folder, None if ``path`` is a whole model. EngineError if the base does not exist."""
    file = Path(path) / "adapter_config.json"
    if not file.is_file():
        return None
    settings = read_json(file)
    base = str(settings.get("base_model_name_or_path") or "") if isinstance(settings, dict) else ""
    try:
        return resolve_model(base)
    except EngineError as error:
        hint = f"move it back, or write its new path into {file}"
        raise EngineError(f"the base model {base} of {path} does not exist", hint=hint) from error


def processor_folder(path: str) -> str:
    """The folder with the processor of ``path``: a LoRA folder made by other tools may lack one, its base has it."""
    base = _adapter_base(path)
    own = any((Path(path) / name).is_file() for name in ("processor_config.json", "preprocessor_config.json"))
    return path if base is None or own else processor_folder(base)

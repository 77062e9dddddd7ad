"""Merging LoRA adapters into their base: a whole model folder that transformers and vLLM load without mirg.

Everything except the weights and the pixel limits is copied from the base: its configuration, tokenizer, chat template
and processors stay those of the published checkpoint. The merged folder is loaded again and has to write the tokens
that the adapters write beside their base.

Memory: one copy of the weights, and one shard of them while they are saved. The copy in memory is released before the
folder is loaded again.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirg.answers.prompts import messages
from mirg.console import logger
from mirg.errors import EngineError
from mirg.families import FAMILIES, PixelLimits
from mirg.models import load
from mirg.models.processors import load_processor
from mirg.models.prompts import Asked, Prompt, encode_all
from mirg.samples.card import README_FILE
from mirg.samples.schema import Sample
from mirg.storage import atomic_folder, read_json, seal_folder, write_json_atomic

if TYPE_CHECKING:
    from PIL.Image import Image

SHARD = "4GB"  # of the saved weights; saving copies a whole shard
# The files of a base that are copied: what is not here belongs to its training or to its repository.
SETTINGS = (
    *("config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json"),
    *("video_preprocessor_config.json", "chat_template.jinja", "chat_template.json", "tokenizer.json"),
    *("tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("merges.txt", "LICENSE*", "NOTICE*"),
)
# A token may differ if the merged model finds both of about the same score: merging rounds the weights to their dtype.
_TIE = 4  # times the rounding error of the largest score


@dataclass(frozen=True)
class Agreement:
    """How many greedy completions equal those of the adapters; ``ties`` differ where two tokens score alike."""

    same: int
    ties: int


@dataclass(frozen=True)
class Merged:
    """What a merge made: the base, the adapters in the order in which they were applied, and the comparison."""

    base: str
    adapters: tuple[str, ...]
    agreement: Agreement


def merge_adapters(
    name: str,
    out: str | Path,
    samples: Sequence[tuple[Sample, Sequence[Image]]],
    finish: Callable[[Path], object],
    *,
    device: str | None = None,
    max_new_tokens: int = 64,
) -> Merged:
    """Merge the adapters of a run or LoRA folder into their base and write the whole model to ``out``.

    ``samples`` with their RGB images are the prompts of the comparison; ``finish`` may add files to the folder before
    it appears. Adapters on adapters (RL on SFT) are merged in the order of their training.

    Raises:
        EngineError: There is nothing to merge, the base or an adapter cannot be used, or the merged model writes other
            tokens than the adapters; ``out`` is then not written.
        StorageError: ``out`` exists, or cannot be written.
    """
    path = load.resolve_model(name)
    adapters, base = load.adapter_chain(path)
    with atomic_folder(out) as work:
        _refuse_unmergeable(name, adapters, base)
        device = load.usable_device(device)
        with load.load_refusals(name, path):
            local = local_folder(base)
            model = load.read_weights(base, "auto", device)
            processor = load_processor(load.processor_folder(path), model.config.model_type)
            facts = load.model_facts(path)
            family = facts.get("family")
            loaded = load.wrap(model, processor, path=path, family_name=family if family in FAMILIES else None)
            tuned = load.with_adapters(model, adapters)
            tuned.to(device).eval()
        prompts = _prompts(loaded, samples)
        before = [_greedy(loaded, prompt, max_new_tokens) for prompt in prompts]
        limits, instructions = loaded.limits, loaded.instructions
        _save(tuned.merge_and_unload(), local, work)
        del model, tuned, loaded
        gc.collect()
        _set_limits(work, limits)
        merged = {"base": base, "adapters": adapters}
        write_json_atomic(work / load.FACTS_FILE, {"instructions": instructions, **facts, "merged": merged})
        again = load.load_model(str(work), family_name=family, device=device, dtype="auto")
        if again.limits != limits or [p.ids for p in _prompts(again, samples)] != [p.ids for p in prompts]:
            raise EngineError(
                f"the processor of {base} makes other prompts than that of {path}",
                hint="the adapters were trained with another tokenizer, template or pixel limits than their base has",
            )
        agreement = _compare(again, prompts, before, max_new_tokens, [sample.id for sample, _ in samples])
        finish(work)
        seal_folder(work, ignore=frozenset({README_FILE}))  # people may edit it
    return Merged(base, tuple(adapters), agreement)


def local_folder(name: str) -> Path:
    """The folder of a model by path or hub name; for a hub name its settings are fetched if they are not there."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, allow_patterns=list(SETTINGS)))


def _refuse_unmergeable(name: str, adapters: Sequence[str], base: str) -> None:
    if not adapters:
        raise EngineError(f"{name} is a whole model: there is nothing to merge", hint="use or push it unchanged")
    for adapter in (*adapters, base):
        load.refuse_damaged(adapter)
    for adapter in adapters:
        settings: Any = read_json(Path(adapter) / "adapter_config.json")
        if settings.get("peft_type") != "LORA":
            raise EngineError(f"{adapter} holds {settings.get('peft_type')} weights", hint="only LoRA can be merged")
        _refuse_not_finite(adapter)
    config: Any = read_json(Path(base) / "config.json") if Path(base).is_dir() else {}
    if "quantization_config" in config:
        raise EngineError(
            f"the base {base} is quantised",
            hint="write the unquantised model into adapter_config.json, and merge again",
        )


def _refuse_not_finite(adapter: str) -> None:
    """EngineError if the weights of an adapter cannot be read, or hold a number that is not finite."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(Path(adapter) / "adapter_model.safetensors", framework="pt") as file:
            bad = [key for key in file.keys() if not file.get_tensor(key).isfinite().all()]  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise EngineError(f"the weights of {adapter} cannot be read: {error}", hint="copy them again") from error
    if bad:
        raise EngineError(
            f"the weights of {adapter} are not finite ({bad[0]})",
            hint="they are damaged, or the training diverged: copy them again, or merge an earlier checkpoint",
        )


def _save(model: Any, base: Path, work: Path) -> None:
    """The weights of the merged ``model``, and everything else from the folder of its base."""
    from transformers import GenerationConfig

    # Published settings of generation need not pass the checks of another release, and the base's file is copied.
    model.generation_config = GenerationConfig()
    model.save_pretrained(work, max_shard_size=SHARD)
    (work / "generation_config.json").unlink(missing_ok=True)
    for pattern in SETTINGS:
        for file in base.glob(pattern):
            shutil.copyfile(file, work / file.name)
    for file in work.glob("*.safetensors"):  # which only their owner may read; a server may run as somebody else
        file.chmod((work / "config.json").stat().st_mode)
    before, after = weight_kinds(base), weight_kinds(work)
    tied = {"lm_head.weight"} if model.config.get_text_config().tie_word_embeddings else set()
    other = sorted(key for key in before.keys() | after.keys() if key not in tied and before.get(key) != after.get(key))
    if before and other:
        words = "%d of the merged weights have another name or type than in %s, the first is %s; vLLM may not load them"
        logger.warning(words, len(other), base, other[0])


def weight_kinds(folder: Path) -> dict[str, str]:
    """The type and shape of every weight in the safetensors files of a folder, by name; only headers are read."""
    from safetensors import safe_open

    kinds = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                weight = file.get_slice(key)
                kinds[key] = f"{weight.get_dtype()} {weight.get_shape()}"
    return kinds


def _set_limits(work: Path, limits: PixelLimits) -> None:
    """Write the pixel limits with which the adapters were trained into the settings of the image processor."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        settings: Any = read_json(work / name) if (work / name).is_file() else {}
        part = settings.get("image_processor", settings)
        size = part.get("size") or {}
        if "min_pixels" in part:
            part |= {"min_pixels": limits.min_pixels, "max_pixels": limits.max_pixels}
        if "shortest_edge" in size:
            size |= {"shortest_edge": limits.min_pixels, "longest_edge": limits.max_pixels}
        if "min_pixels" in part or "shortest_edge" in size:
            write_json_atomic(work / name, settings)


# The comparison.


def _prompts(loaded: load.LoadedModel, samples: Sequence[tuple[Sample, Sequence[Image]]]) -> list[Prompt]:
    asked = [
        Asked(messages(sample, loaded.family, loaded.limits, loaded.instructions), images, sample.id)
        for sample, images in samples
    ]
    return encode_all(loaded.processor, asked)


def _greedy(loaded: load.LoadedModel, prompt: Prompt, new_tokens: int) -> list[int]:
    """The token ids of a greedy completion."""
    from mirg.models.packing import enable_packed_forward, other_attention
    from mirg.models.sampling import Sampling, complete, complete_by_generate

    packed = not other_attention(loaded.model)
    if packed:
        enable_packed_forward(loaded.model)
    forbidden = load.forbidden_tokens(loaded.tokenizer, loaded.family)
    settings = Sampling(new_tokens, [loaded.tokenizer.eos_token_id], forbidden, temperature=0.0)
    return (complete if packed else complete_by_generate)(loaded.model, [prompt], [1], settings)[0][0]


def _compare(
    merged: load.LoadedModel,
    prompts: Sequence[Prompt],
    before: Sequence[Sequence[int]],
    new_tokens: int,
    ids: Sequence[str],
) -> Agreement:
    """EngineError if a completion differs from the one ``before`` merging by more than a tie of two tokens."""
    found = []  # (sample, place from 0, token before, token now) of every first difference
    ties = 0
    for sample, prompt, wanted in zip(ids, prompts, before, strict=True):
        now = _greedy(merged, prompt, new_tokens)
        place = next((k for k, (a, b) in enumerate(zip(wanted, now, strict=False)) if a != b), None)
        if place is None:
            continue
        if _is_tie(merged, replace(prompt, ids=[*prompt.ids, *now[:place]]), wanted[place], now[place]):
            ties += 1
        else:
            found.append((sample, place, wanted[place], now[place]))
    if found:
        sample, place, *tokens = found[0]
        was, now_is = (merged.tokenizer.decode([token]) for token in tokens)
        raise EngineError(
            f"the merged model writes other tokens than the adapters for {len(found)} of {len(prompts)} samples; first"
            f" in {sample}, where token {place + 1} is {now_is!r} instead of {was!r}",
            hint="nothing was written; the merged weights do not load as they were saved; please report this",
        )
    return Agreement(len(prompts) - ties, ties)


def _is_tie(merged: load.LoadedModel, prompt: Prompt, wanted: int, now: int) -> bool:
    """Whether the scores of two next tokens differ by no more than rounding explains, in the merged model."""
    import torch

    rows: list[torch.Tensor] = []
    head: Any = merged.model.get_output_embeddings()
    handle = head.register_forward_hook(lambda _module, _inputs, scores: rows.append(scores.detach().float().clone()))
    try:
        _greedy(merged, prompt, 1)
    finally:
        handle.remove()
    scores = rows[0].reshape(-1, rows[0].shape[-1])[-1]
    rounding = torch.finfo(merged.model.dtype).eps * scores.abs().max()
    return bool((scores[now] - scores[wanted]).abs() <= _TIE * rounding)

"""Text generation by vLLM inside this process (the extra ``vllm``).

The prompts are those of the local engine, as token ids with one placeholder for each image, which vLLM expands. How
many placeholders each image became is compared with what the family's processor makes: otherwise boxes in pixels of
the resized image would be read in another frame. Most images of a prompt and the longest sequence are taken from
the samples that will be asked, since vLLM reserves memory for both.

Each completion has its own seed, and what vLLM keeps of prompts is dropped before each call. With the scheduler in
this process, the same requests and settings then give the same completions on the same kind of GPU; greedy ones may
differ from those of transformers by rounding.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mirg.answers.prompts import messages
from mirg.engines.base import Completion, Generation, Offline, Request, draw_seed, instructions_of
from mirg.engines.look_turns import look_tokens
from mirg.engines.transformers import completion_of, prefix_tokens, refusals
from mirg.errors import ConfigError, EngineError, MirgError
from mirg.models.load import LoadedModel, fingerprint, forbidden_tokens, load_model, load_skeleton
from mirg.models.prompts import placeholder_runs, render, require_thinking_switch
from mirg.samples import Sample
from mirg.samples.tokens import image_tokens, refuse_for_family
from mirg.storage import SEAL_FILE, write_json_atomic

if TYPE_CHECKING:
    from mirg.families import Family, PixelLimits

# vLLM adds the bias in float32, so the probability of the token is exactly 0. Only its HTTP servers cut biases at -100.
_NEVER = -1e9
_ANSWER_TAGS = 16  # tokens around a chain that is put before the answer
_FIXED = {"model", "tokenizer", "dtype"}  # arguments that the records of an evaluation rely on
_VIDEO_FILE = "video_preprocessor_config.json"


class _Prompt(NamedTuple):
    """Token ids with one placeholder for each image, how many each becomes, and what the template has opened."""

    ids: list[int]
    cells: list[int]
    opened: str


class VllmEngine:
    """An :class:`mirg.engines.base.Engine` over ``vllm.LLM``; completions come back in the order of the requests."""

    def __init__(
        self,
        model: str,
        offline: Offline,
        *,
        family: str | None = None,
        dtype: str | None = None,
        limits: PixelLimits | Mapping[str, PixelLimits] | None = None,
        thinking: bool | None = None,
    ) -> None:
        """``model`` is a model folder, a run folder or a hub name whose configuration is on this machine.

        ConfigError if vLLM is not installed or the template has no switch for ``thinking``; EngineError if the model
        cannot be loaded.
        """
        if fixed := _FIXED & offline.arguments.keys():
            raise ConfigError(f"--vllm {min(fixed)} is not possible", hint="the command's own MODEL and --dtype say it")
        library = _library()
        loaded = load_skeleton(model, family_name=family, limits=limits)
        require_thinking_switch(loaded.processor, thinking)
        require_grid(loaded)
        self.loaded = loaded
        self._processor: Any = loaded.processor
        self.name = loaded.path
        self.family: Family = loaded.family
        self.limits: PixelLimits | None = loaded.limits
        self.fingerprint = fingerprint(loaded.path)
        self.instructions = loaded.instructions
        self.thinking = loaded.thinking if thinking is None else thinking
        given = "".join(f", {key}={value}" for key, value in sorted(offline.arguments.items()))
        self.numerics = f"vllm {library.__version__}, {dtype or 'auto'}{given}"
        self._forbidden = forbidden_tokens(loaded.tokenizer, loaded.family)
        self._library = library
        self._folder = tempfile.TemporaryDirectory(prefix="mirg-vllm-")  # removed with the engine
        arguments = {
            "model": servable_folder(loaded, Path(self._folder.name)),
            "dtype": dtype or "auto",
            "mm_processor_kwargs": processor_arguments(loaded.limits),
            "generation_config": "vllm",  # not the checkpoint's temperature, top-p and penalties
            **self._extent(offline),
            **offline.arguments,
        }
        try:
            self._llm: Any = library.LLM(**arguments)
        except Exception as error:  # what vLLM raises is no narrower
            raise EngineError(
                f"vLLM cannot start {model}: {error}",
                hint="it needs a GPU with room for the model, see --vllm gpu_memory_utilization=0.8,"
                " --vllm tensor_parallel_size=2 and --dtype; or leave --engine vllm out",
            ) from error

    def _extent(self, offline: Offline) -> dict[str, Any]:
        """The most images of a prompt and the longest sequence among the samples, as arguments; {} without samples."""
        images = tokens = 0
        for sample in offline.samples:
            try:
                tokens = max(tokens, self._prompt_length(sample, offline))
            except MirgError:  # the sample will be rejected with its reason
                continue
            images = max(images, len(sample.images))
        if not images:
            return {}
        most = getattr(self.loaded.model.config.get_text_config(), "max_position_embeddings", None)
        text, crop = look_tokens(self._processor, self.family, self.limits or self.family.limits, offline.look)
        needed = tokens + offline.new_tokens + text + crop * offline.look.max_looks
        limit = {"image": offline.look.images(images), "video": 0}
        return {"limit_mm_per_prompt": limit, "max_model_len": min(needed, most or needed)}

    def _prompt_length(self, sample: Sample, offline: Offline) -> int:
        """Tokens of the prompt with its visual tokens, and those of the sample's chain if it has one."""
        refuse_for_family(sample, self.family, self.limits)
        told = instructions_of(self, offline.instructions)
        asked = messages(sample, self.family, self.limits, told, max_looks=offline.look.max_looks)
        text = render(self._processor, asked, len(sample.images), sample.id).text
        chain = sample.trajectory.thinking if sample.trajectory else ""
        lengths = [len(self._tokens(text)), len(self._tokens(chain)) + _ANSWER_TAGS if chain else 0]
        most = (self.limits or self.family.limits).max_pixels // self.family.factor**2
        shown = [image_tokens(i.size, self.family, self.limits) if i.measured else most for i in sample.images]
        return sum(lengths) + sum(shown) - len(shown)  # the text has one placeholder for each image

    def _tokens(self, text: str) -> list[int]:
        return self.loaded.tokenizer(text)["input_ids"]

    def generate(self, requests: Sequence[Request], settings: Generation) -> list[Completion]:
        """Complete every request; a pure function of the requests and settings of the call."""
        return [completion for (completion,) in self.sample(requests, settings, 1)]

    def sample(self, requests: Sequence[Request], settings: Generation, n: int) -> list[list[Completion]]:
        """``n`` completions of every request. Greedy completions of a request are computed once."""
        prompts = [self._prompt(request) for request in requests]
        draws = n if settings.temperature else 1
        numbers = [k for k in range(len(requests)) for _ in range(draws)]
        rows = [_row(prompts[k], requests[k]) for k in numbers]
        try:
            self._llm.reset_prefix_cache()  # keys and values of another call differ in their rounding
            params = [self._params(request, settings, draw) for request in requests for draw in range(draws)]
            made = self._llm.generate(rows, params, use_tqdm=False) if rows else []
        except Exception as error:  # what vLLM raises is no narrower
            ids = ", ".join(dict.fromkeys(request.sample_id for request in requests))
            raise EngineError(
                f"vLLM did not complete {len(requests)} prompts ({ids[:200]}): {error}",
                hint="the same command continues; for long prompts, see --vllm max_model_len=N",
            ) from error
        said = [self._completion(requests[k], prompts[k], one) for k, one in zip(numbers, made, strict=True)]
        return [[said[k * draws + j % draws] for j in range(n)] for k in range(len(requests))]

    def _prompt(self, request: Request) -> _Prompt:
        with refusals():
            text, opened = render(
                *(self._processor, request.messages, len(request.images), request.sample_id),
                thinking=self.thinking if request.thinking is None else request.thinking,
                continued=bool(request.prefix),
            )
            cells = [image_tokens(image.size, self.family, self.limits) for image in request.images]
            return _Prompt([*self._tokens(text), *prefix_tokens(self.loaded, request)], cells, opened)

    def _params(self, request: Request, settings: Generation, draw: int) -> Any:
        key = json.dumps([request.sample_id, request.messages, request.prefix])
        return self._library.SamplingParams(
            max_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            seed=draw_seed(settings.seed, key, draw) if settings.temperature else None,
            # Only this token ends a completion, as in the local engine; a checkpoint may name several.
            ignore_eos=True,
            stop_token_ids=[self.loaded.tokenizer.eos_token_id],
            logit_bias=dict.fromkeys(self._forbidden, _NEVER),
            detokenize=False,
        )

    def _completion(self, request: Request, prompt: _Prompt, output: Any) -> Completion:
        used = list(output.prompt_token_ids)
        cells = placeholder_runs(used, self._processor.image_token_id)
        if cells != prompt.cells:
            raise EngineError(
                f"sample {request.sample_id}: vLLM made {cells} tokens of the images, and the model's processor makes"
                f" {prompt.cells}",
                hint="other pixel limits or another version of vLLM: boxes would be read in the wrong frame",
            )
        (made,) = output.outputs
        ids = list(made.token_ids)
        if made.finish_reason not in ("stop", "length"):
            raise EngineError(f"sample {request.sample_id}: vLLM ended the completion with {made.finish_reason!r}")
        if barred := set(ids) & set(self._forbidden):
            raise EngineError(
                f"sample {request.sample_id}: vLLM drew token {min(barred)}, which is forbidden",
                hint="it does not follow logit_bias; another version of vLLM?",
            )
        return completion_of(self.loaded.tokenizer, ids, len(used), prompt.opened)


def _row(prompt: _Prompt, request: Request) -> dict[str, Any]:
    images = {"multi_modal_data": {"image": list(request.images)}} if request.images else {}
    return {"prompt_token_ids": prompt.ids, **images}


def _library() -> Any:
    """The module ``vllm``, imported with its scheduler in this process, which makes scheduling deterministic."""
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    try:
        return importlib.import_module("vllm")
    except ImportError as error:
        raise ConfigError(
            f"--engine vllm needs the package vllm, which cannot be imported: {error}",
            hint="pip install 'mirg[vllm]'",
        ) from error


def require_grid(loaded: LoadedModel) -> None:
    """ConfigError for a model whose images are no grids of patches: its pixel limits cannot be set in vLLM here."""
    images: Any = loaded.processor
    if not hasattr(images.image_processor, "merge_size"):
        raise ConfigError(
            f"vLLM is not prepared here for models of the family {loaded.family.name}, which take images otherwise",
            hint="leave --engine vllm out; in a recipe, rollouts.backend: transformers",
        )


def processor_arguments(limits: PixelLimits) -> dict[str, Any]:
    """vLLM's ``mm_processor_kwargs`` for these pixel limits."""
    return {"size": {"shortest_edge": limits.min_pixels, "longest_edge": limits.max_pixels}}


def servable_folder(loaded: LoadedModel, folder: Path) -> str:
    """The name of a model that vLLM can load: that of ``loaded``, or ``folder``, in which it is prepared.

    Adapters are merged into their base. A folder that mirg saved without a video processor gets the settings of one,
    because vLLM loads the whole processor.
    """
    path = Path(loaded.path)
    adapters = (path / "adapter_config.json").is_file()
    if not path.is_dir() or not (adapters or _lacks_video(path)):
        return loaded.path
    if adapters:
        merged = load_model(loaded.path, family_name=loaded.family.name, device="cpu", dtype="auto")
        merged.model.save_pretrained(folder)
        merged.processor.save_pretrained(folder)
    else:
        for file in path.iterdir():
            if file.name != SEAL_FILE:
                (folder / file.name).symlink_to(file.resolve())
    if _lacks_video(folder):
        write_json_atomic(folder / _VIDEO_FILE, _video_settings(loaded))
    return str(folder)


def _lacks_video(folder: Path) -> bool:
    file = folder / "processor_config.json"
    stored = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    names = (_VIDEO_FILE, "preprocessor_config.json")  # transformers derives one from the other
    return "video_processor" not in stored and not any((folder / name).is_file() for name in names)


def _video_settings(loaded: LoadedModel) -> dict[str, Any]:
    images: Any = loaded.processor
    kept = {name: getattr(images.image_processor, name) for name in ("patch_size", "merge_size", "temporal_patch_size")}
    newer = loaded.model.config.model_type.startswith("qwen3")
    kind = "Qwen3VLVideoProcessor" if newer else "Qwen2VLVideoProcessor"
    return {"video_processor_type": kind, "processor_class": type(images).__name__, **kept}

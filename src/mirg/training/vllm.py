"""Rollouts by vLLM: the settings and the server before a run, the groups of every step, and a check before the first.

**Groups** (:class:`VllmRollouts`) go through TRL's VLLMGeneration. This deviates from TRL in four ways: prompts are
collapsed to one placeholder per image if vLLM itself expands them, which it would do a second time otherwise, with all
images in the place of the first (colocate mode, TRL issue 6294); the image features that vLLM keeps are dropped with
the weights that made them (TRL issue 7198); every prompt that vLLM says it used is compared with the trainer's; and
before the first rollout vLLM is checked.

**The check**: vLLM sees what the update sees, every image in its place, with the same weights. It
completes a few prompts as in any rollout, with their images in order and with the same images moved by one place, and
the model that is trained scores the same tokens. Two distances decide, both in nats and means over tokens:

    off    |vLLM's log-probability - the model's|, for the prompt that both were given
    moved  |the model's for the images in the other order - the model's|

If vLLM sees what it was given, only rounding separates it from the model, some hundredths in bfloat16 (8 bits, logits
of some tens). If vLLM does not know which image is which, both orders are one prompt to it: it is as far from the model
in the one as in the other, and by the triangle inequality the two distances add up to at least ``moved``. Then ``off``,
their mean, is expected to be at least half of ``moved``, whatever share of the completions is mere form; less than a
quarter of it is accepted. Therefore a token or two, which are form in a trained model, are not enough to ask for.
"""

from __future__ import annotations

import functools
import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import torch
from accelerate import PartialState
from trl.models.utils import unwrap_model_for_generation

from mirg.answers.blocks import LOOK_CLOSE
from mirg.console import logger
from mirg.engines.look_turns import LookTurns
from mirg.engines.vllm import processor_arguments, require_grid
from mirg.errors import ConfigError, EngineError
from mirg.models.load import LoadedModel
from mirg.models.packing import decoder_hidden_states, pack
from mirg.models.prompts import Prompt, collapsed, encode_row, placeholder_runs
from mirg.models.sampling import Sampling
from mirg.training.health import ACTIVITY
from mirg.training.recipe import GrpoRecipe, RolloutConfig
from mirg.training.run import is_main_process
from mirg.training.vllm_turns import Drawn, in_turns

SUPPORTED = "vllm>=0.22.0,<=0.31.0"  # by TRL
# vLLM knows no suppress_tokens; its logit_bias ends at -100, which leaves exp(-100) of a token's probability.
_NEVER = -100.0
_EXPANDABLE = "expandable_segments:True"
_OF_WEIGHTS = ("config.json", "generation_config.json", "model.safetensors.index.json")
_RETRY_SECONDS = 2.0
PROBES = 4  # prompts that every process checks
TWICE = "placeholders that were expanded twice (TRL issue 6294)"
_CLEAR = 4  # how many times ``off`` the images' order must make, to be seen


def generation_arguments(recipe: GrpoRecipe, forbidden: Sequence[int]) -> dict[str, Any]:
    """The part of TRL's GRPOConfig that says how completions are sampled, without ``forbidden`` ids."""
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
        "generation_kwargs": {"logit_bias": dict.fromkeys(forbidden, _NEVER)}
        | ({"stop": [LOOK_CLOSE], "include_stop_str_in_output": True} if recipe.look.max_looks else {}),
    }


def require_vllm(config: RolloutConfig, loaded: LoadedModel) -> None:
    """ConfigError, before anything takes long, where vLLM, a GPU or the server is missing or set up otherwise."""
    require_grid(loaded)
    # vLLM switches expandable segments off for the memory that sleeps, but looks at one of the two names only.
    settings = [os.environ.get(name, "") for name in ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")]
    if config.sleep and _EXPANDABLE in settings[1] and _EXPANDABLE not in settings[0]:
        raise ConfigError(
            f"rollouts.sleep does not work with {_EXPANDABLE} in PYTORCH_ALLOC_CONF",
            hint="unset it, or set it in PYTORCH_CUDA_ALLOC_CONF, which vLLM looks at",
        )
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
        ACTIVITY.begin(f"the vLLM server at {config.server}")
        reach_server(config, serve_command(config, loaded))


def colocated_folder(loaded: LoadedModel, folder: Path) -> Path:
    """Fill ``folder`` with links to the weights that ``loaded`` started from, and the processor of the run.

    In colocate mode TRL lets vLLM read the model's own folder, whose processor may have other pixel limits than the
    run, and gives no other way to set them. The weights of adapters and of training come later, from the trainer.
    """
    from huggingface_hub import snapshot_download

    name = str(loaded.model.name_or_path)
    source = Path(name) if Path(name).is_dir() else Path(snapshot_download(name, local_files_only=True))
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        link = folder / file.name
        if file.suffix == ".safetensors" or file.name in _OF_WEIGHTS:
            link.unlink(missing_ok=True)
            link.symlink_to(file.resolve())
    loaded.processor.save_pretrained(folder)
    return folder


def colocate(recipe: GrpoRecipe, loaded: LoadedModel, folder: Path, longest: int) -> GrpoRecipe:
    """The recipe with the settings of vLLM inside the training process, or unchanged if it does not ask for that.

    ``longest`` is the longest prompt and completion in tokens.

    The model is read from ``folder`` (:func:`colocated_folder`). Without a length, vLLM would reserve memory for the
    longest text that the model can read at all, for example 128,000 tokens, and not start if a share of a GPU is less.
    """
    config = recipe.rollouts
    if config.backend != "vllm" or config.mode != "colocate":
        return recipe
    if is_main_process():
        colocated_folder(loaded, folder)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        PartialState().wait_for_everyone()
    loaded.model.config._name_or_path = loaded.model.name_or_path = str(folder)
    length = {"max_model_length": config.max_model_length or longest}
    return recipe.model_copy(update={"rollouts": config.model_copy(update=length)})


def send_merged_copies(generation: Any) -> None:
    """Let TRL's ``generation`` send copies of the weights with the adapters merged in, a layer at a time.

    TRL merges adapters into the base in place and takes them out again after each transfer. In bfloat16 the rounding
    stays: 300 transfers changed 41 % of the weights of a random layer, by a third of what the adapters added. The base
    under the saved adapters would be another one than they were trained on. Not for sharded weights.
    """
    model = generation.model
    if hasattr(model, "merge_adapter"):
        generation._iter_named_params = lambda: _merged(model, generation)


def _merged(model: Any, generation: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors as ``VLLMGeneration._iter_named_params`` yields them."""
    layers = {f"{name}.base_layer.weight": module for name, module in model.named_modules()}
    for name, param in model.named_parameters():
        if model.prefix in name or "original_module" in name:
            continue
        told, weight = name.removeprefix("base_model.model.").replace(".base_layer", ""), param.data
        layer = layers.get(name)
        if layer is not None:
            delta = sum(layer.get_delta_weight(adapter).detach().float() for adapter in layer.active_adapters)
            weight = (weight.float() + delta).to(weight.dtype)
        yield generation._fix_param_name_to_vllm(told, extra_prefixes=["modules_to_save.default."]), weight


def serve_command(config: RolloutConfig, loaded: LoadedModel) -> str:
    """The command that starts a server for this run: same weights, same pixel limits, and what TRL asks of it."""
    address = urlsplit(config.server)
    words = [
        *("vllm", "serve", loaded.model.name_or_path),
        *("--host", address.hostname or "", "--port", str(address.port or 80)),
        *("--weight-transfer-config", json.dumps({"backend": "nccl"})),
        *("--logprobs-mode", "processed_logprobs"),
        *("--mm-processor-kwargs", json.dumps(processor_arguments(loaded.limits))),
        "--enable-scale-out",
    ]
    return f"VLLM_SERVER_DEV_MODE=1 {shlex.join(words)}"


def reach_server(config: RolloutConfig, command: str) -> None:
    """Wait for the server, for ``config.timeout`` seconds. ConfigError if no server answers, or its settings differ.

    ``command`` is what would start it.
    """
    end = monotonic() + config.timeout
    while (problem := _get(f"{config.server}/health")[1]) and monotonic() < end:
        logger.info("waiting for vLLM at %s: %s", config.server, problem)
        sleep(min(_RETRY_SECONDS, max(end - monotonic(), 0)))
    if problem:
        raise ConfigError(
            f"no vLLM server answers at {config.server} within {config.timeout:g} s: {problem}",
            hint=f"start it on separate GPUs with: {command}",
        )
    body, problem = _get(f"{config.server}/server_info?config_format=json")
    if problem := problem or _settings_problem(body):
        raise ConfigError(
            f"the vLLM server at {config.server} cannot be trained with: {problem}",
            hint=f"start it on separate GPUs with: {command}",
        )


def _settings_problem(body: bytes) -> str:
    """What is wrong with a server's own account of its settings; empty if nothing is wrong."""
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


# The groups of a step.


def generating_model(trainer: Any) -> AbstractContextManager[Any]:
    """The model of ``trainer`` without its wrappers and with all its weights, to complete and score prompts with."""
    return unwrap_model_for_generation(
        trainer.model_wrapped,
        trainer.accelerator,
        gather_deepspeed3_params=getattr(trainer.args, "ds3_gather_for_generation", True),  # SFT has no such setting
        gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
    )


class VllmRollouts:
    """Completes the groups of a trainer whose ``use_vllm`` is on. Every call is made by all processes together."""

    def __init__(self, config: RolloutConfig, sampling: Sampling) -> None:
        self._config, self._sampling = config, sampling
        self._checked = False
        self._fresh_at = -1  # the step whose weights made what vLLM keeps of images

    def complete(
        self,
        trainer: Any,
        rows: Sequence[dict[str, Any]],
        prompts: Sequence[Prompt],
        counts: Sequence[int],
        looks: LookTurns | None = None,
    ) -> tuple[list[Any], list[list[float | None]]]:
        """Token ids and their log-probabilities: ``counts[n]`` completions of the n-th of ``rows``, in order.

        ``prompts`` are the encoded rows. With ``looks``, branches instead of token ids. EngineError if vLLM fails, or
        if its prompts differ from those of the update.
        """
        if trainer.state.global_step != self._fresh_at:
            forget_images(trainer)
            self._fresh_at = trainer.state.global_step
        if not self._checked:
            self._check(trainer, rows)
            self._checked = True
        drawn = self._draw(trainer, rows, prompts, counts, trainer.num_generations)
        if looks is not None:
            draw = functools.partial(self._draw, trainer, size=1)
            most = functools.partial(_most_of_all, trainer)
            return in_turns(draw, rows, prompts, drawn, looks, self._sampling, most)
        return [ids for group in drawn for ids in group.completions], [logs for group in drawn for logs in group.logs]

    def _draw(
        self,
        trainer: Any,
        rows: Sequence[dict[str, Any]],
        prompts: Sequence[Prompt],
        counts: Sequence[int],
        size: int,
    ) -> list[Drawn]:
        """``counts[n]`` completions of each prompt, which TRL draws in groups of ``size``."""
        generation, token = trainer.vllm_generation, trainer.processing_class.image_token_id
        given = [list(p.ids) if generation.mode == "server" else collapsed(p.ids, token) for p in prompts]
        numbers = [n for n, count in enumerate(counts) for _ in range(count)]
        try:
            used, completions, logs, _ = generation.generate(
                prompts=[given[n] for n in numbers],
                images=[list(rows[n]["images"]) or None for n in numbers],
                num_generations=size,
            )
        except Exception as error:  # what TRL's client raises is no narrower
            raise EngineError(
                f"vLLM did not complete {len(numbers)} rollouts: {error}",
                hint="see the server's log; the same command continues from the last checkpoint",
            ) from error
        if logs is None:
            raise EngineError("vLLM gave no log-probabilities", hint="another version of vLLM or TRL?")
        for n, ids, said in zip(numbers, used, completions, strict=True):
            ours = list(prompts[n].ids)
            if list(ids) != ours:
                raise EngineError(
                    f"vLLM used another prompt for sample {rows[n]['id']}: {len(ids)} tokens, images of"
                    f" {placeholder_runs(ids, token)}, where the trainer has {len(ours)} and"
                    f" {placeholder_runs(ours, token)}",
                    hint=f"other pixel limits, or {TWICE}: use rollouts.mode: server",
                )
            if barred := set(said) & set(self._sampling.forbidden):
                raise EngineError(
                    f"vLLM drew token {min(barred)}, which is forbidden: it does not follow logit_bias",
                    hint="an image token in a completion breaks the update; another version of vLLM?",
                )
        drawn = [Drawn([], []) for _ in prompts]
        for n, said, scores in zip(numbers, completions, logs, strict=True):
            drawn[n].completions.append(list(said))
            drawn[n].logs.append([score[0] for score in scores])
        return drawn

    def _check(self, trainer: Any, rows: Sequence[dict[str, Any]]) -> None:
        """EngineError if vLLM's images, weights or temperature are not those of the update.

        ``rows`` are training samples with images.
        """
        # Those with most images; every process takes equally many, so that all make the same calls.
        order = sorted(rows, key=lambda row: -len(row["images"]))
        pairs = [row for k in range(PROBES) for row in (order[k % len(rows)], moved_images(order[k % len(rows)]))]
        thinking = trainer.chat_template_kwargs.get("enable_thinking")
        prompts = [encode_row(trainer.processing_class, row, thinking) for row in pairs]
        _same_cells(trainer, pairs, prompts)
        size = trainer.num_generations
        drawn = self._draw(trainer, pairs, prompts, [size] * len(pairs), size)
        sums = trainer.accelerator.gather(distances(trainer, prompts, drawn, self._sampling)[None]).sum(0)
        tokens, off, raw, moved = [sums[0].item(), *(sums[1:] / sums[0]).tolist()]
        if problem := verdict(off, raw, moved, self._config):
            raise problem
        logger.info(
            "vLLM agrees with the model: %.2g nats a token off, over %d tokens; images in another order make %.2g",
            *(off, tokens, moved),
        )


def _most_of_all(trainer: Any, count: int) -> int:
    """The largest ``count`` of all processes."""
    counts: Any = trainer.accelerator.gather(torch.tensor([count], device=trainer.accelerator.device))
    return int(counts.max())


def forget_images(trainer: Any) -> None:
    """Let vLLM drop the image features that it computed with older weights: TRL only resets what it keeps of prompts.

    TRL has sent the weights of this step already.
    """
    generation = trainer.vllm_generation
    if generation.mode == "colocate":
        generation.llm.llm_engine.reset_encoder_cache()
    elif trainer.accelerator.is_main_process:
        url = f"{generation.vllm_client.base_url}/reset_encoder_cache"
        status = generation.vllm_client.session.post(url).status_code
        if status != 200:
            raise EngineError(f"vLLM keeps image embeddings of older weights: {url} gives status {status}")


# The check before the first rollout.


def moved_images(row: dict[str, Any]) -> dict[str, Any]:
    """The same question with every image one place further on, and the last one first."""
    images = list(row["images"])
    return row | {"images": images[-1:] + images[:-1]}


def _same_cells(trainer: Any, rows: Sequence[dict[str, Any]], prompts: Sequence[Prompt]) -> None:
    """EngineError where a server cuts an image into another number of cells than the trainer does.

    TRL sends a server the trainer's own placeholders, so that nothing else would tell.
    """
    from accelerate.utils import broadcast_object_list

    problem = [""]
    if trainer.vllm_generation.mode == "server" and trainer.accelerator.is_main_process:
        made = trainer.vllm_generation.vllm_client.image_features([list(row["images"]) for row in rows])
        for row, prompt, features in zip(rows, prompts, made, strict=True):
            ours = placeholder_runs(prompt.ids, trainer.processing_class.image_token_id)
            theirs = [place["length"] for place in features["mm_placeholders"]["image"]] if features else []
            if ours != theirs:
                problem = [f"images of sample {row['id']} are {theirs} tokens to vLLM and {ours} to the trainer"]
    broadcast_object_list(problem, from_process=0)
    if problem[0]:
        raise EngineError(problem[0], hint="serve the model with the run's pixel limits (docs/how-to/vllm.md)")


def distances(trainer: Any, prompts: Sequence[Prompt], drawn: Sequence[Drawn], sampling: Sampling) -> torch.Tensor:
    """Sums over tokens (4,): their number, ``off``, ``off`` had vLLM left the temperature out, and ``moved``.

    ``prompts`` come in pairs, each other's images moved.
    """
    total = torch.zeros(4, dtype=torch.float64, device=trainer.accelerator.device)
    with torch.no_grad(), trainer.accelerator.autocast(), generating_model(trainer) as model:
        training = model.training
        model.eval()
        for k, group in enumerate(drawn):
            given = [float("nan") if log is None else log for row in group.logs for log in row]
            logs = torch.tensor(given, device=model.device)
            own, raw = own_logs(model, prompts[k], group.completions, sampling)
            other, _ = own_logs(model, prompts[k ^ 1], group.completions, sampling)
            parts = torch.stack([torch.ones_like(own), logs - own, logs - raw, other - own]).abs()
            total += parts[:, ~logs.isnan()].double().sum(1)
        model.train(training)
    return total


def own_logs(
    model: Any, prompt: Prompt, completions: Sequence[Sequence[int]], sampling: Sampling
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities (tokens,) of completions as ``sampling`` draws, and raw: no temperature, nothing forbidden."""
    packed = pack(model, [prompt], [completions])
    hidden = decoder_hidden_states(model, packed.trees, **packed.inputs)[0, int(packed.trees.trunk.sum()) :]
    barred = torch.tensor(sorted(sampling.forbidden), dtype=torch.long, device=hidden.device)
    lengths = [len(ids) for ids in completions]
    drawn, raw = [], []
    for part, wanted in zip(hidden.split(lengths), packed.labels.split(lengths), strict=True):
        logits = model.get_output_embeddings()(part).float()
        raw.append(logits.log_softmax(-1).gather(-1, wanted[:, None])[:, 0])
        logits = logits.index_fill(-1, barred, -torch.inf) / sampling.temperature
        drawn.append(logits.log_softmax(-1).gather(-1, wanted[:, None])[:, 0])
    return torch.cat(drawn), torch.cat(raw)


def verdict(off: float, raw: float, moved: float, config: RolloutConfig) -> EngineError | None:
    """What the mean distances in nats a token say about vLLM; None if it can be trusted."""
    far = f"vLLM's log-probabilities are {off:.3g} nats a token off the model's, {config.tolerance:g} are allowed"
    if not off <= config.tolerance:  # not a number is far too
        if raw <= config.tolerance:
            return EngineError(
                f"{far}; without temperature they are {raw:.3g} off",
                hint="start the server with --logprobs-mode processed_logprobs",
            )
        return EngineError(
            far,
            hint="other weights, another temperature, other images or another order of them: is it this run's server?"
            f" In colocate mode also {TWICE}: use rollouts.mode: server",
        )
    if _CLEAR * off <= moved or not config.check_order:
        return None
    if moved >= config.tolerance:
        return EngineError(
            f"vLLM mixes up which image is which: it is {off:.3g} nats a token off the model, where images in another"
            f" order make {moved:.3g}",
            hint="use rollouts.mode: server (TRL issue 6294)",
        )
    return EngineError(
        f"whether vLLM sees every image in its place is unknown: another order makes {moved:.3g} nats a token, and"
        f" vLLM is {off:.3g} off anyway",
        hint="a model that looks at its images tells them apart; rollouts.check_order: false continues without proof",
    )

"""What the benchmarks share: one group of multi-image prompts, TRL's trainer and ours around the same weights."""

from __future__ import annotations

import argparse
import copy
import inspect
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from shapes import SHAPES, build, named_shape, needed_flops

import mirg
from mirg.data.scenes.generate import corpus, names
from mirg.models.load import LoadedModel, wrap
from mirg.models.prompts import Prompt, encode
from mirg.models.tiny import TinyConfig, build_tiny

IMAGES = 4
CELL = 32  # pixels of a visual token
TEXT = 40  # tokens of a prompt that are no image's
# What a run prints below its ratio.
SHOWN = (
    *("parameters", "tokens", "flops", "peak_mib", "with_defaults_of_malloc"),
    *("gradient_difference", "speed", "attention"),
)


@dataclass(frozen=True)
class Settings:
    """Tokens of the prompt and of each completion, completions of the group, groups of a step, and the model."""

    prompt: int
    completion: int
    group: int
    prompts: int
    width: int
    layers: int
    dtype: str
    repeat: int
    seed: int = 0
    shape: str | None = None
    checkpointing: bool = False
    one_copy: bool = False


def parse(description: str) -> tuple[argparse.Namespace, Settings]:
    """The command line of a benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--prompt", type=int, default=1500, help="tokens of the prompt, nearly all visual")
    parser.add_argument("--completion", type=int, default=128)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=1)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--shape", choices=sorted(SHAPES), help="a model of this size, on a GPU; --quick: shrunk")
    parser.add_argument("--shrunk", action="store_true", help="with --shape: a small model, on any machine")
    parser.add_argument("--cut", type=int, help="with --shape: this many layers of the full width")
    parser.add_argument("--one-copy", action="store_true", help="both trainers share one copy of the weights")
    parser.add_argument("--checkpointing", action="store_true", help="compute activations again in the backward pass")
    parser.add_argument("--no-memory", action="store_true", help="leave out the processes that measure memory")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a prompt of 300 tokens, three repetitions")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--peak-of", choices=["ours", "theirs"], default=None, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.threads:
        torch.set_num_threads(told.threads)
    prompt, completion, repeat = (300, 64, 3) if told.quick else (told.prompt, told.completion, told.repeat)
    shrunk = told.quick or told.shrunk
    if told.shape and not shrunk and not torch.cuda.is_available():
        parser.exit(1, f"no GPU is available: {told.shape} was not measured; --quick runs a shrunk one\n")
    change = "shrunk" if shrunk else f"{told.cut} layers" if told.cut else ""
    settings = Settings(
        prompt, completion, told.group, told.prompts, told.width, told.layers, told.dtype, repeat,
        shape=", ".join(filter(None, [told.shape, change])) if told.shape else None,
        checkpointing=told.checkpointing, one_copy=told.one_copy,
    )  # fmt: skip
    return told, settings


def make_model(settings: Settings) -> LoadedModel:
    """A random Qwen3-VL (or Qwen2.5-VL of a published size) whose images have a quarter of the prompt's tokens each."""
    side = image_side(settings)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if settings.shape:
        model, processor = build(named_shape(settings.shape), side, device, getattr(torch, settings.dtype))
    else:
        config = TinyConfig(
            width=settings.width, layers=settings.layers, heads=settings.width // 64, kv_heads=settings.width // 64,
            mlp=3 * settings.width, image_side=side,
        )  # fmt: skip
        model, processor = build_tiny(config, corpus=corpus(n=100), names=names())
        model.set_attn_implementation("sdpa")
    loaded = wrap(model, processor, path="benchmark")
    loaded.model.to(device)  # type: ignore[arg-type]
    loaded.model.train()
    return loaded


def image_side(settings: Settings) -> int:
    """Pixels of the side of an image, so that all of them and the text have about the prompt's tokens."""
    cell = named_shape(settings.shape).cell if settings.shape else CELL
    return max(round(((settings.prompt - TEXT) / IMAGES) ** 0.5), 2) * cell


def make_rows(settings: Settings) -> list[dict[str, Any]]:
    """Training rows: labelled images of noise and a question."""
    from PIL import Image

    side = image_side(settings)
    draw = random.Random(settings.seed)
    rows = []
    for number in range(settings.prompts):
        content: list[dict[str, Any]] = []
        for k in range(IMAGES):
            content += [{"type": "text", "text": f"Image-{k + 1}: "}, {"type": "image", "text": None}]
        content.append({"type": "text", "text": "\nFind the red ring."})
        images = [Image.frombytes("RGB", (side, side), draw.randbytes(3 * side * side)) for _ in range(IMAGES)]
        rows.append({"id": f"row-{number}", "prompt": [{"role": "user", "content": content}], "images": images})
    return rows


def make_prompts(loaded: LoadedModel, rows: Sequence[dict[str, Any]]) -> list[Prompt]:
    return [encode(loaded.processor, row["prompt"], row["images"], row["id"]) for row in rows]


def trainers(settings: Settings) -> tuple[Any, Any, LoadedModel, list[dict[str, Any]]]:
    """Ours and TRL's trainer, each with its own copy of the weights unless ``settings`` ask for one copy.

    With one copy, TRL's trainer still runs its own forward pass: packed rows are a separate path of the model.
    """
    from trl.trainer.grpo_trainer import GRPOTrainer

    loaded, rows = make_model(settings), make_rows(settings)
    theirs = make_trainer(GRPOTrainer, settings, loaded, rows)
    return our_trainer(settings, loaded, rows), theirs, loaded, rows


def our_trainer(settings: Settings, loaded: LoadedModel, rows: list[dict[str, Any]], vision_cache: int = 0) -> Any:
    """Ours, with a copy of the weights; features of a frozen vision tower are kept in ``vision_cache`` bytes."""
    from mirg.models.sampling import Sampling
    from mirg.training.grpo import PackedGRPOTrainer

    # No completion ends before its last token, so that both sides do the same work.
    sampling = Sampling(settings.completion, [], barred(loaded))
    cls = partial(PackedGRPOTrainer, sampling=sampling, vision_cache=vision_cache)
    return make_trainer(cls, settings, loaded, rows)


def make_trainer(cls: Any, settings: Settings, loaded: LoadedModel, rows: list[dict[str, Any]]) -> Any:
    """A trainer of class ``cls`` before its first step, with a copy of the weights (``one_copy``: the weights)."""
    import datasets
    from trl.trainer.grpo_config import GRPOConfig

    from mirg.training import quiet_libraries

    quiet_libraries()
    args = GRPOConfig(
        output_dir=tempfile.mkdtemp(), report_to="none", disable_tqdm=True, use_cpu=not torch.cuda.is_available(),
        per_device_train_batch_size=settings.prompts * settings.group, num_generations=settings.group,
        max_completion_length=settings.completion, bf16=settings.dtype == "bfloat16", top_k=0, top_p=1.0,
        gradient_checkpointing=settings.checkpointing, seed=settings.seed, remove_unused_columns=False,
        generation_kwargs={"suppress_tokens": barred(loaded)},
    )  # fmt: skip
    model: Any = loaded.model if settings.one_copy else copy.deepcopy(loaded.model)
    trainer = cls(
        model=model, args=args, reward_funcs=random_reward, processing_class=loaded.processor,
        train_dataset=datasets.Dataset.from_list([{"id": "x", "prompt": rows[0]["prompt"]}]),
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer


def barred(loaded: LoadedModel) -> list[int]:
    """What a completion may not hold: besides vision tokens, its end."""
    from mirg.models.load import forbidden_tokens

    return [*forbidden_tokens(loaded.tokenizer, loaded.family), loaded.tokenizer.eos_token_id]


def step(trainer: Any, rows: list[dict[str, Any]]) -> None:
    """Completions of every row, their rewards, and one update without the optimizer."""
    trainer.model.zero_grad()
    trainer._step, trainer._buffered_inputs = 0, None
    batch = trainer._prepare_inputs(copy.copy(rows))
    trainer.compute_loss(trainer.model, batch).backward()


def random_reward(completions: Sequence[Any], **_: Any) -> list[float | None]:
    """A different number for every completion, so that every group has signal."""
    return [(k * 7919 % 101) / 101 for k in range(len(completions))]


def timed(work: Sequence[Callable[[], object]], repeat: int) -> list[list[float]]:
    """Seconds of each piece of ``work``; the pieces alternate, ``repeat`` times after one warm-up."""
    seconds: list[list[float]] = [[] for _ in work]
    for turn in range(repeat + 1):
        for k, piece in enumerate(work):
            _wait()
            began = time.perf_counter()
            piece()
            _wait()
            if turn:
                seconds[k].append(time.perf_counter() - began)
    return seconds


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def flops(work: Callable[[], object]) -> int:
    """Floating-point operations of matrix products, attention and convolutions, as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop, sdpa_flop

    aten = torch.ops.aten
    # The counter knows only the fused attention of GPUs.
    fused = {
        aten._scaled_dot_product_flash_attention_for_cpu: inspect.unwrap(sdpa_flop),
        aten._scaled_dot_product_flash_attention_for_cpu_backward: inspect.unwrap(sdpa_backward_flop),
    }
    with FlopCounterMode(display=False, custom_mapping=fused) as counter:
        work()
    return counter.get_total_flops()


def operations(loaded: LoadedModel, prompts: Sequence[Prompt], settings: Settings) -> dict[str, float]:
    """The operations that an update of either side needs, by the formula of :func:`shapes.needed_flops`."""
    processor: Any = loaded.processor
    visual = list(prompts[0].ids).count(processor.image_token_id)
    case = (len(prompts[0].ids), visual, settings.completion, settings.group)
    return {
        side: len(prompts) * needed_flops(loaded.model, *case, shared=side == "ours") for side in ("ours", "theirs")
    }


def tokens(settings: Settings, length: int) -> dict[str, float]:
    """Tokens that one pass sends through the decoder for prompts of ``length``: what the ratio is predicted from."""
    ours = settings.prompts * (length - 1 + settings.group * settings.completion)
    theirs = settings.prompts * settings.group * (length + settings.completion)
    return {"ours": ours, "theirs": theirs, "ratio": theirs / ours}


def peak_of(side: str) -> float:
    """Peak memory in MiB that the update of ``side`` adds, measured in a separate process."""
    done = subprocess.run([sys.executable, *sys.argv, "--peak-of", side], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def peak_while(work: Callable[[], object]) -> float:
    """MiB by which the peak memory of this process during ``work`` exceeds its memory before."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark (Linux)
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def _status(key: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def summary(
    unit: str,
    ours: list[float],
    theirs: list[float],
    settings: Settings,
    alternative: str = "TRL's unmodified GRPOTrainer",
    **more: Any,
) -> dict[str, Any]:
    """The JSON of a benchmark; ``spread`` is the range of the ratios of the pairs."""
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {
        "ratio": statistics.median(theirs) / statistics.median(ours),
        "unit": unit,
        "ours": statistics.median(ours),
        "theirs": statistics.median(theirs),
        "n": len(ours),
        "spread": [min(ratios), max(ratios)],
        **more,
        "settings": settings.__dict__,
        "alternative": alternative,
        "versions": versions(),
        "command": command(),
    }


def command() -> str:
    """The command line without the option that says where the result is written."""
    script, *told = sys.argv
    if "--json" in told:
        at = told.index("--json")
        del told[at : at + 2]
    return " ".join(["python", f"benchmarks/{Path(script).name}", *told])


def versions() -> dict[str, str]:
    """What ran, and on what. ``MIRG_COMMIT`` names the commit of a copy that is no git repository."""
    from importlib.metadata import version

    commit = os.environ.get("MIRG_COMMIT", "")
    if not commit and shutil.which("git"):
        asked = ["git", "rev-parse", "HEAD"]
        commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
    return {
        "mirg": mirg.__version__, "torch": torch.__version__, "transformers": version("transformers"),
        "trl": version("trl"), "python": platform.python_version(), "device": device, "commit": commit,
    }  # fmt: skip


def show(result: dict[str, Any], path: Path | None) -> None:
    """Print the ratio, and write all of it where a file is given."""
    low, high = result["spread"]
    print(
        f"{result['ratio']:.2f}x ({result['unit']}; {result['ours']:.2f} against {result['theirs']:.2f}, "
        f"n = {result['n']}, pairs {low:.2f} to {high:.2f})"
    )
    for key in (
        "parameters",
        "tokens",
        "flops",
        "peak_mib",
        "with_defaults_of_malloc",
        "gradient_difference",
        "speed",
        "attention",
    ):
        if key in result:
            print(f"  {key}: {result[key]}")
    if path:
        path.write_text(json.dumps(result, indent=2) + "\n")

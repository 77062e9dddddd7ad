"""What commands that measure a dataset with a model share: how they ask, and how they print what became of the rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mirg.cli.output import json_out, say_listed
from mirg.console import say, warn
from mirg.errors import ConfigError

if TYPE_CHECKING:
    from mirg.answers.looks import LookBudget
    from mirg.engines.base import Engine
    from mirg.evaluation.measure import MeasureReport
    from mirg.families import PixelLimits
    from mirg.samples import Sample

CROP_PIXELS = 262_144
VLLM_BATCH = 256  # prompts that vLLM is given at once if --batch-size is not given; it schedules them itself

Dataset = Annotated[Path, typer.Argument(help="A dataset folder.")]
Out = Annotated[Path, typer.Argument(help="The dataset folder to write; the same command continues it.")]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, help=f"Prompts per forward pass. vLLM schedules {VLLM_BATCH} at once."),
]
MaxNewTokens = Annotated[int, typer.Option(min=1, help="Longest answer in tokens.")]
AnswerInstructions = Annotated[
    Literal["full", "short", "none"] | None,
    typer.Option("--instructions", help="Instructions in the prompt. Default: the model's."),
]
Family = Annotated[str | None, typer.Option(help="Model family, if the model does not name it.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 …")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 …")]
EngineName = Annotated[
    Literal["local", "vllm"], typer.Option("--engine", help="local: transformers. vllm: vLLM in this process.")
]
VllmArguments = Annotated[
    list[str] | None,
    typer.Option("--vllm", metavar="KEY=VALUE", help="An argument of vllm.LLM, such as tensor_parallel_size=2."),
]
Thinking = Annotated[
    Literal["on", "off"] | None,
    typer.Option(help="Let a model think or not, if its chat template has enable_thinking. Default: the template's."),
]
Endpoint = Annotated[
    str | None,
    typer.Option(help="Ask the model at this OpenAI-compatible address (http://HOST/v1); MODEL is its name there."),
]
KeyEnv = Annotated[str | None, typer.Option(help="Environment variable with the key of the endpoint.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Requests to the endpoint at once.")]
MaxPixels = Annotated[
    int | None, typer.Option(help="Most pixels of an image that is sent to the endpoint. Default: the family's.")
]
Looks = Annotated[
    int, typer.Option(min=0, max=16, help="Looks at parts of the images, shown enlarged, per answer; 0: none.")
]
CropPixels = Annotated[int, typer.Option(min=1024, help="With --looks: pixels of an enlarged part.")]
Copy = Annotated[bool, typer.Option("--copy", help="Copy the images instead of referring to their paths.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def prompts_at_once(given: int | None, engine: str, local: int = 16) -> int:
    """The batch size: as ``given``, else what suits the engine."""
    return given or (VLLM_BATCH if engine == "vllm" else local)


def look_budget(looks: int, crop_pixels: int, thinking: str | None = None) -> LookBudget:
    """The budget of ``--looks`` and ``--crop-pixels``; ConfigError if the model may not think."""
    from mirg.answers.looks import LookBudget

    if looks and thinking == "off":
        raise ConfigError("--looks needs the model's thinking", hint="leave out --thinking off: a look is part of it")
    return LookBudget(max_looks=looks, crop_pixels=crop_pixels)


def load_engine(
    model: str,
    options: Mapping[str, Any],
    samples: Iterable[Sample],
    limits: Mapping[str, PixelLimits] | None = None,
) -> Engine:
    """The engine that the shared ``options`` of a command choose, by the names of its parameters.

    ``samples`` are those that it will be asked about; only vLLM reads them. ``limits`` are other pixel limits than
    those of the processor, by the name of the family.
    """
    from mirg.engines import load
    from mirg.engines.base import Offline

    remote = offline = None
    if options["endpoint"] is not None:
        remote = load.Remote(*(options[name] for name in ("endpoint", "key_env", "concurrency", "max_pixels")))
    if options["engine"] == "vllm":
        arguments = _vllm_arguments(options["vllm"] or ())
        look = look_budget(options.get("looks", 0), options.get("crop_pixels", CROP_PIXELS))
        offline = Offline(arguments, samples, options["instructions"], options["max_new_tokens"], look)
    elif options["vllm"]:
        raise ConfigError("--vllm needs --engine vllm", hint="it passes arguments to vllm.LLM")
    return load.load_engine(
        model,
        family=options["family"],
        device=options["device"],
        dtype=options.get("dtype"),
        limits=limits,
        remote=remote,
        offline=offline,
        thinking=None if options["thinking"] is None else options["thinking"] == "on",
    )


def _vllm_arguments(given: Iterable[str]) -> dict[str, Any]:
    """Arguments as typed: a value that is JSON is that value (2, 0.8, true), any other is text."""
    arguments: dict[str, Any] = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key.isidentifier():
            raise ConfigError(f"--vllm {one} is not KEY=VALUE", hint="for example --vllm tensor_parallel_size=2")
        try:
            arguments[key] = json.loads(value)
        except ValueError:
            arguments[key] = value
    return arguments


def print_report(report: MeasureReport, out: Path, *, as_json: bool, kept: str = "kept: {word} {count}") -> None:
    """The counts of kept, dropped and rejected rows, as JSON or in words with the first rejections.

    ``kept`` words what is counted of each kind of kept rows.
    """
    if as_json:
        json_out({"out": str(out)} | report.as_dict())
        return
    unused = report.dropped.total() + report.n_rejected
    say_listed(report.rejections, more="(rejected.jsonl lists all)", total=unused)
    again = f", {report.resumed} of them measured before" if report.resumed else ""
    say(f"{report.n_rows} rows{again}: {report.kept.total()} written to {out}")
    for words, counts in ((kept, report.kept), ("left out: {word} {count}", report.dropped)):
        title, _, each = words.partition(": ")
        if counts:
            parts = (each.format(word=word, count=count) for word, count in counts.most_common())
            say(f"{title}: {', '.join(parts)}")
    say(f"{report.n_rejected} rejected")
    if report.cut_off:
        warn(f"{report.cut_off} completions were cut off at the token limit: raise --max-new-tokens")

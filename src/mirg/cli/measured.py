"""What commands that measure a dataset with a model share: how they ask, and how they print what became of the rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mirg.cli.output import json_out, say_listed
from mirg.console import say, warn
from mirg.engines.load import Remote

if TYPE_CHECKING:
    from mirg.evaluation.measure import MeasureReport

Dataset = Annotated[Path, typer.Argument(help="A dataset folder.")]
Out = Annotated[Path, typer.Argument(help="The dataset folder to write; the same command continues it.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Prompts per forward pass.")]
MaxNewTokens = Annotated[int, typer.Option(min=1, help="Longest answer in tokens.")]
AnswerInstructions = Annotated[
    Literal["full", "short", "none"] | None,
    typer.Option("--instructions", help="Instructions in the prompt. Default: the model's."),
]
Family = Annotated[str | None, typer.Option(help="Model family, if the model does not name it.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 …")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 …")]
Endpoint = Annotated[
    str | None,
    typer.Option(help="Ask the model at this OpenAI-compatible address (http://HOST/v1); MODEL is its name there."),
]
KeyEnv = Annotated[str | None, typer.Option(help="Environment variable with the key of the endpoint.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Requests to the endpoint at once.")]
MaxPixels = Annotated[
    int | None, typer.Option(help="Most pixels of an image that is sent to the endpoint. Default: the family's.")
]
Copy = Annotated[bool, typer.Option("--copy", help="Copy the images instead of referring to their paths.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def remote_of(endpoint: str | None, key_env: str | None, concurrency: int, max_pixels: int | None) -> Remote | None:
    """The endpoint that the options name, None if they name none."""
    return None if endpoint is None else Remote(endpoint, key_env, concurrency, max_pixels)


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

"""``mirg merge`` and ``mirg push``."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mirg.console import log_to_console, say, table, warn
from mirg.errors import ConfigError, MirgError

SAMPLES = 8  # completions that are compared


def merge(
    run: Annotated[Path, typer.Argument(help="A run with adapters, or a LoRA folder.")],
    out: Annotated[Path, typer.Argument(help="The model folder to write.")],
    data: Annotated[
        Path | None, typer.Option(help="Dataset for the comparison; the run's own, or drawn scenes, if not given.")
    ] = None,
    evaluation: Annotated[
        list[Path] | None, typer.Option(help="Evaluation whose results go into the model card; may be repeated.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest completion that is compared.")] = 64,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 …")] = None,
) -> None:
    """Merge the adapters of a run into their base: a model folder for transformers and vLLM, with a model card.

    The folder is loaded again and must write the same tokens as the adapters for eight prompts before it appears.
    """
    from mirg.evaluation.compare import finished_settings, refuse_changed
    from mirg.models.load import resolve_model
    from mirg.models.merge import merge_adapters
    from mirg.publish.card import write_card
    from mirg.training import quiet_libraries

    quiet_libraries()
    log_to_console()
    resolve_model(str(run))  # what can be refused at once is refused before the work
    for folder in evaluation or ():
        finished_settings(folder)
        refuse_changed(folder)
    home = run if (run / "config.yaml").is_file() else run.parent

    def finish(work: Path) -> None:
        write_card(work, run=home, evaluations=evaluation or ())

    made = merge_adapters(
        str(run), out, _samples(data, home), finish, device=device, max_new_tokens=max_new_tokens
    )  # fmt: skip
    agreement = made.agreement
    say(f"base: {made.base}; adapters: {', '.join(made.adapters)}")
    say(f"loaded again: {agreement.same} of {agreement.same + agreement.ties} completions have the same tokens")
    if agreement.ties:
        warn(f"{agreement.ties} differ where two tokens score alike: merging rounds the weights to their type")
    say(f"model: {out}")


def _samples(data: Path | None, home: Path) -> list[tuple[Any, list[Any]]]:
    """Samples with their images: of the dataset, else of the run's own, else drawn scenes."""
    from mirg.publish.card import recipe_of
    from mirg.samples import DatasetFolder

    own = recipe_of(home).get("data")
    named = data or (Path(str(own)) if own else None)
    try:
        if named:
            source = DatasetFolder.open(named)
            rows = itertools.islice(source.read(lambda _: None, images="header"), SAMPLES)
            if found := [(row, [source.open_image(ref, row.id) for ref in row.images]) for row in rows]:
                return found
    except MirgError:
        if data:
            raise
    from mirg.data.scenes.generate import iter_samples

    say("the comparison uses drawn scenes, since the run's dataset is not here")
    return [(sample, list(images)) for sample, images in iter_samples(None, SAMPLES, split="test")]


def push(
    folder: Annotated[Path, typer.Argument(help="A run, a model folder or a dataset folder.")],
    repo: Annotated[str, typer.Argument(help="The repository, as OWNER/NAME.")],
    public: Annotated[bool, typer.Option("--public", help="Make the repository public; private otherwise.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Send without asking.")] = False,
) -> None:
    """Send a model or a dataset to the Hugging Face Hub. What would be sent is listed first.

    The token is that of `hf auth login` or HF_TOKEN; HF_ENDPOINT names another hub.
    """
    try:
        from mirg.publish.push import pack_parcel, send
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mirg"):
            raise
        raise ConfigError(
            f"'mirg push' needs the package {error.name!r}, which is not installed", hint="pip install 'mirg[train]'"
        ) from error

    parcel = pack_parcel(folder, repo, public=public)
    title = f"{parcel.kind} {parcel.folder}"
    table(title, ["file", "bytes"], [(name, f"{size:,}") for name, size in _shown(parcel.files)])
    there = "which exists" if parcel.exists else "which is created"
    say(f"{len(parcel.files)} files, {parcel.bytes:,} bytes, to the {'private' if parcel.private else 'PUBLIC'}"
        f" repository {repo} ({there}) at {parcel.endpoint}")  # fmt: skip
    for note in parcel.notes:
        warn(note)
    if not yes and not (sys.stdin.isatty() and typer.confirm("Send it?")):
        raise ConfigError("nothing was sent", hint="--yes sends it without a question")
    say(f"sent: {send(parcel)}")


def _shown(files: tuple[tuple[str, int], ...], most: int = 40) -> list[tuple[str, int]]:
    """The files for the table; of many, the first and a line for the rest."""
    rest = files[most:]
    return [*files[:most], *([(f"… and {len(rest)} more", sum(size for _, size in rest))] if rest else [])]

"""The ``mirg`` command. A command's module is imported when the command is used, so ``mirg --help`` stays fast."""

from __future__ import annotations

import errno
import importlib
import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import mirg
from mirg.console import fail, say
from mirg.errors import ConfigError, MirgError

# Module, its attribute (a typer app, or a function that becomes one command), and a line of help.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": ("mirg.cli.demo", "demo", "Data, SFT, image-aware GRPO, evaluation and a report, in one command."),
    "data": ("mirg.cli.data", "app", "Make, import, check, show, arrange and export datasets."),
    "trajectories": ("mirg.cli.trajectories", "app", "Write and verify reasoning trajectories."),
    "models": ("mirg.cli.models", "models", "The model families and what works for each; which family a model is."),
    "sft": ("mirg.cli.train", "sft", "Supervised fine-tuning on trajectories."),
    "grpo": ("mirg.cli.train", "grpo", "Image-aware GRPO with the dual reward."),
    "schema": ("mirg.cli.schema", "schema", "The JSON Schema of a kind of recipe, for editors."),
    "evaluate": ("mirg.cli.evaluate", "evaluate", "Run a model on a dataset and score it."),
    "compare": ("mirg.cli.evaluate", "compare_app", "Evaluations side by side, with paired differences."),
    "merge": ("mirg.cli.publish", "merge", "Merge a run's adapters into a model folder for transformers and vLLM."),
    "push": ("mirg.cli.publish", "push", "Send a model or a dataset to the Hugging Face Hub."),
    "serve": ("mirg.cli.serve", "serve", "Serve a model on this machine, as an OpenAI-compatible chat endpoint."),
    "app": ("mirg.cli.app", "app", "Ask a model about your own images on a page in the browser."),
    "score": ("mirg.cli.score", "app", "Score responses to a published benchmark."),
    "study": ("mirg.cli.study", "study", "Train and compare arms that show the effect of each part."),
    "doctor": (
        "mirg.cli.doctor",
        "doctor",
        "Check packages, GPU and disk, and say how to fix what is wrong.",
    ),
    "report": ("mirg.cli.report", "report", "Write one HTML page about a run."),
    "ground": ("mirg.cli.ground", "ground", "Ask a model about several images; get reasoning, image and box."),
}


class LazyGroup(TyperGroup):
    """A group whose listed commands are names with a line of help; the one that is used is imported.

    Expected errors of any command end here: message and hint on stderr, exit code of the error, no traceback.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command named by ``args[0]``, which is imported."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in COMMANDS:
            command = load(name)
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; expected errors leave with message, hint and exit code."""
        try:
            return super().invoke(ctx)
        except (MirgError, OSError) as error:
            # When the reader of a pipe has gone, typer leaves quietly.
            if os.environ.get("MIRG_DEBUG") or getattr(error, "errno", None) == errno.EPIPE:
                raise
            raise typer.Exit(fail(error if isinstance(error, MirgError) else _from_os_error(error))) from error


def load(name: str) -> Any:
    """Import the module of command ``name`` and return its command. ``ConfigError`` if an extra is missing."""
    module, attribute, about = COMMANDS[name]
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "mirg":
            raise
        raise ConfigError(
            f"'mirg {name}' needs the package '{missing}', which is not installed",
            hint="pip install 'mirg[train]' (see the extras in README.md)",
        ) from error
    if not isinstance(found, typer.Typer):
        function, found = found, typer.Typer(add_completion=False)
        found.command(name, help=None if function.__doc__ else about)(function)
    command = typer.main.get_command(found)
    command.name = name
    return command


def _from_os_error(error: OSError) -> MirgError:
    """An operating-system error in words: what failed, on which path, and the usual cure."""
    hints = {
        errno.EACCES: "choose a folder you may write to, or change its permissions",
        errno.EROFS: "choose a folder on a writable disk",
        errno.ENOENT: "check the path",
        errno.ENOTDIR: "a part of the path is a file, not a folder",
        errno.ENOSPC: "free some disk space; nothing complete was lost",
        errno.EMFILE: "raise the limit of open files (ulimit -n)",
    }
    where = f": {error.filename}" if error.filename else ""
    return MirgError(f"{error.strerror or type(error).__name__}{where}", hint=hints.get(error.errno or 0, ""))


def _version(wanted: bool) -> None:
    if wanted:
        say(f"mirg {mirg.__version__}")
        raise typer.Exit()


app = typer.Typer(
    cls=LazyGroup,
    name="mirg",
    no_args_is_help=True,
    # Locals in a traceback may hold keys and prompts.
    pretty_exceptions_show_locals=False,
    help="Multi-image reasoning and grounding: data, trajectories, SFT, image-aware GRPO, evaluation, report.",
)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _placeholder() -> None:
    """Listed by ``--help``; :class:`LazyGroup` puts the real command in its place before it is parsed."""


for _name, (_, _, _about) in COMMANDS.items():
    app.command(_name, help=_about)(_placeholder)


if __name__ == "__main__":
    app()

"""``mirg app``: a page in the browser on which people ask a model about their own images."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated

import typer

from mirg.cli.measured import (
    CROP_PIXELS,
    AnswerInstructions,
    CropPixels,
    Device,
    Dtype,
    Family,
    KeyEnv,
    Looks,
    look_budget,
)
from mirg.console import log_to_console, say
from mirg.errors import ConfigError

if TYPE_CHECKING:
    from mirg.app.session import Model
    from mirg.engines.base import Engine
    from mirg.serve.limits import ServeLimits

_NAMED = (
    "A run folder, a model folder, a model name, or the http(s) address of an OpenAI-compatible server (URL#MODEL)."
)


def app(
    model: Annotated[str, typer.Argument(help=_NAMED)] = "mirg-tiny",
    against: Annotated[str | None, typer.Option(help="A second model, whose answer is shown beside the first.")] = None,
    save: Annotated[Path, typer.Option(help="The dataset folder of the samples that are saved.")] = Path("app-dataset"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of 127.0.0.1; 0 takes a free one.")] = 7860,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer in tokens.")] = 512,
    max_megapixels: Annotated[float, typer.Option(min=0.01, help="Pixels of one image; all together: twice.")] = 25,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds until a model must have answered.")] = 300,
    looks: Looks = 0,
    crop_pixels: CropPixels = CROP_PIXELS,
    instructions: AnswerInstructions = None,
    family: Family = None,
    device: Device = None,
    dtype: Dtype = None,
    key_env: KeyEnv = None,
) -> None:
    """Open a page in the browser: drop images, ask, see the reasoning and the boxes.

    It listens on 127.0.0.1 only. Interrupt it to stop.
    """
    check_packages()
    from mirg.app.session import Model
    from mirg.serve.limits import ServeLimits
    from mirg.serve.server import listen, served_name

    pixels = round(max_megapixels * 1e6)
    limits = ServeLimits(
        body_bytes=64 * 2**20,
        images=8,
        image_pixels=pixels,
        pixels=2 * pixels,
        text=4000,
        new_tokens=max_new_tokens,
        answer_seconds=timeout,
    )
    listening = listen(port)  # before the models are loaded, which takes long
    models, look = [], look_budget(looks, crop_pixels)
    for name in [model] if against is None else [model, against]:
        engine = _load(name, family, device, dtype, key_env)
        models.append(Model(engine, served_name(engine), limits, instructions=instructions, look=look))
    remote = [name.partition("#")[0] for name in (model, against or "") if _is_address(name)]
    run_page(
        models, limits, save, listening, f"Images and questions are sent to {' and '.join(remote)}." if remote else ""
    )


def check_packages() -> None:
    """ConfigError if a package of the extra is not installed, before a model is loaded."""
    for package in ("fastapi", "uvicorn", "gradio"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"'mirg app' needs the package '{package}', which is not installed", hint="pip install 'mirg[app]'"
            )


def run_page(models: Sequence[Model], limits: ServeLimits, save: Path, listening: socket, note: str) -> None:
    """Serve the page until a signal stops it, and remove what was uploaded."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="mirg-app-") as folder:
        # Gradio reads these when it is imported. It must send nothing, and uploads go to a folder that is removed.
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(Path(folder) / "uploads")}
        from mirg.app.page import Page, create_app
        from mirg.serve.server import HOST, make_server

        log_to_console()
        page = Page(models, limits, save=save, folder=Path(folder), note=note)
        say(f"open http://{HOST}:{listening.getsockname()[1]} in a browser; interrupt to stop")
        make_server(create_app(page), limits).run(sockets=[listening])


def _is_address(model: str) -> bool:
    return model.startswith(("http://", "https://"))


def _load(model: str, family: str | None, device: str | None, dtype: str | None, key_env: str | None) -> Engine:
    """The engine of a model of this machine, or of the model behind an address."""
    from mirg.engines.load import Remote, load_engine

    if not _is_address(model):
        return load_engine(model, family=family, device=device, dtype=dtype)
    url, _, name = model.partition("#")
    return load_engine(name or _only_model(url, key_env), family=family, remote=Remote(url, key_env))


def _only_model(url: str, key_env: str | None) -> str:
    from mirg.engines.endpoint import checked_url, key_from_environment
    from mirg.engines.remote import served_models

    url = checked_url(url)
    names = list(served_models(url, key_from_environment(key_env, url)))
    if len(names) != 1:
        found = f"serves {len(names)} models: {', '.join(names[:10])}" if names else "does not list a model"
        raise ConfigError(f"{url} {found}", hint=f"name the model: {url}#MODEL")
    return names[0]

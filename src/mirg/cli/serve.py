"""``mirg serve``: a model of this machine behind an OpenAI-compatible address."""

from __future__ import annotations

from typing import Annotated

import typer

from mirg.cli.measured import CROP_PIXELS, CropPixels, Looks, look_budget
from mirg.console import log_to_console, say
from mirg.errors import ConfigError


def serve(
    model: Annotated[str, typer.Argument(help="A run folder, a model folder, or a model name.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of 127.0.0.1; 0 takes a free one.")] = 8000,
    name: Annotated[str | None, typer.Option(help="Name of the model for clients. Default: its folder's.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest completion that may be asked for.")] = 2048,
    max_prompt_tokens: Annotated[int, typer.Option(min=1, help="Longest prompt, images included.")] = 32_768,
    max_images: Annotated[int, typer.Option(min=0, help="Images of one request.")] = 32,
    max_megapixels: Annotated[
        float, typer.Option(min=0.01, help="Pixels of one image; all of one request: twice.")
    ] = 25,
    max_body_mib: Annotated[int, typer.Option(min=1, max=1024, help="Size of one request.")] = 32,
    queue: Annotated[int, typer.Option(min=1, help="Requests that may wait; more are answered 429.")] = 128,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds until a request must be answered.")] = 300,
    batch_size: Annotated[int, typer.Option(min=1, help="Waiting requests per forward pass.")] = 8,
    max_pixels: Annotated[int | None, typer.Option(min=1, help="Pixels of an image as the model sees it.")] = None,
    looks: Looks = 0,
    crop_pixels: CropPixels = CROP_PIXELS,
    family: Annotated[str | None, typer.Option(help="Model family, if the model does not name it.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 …")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 …")] = None,
) -> None:
    """Serve a model on this machine, as an OpenAI-compatible chat endpoint with images.

    It listens on 127.0.0.1 only and needs no key. Interrupt it to stop.
    """
    try:
        from mirg.serve.limits import ServeLimits
        from mirg.serve.server import HOST, create_app, listen, make_server, served_name
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mirg"):
            raise
        raise ConfigError(
            f"'mirg serve' needs the package {error.name!r}, which is not installed", hint="pip install 'mirg[serve]'"
        ) from error
    from mirg.engines.load import load_engine
    from mirg.families import PixelLimits

    pixels = round(max_megapixels * 1e6)
    limits = ServeLimits(
        body_bytes=max_body_mib * 2**20,
        held_bytes=8 * max_body_mib * 2**20,
        images=max_images,
        image_pixels=pixels,
        pixels=2 * pixels,
        queue_pixels=8 * pixels,
        prompt_tokens=max_prompt_tokens,
        new_tokens=max_new_tokens,
        queue=queue,
        batch=batch_size,
        answer_seconds=timeout,
    )
    listening = listen(port)  # before the model is loaded, which takes long
    shown = None if max_pixels is None else PixelLimits(min(max_pixels, 56 * 56), max_pixels)
    engine = load_engine(model, family=family, device=device, dtype=dtype, limits=shown)
    log_to_console()
    app = create_app(engine, name=name, limits=limits, look=look_budget(looks, crop_pixels))
    say(f"{name or served_name(engine)} at http://{HOST}:{listening.getsockname()[1]}/v1")
    make_server(app, limits).run(sockets=[listening])

"""A server in a thread of the test's process, and requests as clients send them."""

from __future__ import annotations

import base64
import contextlib
import io
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image

from mirg.answers.looks import LookBudget
from mirg.engines.base import Engine
from mirg.serve.limits import ServeLimits
from mirg.serve.server import create_app, listen, make_server


@contextlib.contextmanager
def serving(
    engine: Engine, *, name: str | None = None, limits: ServeLimits | None = None, look: LookBudget | None = None
) -> Iterator[str]:
    """``http://127.0.0.1:PORT`` of a real server over ``engine``, gone when the block is left."""
    limits = limits or ServeLimits()
    with running(create_app(engine, name=name, limits=limits, look=look), limits) as address:
        yield address


@contextlib.contextmanager
def running(app: Any, limits: ServeLimits) -> Iterator[str]:
    """The same for an application."""
    listening = listen(0)
    server = make_server(app, limits)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive() and time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
        assert not thread.is_alive(), "the server did not stop"


def data_uri(image: Image.Image, kind: str = "PNG") -> str:
    """``image`` as it lies inside a request."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def as_openai(messages: Sequence[dict[str, Any]], images: Sequence[Image.Image]) -> list[dict[str, Any]]:
    """Messages of ``mirg.answers.prompts`` with their images inside, as OpenAI's clients send them."""
    left = iter(images)

    def part(one: dict[str, Any]) -> dict[str, Any]:
        if one["type"] == "image":
            return {"type": "image_url", "image_url": {"url": data_uri(next(left))}}
        return {"type": "text", "text": one["text"]}

    return [{"role": m["role"], "content": [part(one) for one in m["content"]]} for m in messages]

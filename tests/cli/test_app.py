"""``mirg app``: what is missing, and which model of a server is asked."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from typer.testing import CliRunner

from fakes.faulty_api import FaultyApi
from fakes.serving import running, serving
from fakes.typist import typist
from mirg.cli.app import _load, _only_model
from mirg.cli.main import app
from mirg.engines.base import Watched
from mirg.errors import ConfigError
from mirg.serve.limits import ServeLimits


def test_a_missing_package_is_named_before_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gradio" else known(name))
    result = CliRunner().invoke(app, ["app", "no-such-model"])
    assert result.exit_code == 2
    assert "'mirg app' needs the package 'gradio', which is not installed" in result.stderr
    assert "pip install 'mirg[app]'" in result.stderr


def test_the_only_model_of_a_server_is_asked() -> None:
    with serving(typist("folder/only")) as address:
        engine = _load(f"{address}/v1", None, None, None, None)
        assert (engine.name, engine.family.name) == ("only", "qwen3-vl")
        assert isinstance(engine, Watched)


def test_a_server_with_several_models_or_none_is_refused(api: FaultyApi) -> None:
    with pytest.raises(ConfigError, match="does not list a model") as error:
        _only_model(api.url, None)
    assert error.value.hint == f"name the model: {api.url}#MODEL"

    async def two(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b'{"data": [{"id": "a"}, {"id": "b"}]}'})
        elif scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})

    two.state = type("State", (), {"worker": type("Worker", (), {"close": staticmethod(lambda: None)})})  # type: ignore[attr-defined]
    with (
        running(two, ServeLimits()) as address,
        pytest.raises(ConfigError, match="serves 2 models: a, b"),
    ):
        _only_model(f"{address}/v1", None)

"""``mirg data difficulty``, ``mirg trajectories filter``, ``mirg serve``: from a command line to files and sockets."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.engines import ScriptedEngine
from fakes.faulty_api import FaultyApi
from fakes.measured import RIGHT, WRONG, contents, dice, write_reasoned
from mirg.engines.base import Engine
from mirg.samples import DatasetFolder
from mirg.serve.limits import ServeLimits

Mirg = Callable[..., Any]


@pytest.fixture
def engine_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Engine], list[dict[str, Any]]]:
    """``engine_of(engine)``: what the commands load; the list holds the requested arguments."""

    def put(engine: Engine) -> list[dict[str, Any]]:
        loaded: list[dict[str, Any]] = []

        def load(model: str, **options: Any) -> Engine:
            loaded.append({"model": model} | {k: v for k, v in options.items() if v is not None})
            return engine

        monkeypatch.setattr("mirg.engines.load.load_engine", load)
        return loaded

    return put


@pytest.fixture
def source(tmp_path: Path) -> DatasetFolder:
    return write_reasoned(tmp_path / "data", 10)


def test_difficulty(mirg: Mirg, engine_of: Any, source: DatasetFolder, tmp_path: Path) -> None:
    loaded = engine_of(dice(lambda name, j: j < int(name[1:]) % 5))
    result = mirg("data", "difficulty", source.root, tmp_path / "a", "--model", "runs/sft", "-k", 4, "--device", "cpu")
    assert result.exit_code == 0 and loaded == [{"model": "runs/sft", "device": "cpu"}]
    assert "10 rows: 10 written to" in result.stdout and "solved: 6 sometimes, 2 never, 2 always" in result.stdout
    assert " more (rejected.jsonl" not in result.stdout
    result = mirg("data", "difficulty", source.root, tmp_path / "b", "--model", "runs/sft", "-k", 4, "--json")
    told = json.loads(result.stdout)
    assert (told["rows"], told["reasons_kept"]) == (10, {"sometimes": 6, "never": 2, "always": 2})
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    filtered = mirg("data", "filter", tmp_path / "a", tmp_path / "c", "--pass-rate", "0.1,0.9")
    assert filtered.exit_code == 0 and len(DatasetFolder.open(tmp_path / "c")) == 6


def test_difficulty_goes_on(mirg: Mirg, engine_of: Any, source: DatasetFolder, tmp_path: Path) -> None:
    command = ("data", "difficulty", source.root, tmp_path / "out", "--model", "m", "--batch-size", 4)
    engine_of(dice(lambda name, j: True, die_after=2))
    assert mirg(*command).exit_code == 130
    engine = dice(lambda name, j: True)
    engine_of(engine)
    result = mirg(*command)
    assert result.exit_code == 0 and "10 rows, 8 of them measured before: 10 written" in result.stdout
    assert len(engine.asked) == 1


def test_filter(mirg: Mirg, engine_of: Any, source: DatasetFolder, tmp_path: Path) -> None:
    engine_of(ScriptedEngine(lambda r, s: RIGHT[16:] if r.prefix else (WRONG, RIGHT)[int(r.sample_id[1:]) % 2]))
    result = mirg("trajectories", "filter", source.root, tmp_path / "out", "--student", "runs/sft")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].endswith("(sample s01): trajectory: right without it: IoU 1.00 without the chain, 1.00 with it")
    assert lines[-3:] == ["kept: wrong to right 5", "left out: right without it 5", "0 rejected"]
    assert mirg("trajectories", "check", tmp_path / "out").exit_code == 0, "what is kept passes its checks still"
    told = json.loads(
        mirg(
            "trajectories", "filter", source.root, tmp_path / "o", "--student", "m", "--gain-right", 0.5, "--json"
        ).stdout
    )
    assert told["dropped"] == {"right without it": 5}


def test_filter_asks_an_endpoint(mirg: Mirg, api: FaultyApi, source: DatasetFolder, tmp_path: Path) -> None:
    """The chain is sent as the beginning of the answer, and the server continues it."""
    api.reply, api.keep_bodies = (lambda body: RIGHT[16:] if len(body["messages"]) > 1 else WRONG), True
    remote = ("--endpoint", api.url, "--family", "qwen3-vl", "--concurrency", 4)
    result = mirg("trajectories", "filter", source.root, tmp_path / "out", "--student", "m", *remote)
    assert result.exit_code == 0 and "kept: wrong to right 10" in result.stdout, result.output
    begun = [body["messages"][1]["content"] for body in api.bodies if body.get("continue_final_message")]
    assert len(begun) == 10 and all(text.startswith("<think>Target: red ring.") for text in begun)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("data", "difficulty", "{data}", "{out}", "--model", "m", "--temperature", "0"), "8 answers at temperature 0"),
        (("data", "difficulty", "{data}", "{data}", "--model", "m"), "exists already"),
        (("data", "difficulty", "{out}", "{data}", "--model", "m"), "is not a folder"),
        (("trajectories", "filter", "{data}", "{out}", "--student", "m", "--gain-wrong", "2"), "the gain where the"),
        (("trajectories", "filter", "{data}", "{data}", "--student", "m"), "exists already"),
    ],
)
def test_what_is_wrong_is_told_before_a_model_is_loaded(
    mirg: Mirg, engine_of: Any, source: DatasetFolder, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    loaded = engine_of(dice(lambda name, j: True))
    result = mirg(*(a.format(data=source.root, out=tmp_path / "out") for a in arguments))
    assert result.exit_code == 2 and words in result.stderr and loaded == []


def test_serve(mirg: Mirg, engine_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options become limits, the address is printed once there is a socket, and that socket is of this machine."""
    loaded = engine_of(ScriptedEngine(lambda request, settings: "", name="runs/sft/model"))
    served: list[tuple[Any, ServeLimits, list[Any]]] = []

    class Server:
        def __init__(self, app: Any, limits: ServeLimits) -> None:
            self.given = (app, limits)

        def run(self, sockets: list[Any]) -> None:
            served.append((*self.given, [made.getsockname() for made in sockets]))
            for made in sockets:
                made.close()

    monkeypatch.setattr("mirg.serve.server.make_server", Server)
    options = ("--port", 0, "--max-images", 4, "--max-megapixels", 2, "--timeout", 9, "--max-pixels", 100_000)
    result = mirg("serve", "runs/sft", *options)
    assert result.exit_code == 0, result.output
    ((_, limits, ((host, port),)),) = served
    assert host == "127.0.0.1" and result.stdout.strip() == f"sft at http://127.0.0.1:{port}/v1"
    assert (limits.images, limits.image_pixels, limits.pixels, limits.answer_seconds) == (4, 2_000_000, 4_000_000, 9)
    assert loaded[0]["limits"].max_pixels == 100_000


def test_a_port_in_use_is_told_before_the_model_is_loaded(mirg: Mirg, engine_of: Any) -> None:
    from mirg.serve.server import listen

    loaded = engine_of(ScriptedEngine(lambda request, settings: ""))
    with listen(0) as taken:
        result = mirg("serve", "m", "--port", taken.getsockname()[1])
    assert result.exit_code == 2 and "cannot listen on 127.0.0.1" in result.stderr and loaded == []


def test_a_missing_extra_is_named(mirg: Mirg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mirg.serve.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = mirg("serve", "m")
    assert result.exit_code == 2 and "needs the package 'uvicorn'" in result.stderr
    assert "pip install 'mirg[serve]'" in result.stderr

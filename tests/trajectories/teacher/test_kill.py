"""Promise 16: repeated kills with a faulty endpoint lose nothing, duplicate nothing, and exceed no limit."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fakes import teacher
from fakes.faulty_api import FAULTS, FaultyApi, Settings, serving
from mirg.samples import DatasetFolder

TESTS = Path(__file__).resolve().parents[2]


def start(src: DatasetFolder, ledger: Path, url: str, more: dict[str, Any]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fakes.teacher_run", str(src.root), str(ledger), url, json.dumps(more)]
    places = filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def count(path: Path, sql: str = "SELECT count(*) FROM requests") -> Any:
    if not path.exists():
        return 0
    with sqlite3.connect(path) as connection:
        try:
            return connection.execute(sql).fetchone()[0]
        except sqlite3.OperationalError:  # killed before the tables were there
            return 0


def killed_and_restarted(
    src: DatasetFolder, path: Path, api: FaultyApi, n: int, kills: int, more: dict[str, Any], sign: int = signal.SIGKILL
) -> str:
    """Kill the run at ``kills`` random places of its progress, then let it end; what the last one printed."""
    draw = random.Random(7)
    marks = sorted(draw.sample(range(n // 20, n - n // 20), kills))
    for mark in marks:
        process = start(src, path, api.url, more)
        while process.poll() is None and count(path) < mark:
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()[0]
        process.send_signal(sign)
        process.wait()
    process = start(src, path, api.url, more)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    return out


def check(src: DatasetFolder, tmp_path: Path, n: int, kills: int, faults: tuple[str, ...], concurrency: int) -> None:
    more = {
        "repair": False, "budget": {"requests": 4 * n, "tokens": 40_000 * n}, "sampling": {"max_tokens": 200},
        "limits": {"concurrency": concurrency, "timeout": 1.0, "tries": 30, "max_wait": 2.0},
    }  # fmt: skip
    path = tmp_path / "ledger.db"
    recipe = teacher.recipe("http://x/v1", repair=False)
    replies = {
        str(k): (teacher.wrong if k % 5 == 3 else teacher.good)(sample, recipe) for k, sample in enumerate(src.read())
    }
    api = FaultyApi(Settings(share=0.3, replies=replies, faults=faults, seed=3, latency=0.005))
    with serving(api):
        out = killed_and_restarted(src, path, api, n, kills, more)
    assert "missing 0" in out
    assert count(path) == n, "exactly n final records"
    assert count(path, "SELECT count(DISTINCT sample) FROM requests") == n
    assert count(path, "SELECT count(*) FROM outcomes") == n
    right = sum(k % 5 != 3 for k in range(n))
    assert count(path, "SELECT sum(accepted) FROM outcomes") == right
    late = "SELECT count(*) FROM attempts JOIN requests USING (hash) WHERE attempts.started > requests.finished"
    assert count(path, late) == 0, "an answer that reached the ledger was never asked for again"
    # What was on its way at a kill, or came after the timeout (on a busy machine), may come twice.
    twice = sum(times - 1 for times in api.counts.answered.values())
    nobody_knows = count(path, "SELECT count(*) FROM attempts WHERE tokens IS NULL AND cost IS NULL")
    assert len(api.counts.answered) == n and twice <= nobody_knows
    assert api.counts.most_in_flight <= concurrency + 1, "the connections of a killed process close a moment later"
    attempts = count(path, "SELECT count(*) FROM attempts")
    assert api.counts.requests <= attempts <= api.counts.requests + kills * concurrency
    assert attempts <= more["budget"]["requests"]
    spent = count(path, "SELECT sum(coalesce(tokens, reserved_tokens)) FROM attempts")
    assert api.counts.tokens <= spent <= more["budget"]["tokens"]


FAST_FAULTS = tuple(fault for fault in FAULTS if fault not in ("drip", "429 date"))


def test_killed_and_started_again(tmp_path: Path) -> None:
    src = teacher.dataset(tmp_path / "data", 80)
    check(src, tmp_path, n=80, kills=2, faults=FAST_FAULTS, concurrency=16)


@pytest.mark.slow
def test_ten_thousand_requests_and_twenty_kills(tmp_path: Path) -> None:
    src = teacher.dataset(tmp_path / "data", 10_000)
    check(src, tmp_path, n=10_000, kills=20, faults=FAULTS, concurrency=48)


def test_an_interrupt_waits_for_what_is_in_flight(tmp_path: Path) -> None:
    src = teacher.dataset(tmp_path / "data", 100)
    recipe = teacher.recipe("http://x/v1")
    replies = {str(k): teacher.good(sample, recipe) for k, sample in enumerate(src.read())}
    api = FaultyApi(Settings(replies=replies, latency=0.15))
    with serving(api):
        process = start(src, tmp_path / "l.db", api.url, {})
        while count(tmp_path / "l.db") < 10 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert process.returncode != 0 and "stopped by SIGTERM" in out
    assert count(tmp_path / "l.db") == sum(api.counts.answered.values()) < 100
    assert count(tmp_path / "l.db", "SELECT count(*) FROM attempts WHERE tokens IS NULL") == 0

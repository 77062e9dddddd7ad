"""The teacher's pipeline against a server that takes a fixed time: concurrent requests, and processor time per request.

The server runs in a separate process. The alternative, in the same run, is the bare client library: the same bodies
by as many coroutines, replies thrown away, nothing kept, limited or verified.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from fakes import teacher  # noqa: E402
from fakes.faulty_api import Settings  # noqa: E402
from mirg.engines.endpoint import Endpoint  # noqa: E402
from mirg.samples import DatasetFolder  # noqa: E402
from mirg.trajectories.teacher.ledger import Ledger  # noqa: E402
from mirg.trajectories.teacher.recipe import TeacherRecipe  # noqa: E402
from mirg.trajectories.teacher.requests import Digests, ImageCache  # noqa: E402
from mirg.trajectories.teacher.run import ask_teacher  # noqa: E402
from mirg.trajectories.teacher.work import RequestBuilder  # noqa: E402


class Server:
    """The endpoint as a process; ``counts`` is there after it was stopped."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        file = folder / "server.json"
        file.write_text(json.dumps(asdict(settings)), encoding="utf-8")
        command = [sys.executable, "-m", "fakes.faulty_api", str(file)]
        environment = os.environ | {"PYTHONPATH": str(TESTS)}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}/v1"

    def stop(self) -> dict[str, Any]:
        self._process.send_signal(signal.SIGTERM)
        out, _ = self._process.communicate(timeout=30)
        return json.loads(out.splitlines()[-1])


def replies(src: DatasetFolder, recipe: TeacherRecipe) -> dict[str, str]:
    return {str(k): teacher.good(sample, recipe) for k, sample in enumerate(src.read())}


def pipeline(src: DatasetFolder, recipe: TeacherRecipe, folder: Path) -> tuple[float, float]:
    """(seconds, processor seconds) of asking about the whole dataset, verification and ledger included."""
    with Ledger(folder / "ledger.db") as ledger:
        wall, cpu = time.perf_counter(), time.process_time()
        found = ask_teacher(src, recipe, ledger)
        spent = time.perf_counter() - wall, time.process_time() - cpu
    assert found.accepted == found.total, found
    return spent


def bare(src: DatasetFolder, recipe: TeacherRecipe) -> tuple[float, float]:
    """The same for only the client library; the bodies are made before."""
    desk, images = RequestBuilder(recipe, Digests(src)), ImageCache(src, recipe.images)
    bodies = [desk.first(sample)[0].body(images.uris(sample)) for sample in src.read(images="header")]

    async def all_of_them() -> tuple[float, float]:
        places = asyncio.Semaphore(recipe.limits.concurrency)
        endpoint = Endpoint(recipe.url, recipe.key(), recipe.limits)

        async def one(body: dict[str, Any]) -> None:
            async with places:
                await endpoint.ask(body)

        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*map(one, bodies))
        spent = time.perf_counter() - wall, time.process_time() - cpu
        await endpoint.close()
        return spent

    return asyncio.run(all_of_them())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=3840)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds that the server takes")
    parser.add_argument("--quick", action="store_true", help="384 requests")
    parser.add_argument("--json", type=Path, default=None)
    told = parser.parse_args()
    count = 384 if told.quick else told.requests
    measured = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        src = teacher.dataset(folder / "data", count, size=(320, 240))
        warm = teacher.dataset(folder / "warm", told.concurrency, size=(320, 240))
        for what in ("bare", "pipeline"):
            recipe = teacher.recipe("http://127.0.0.1/v1", limits={"concurrency": told.concurrency, "timeout": 60})
            server = Server(Settings(latency=told.latency, replies=replies(src, recipe)), folder)
            recipe = recipe.model_copy(update={"url": server.url})
            try:
                # Imports, connections and images are paid for once, however long a run is.
                (folder / f"warm-{what}").mkdir()
                pipeline(warm, recipe, folder / f"warm-{what}") if what == "pipeline" else bare(warm, recipe)
                wall, cpu = pipeline(src, recipe, folder) if what == "pipeline" else bare(src, recipe)
            finally:
                counts = server.stop()
            # Both ends of a run are short of work: the first replies are awaited, and the last ones.
            measured[what] = {
                "seconds": wall, "cpu_ms_per_request": 1000 * cpu / count,
                "in_flight": count * told.latency / wall, "most_in_flight": counts["most_in_flight"],
            }  # fmt: skip
    ours, theirs = measured["pipeline"], measured["bare"]
    result = {
        "ratio": ours["cpu_ms_per_request"] / theirs["cpu_ms_per_request"],
        "unit": "processor time per request, pipeline / bare client library",
        "ours": ours["cpu_ms_per_request"], "theirs": theirs["cpu_ms_per_request"], "n": count, "spread": None,
        "in_flight": ours["in_flight"], "wanted": {"in_flight": 60, "cpu_ms_per_request": 3.0},
        "measured": measured,
        "settings": {"concurrency": told.concurrency, "latency": told.latency, "images": 2},
        "machine": {"load_average": os.getloadavg()[0], "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), "openai": version("openai")},
    }  # fmt: skip
    print(
        f"{count} requests, {told.concurrency} at a time, {told.latency:g} s each: {ours['in_flight']:.1f} concurrent "
        f"on average, {ours['cpu_ms_per_request']:.2f} ms of processor time per request; the bare client "
        f"{theirs['in_flight']:.1f} and {theirs['cpu_ms_per_request']:.2f} ms: {result['ratio']:.2f} times as much"
    )
    if told.json:
        told.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

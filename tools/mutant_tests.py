"""Which tests execute a line, and running some of them in a fork of a process that has imported torch already.

Everything runs in snapshots of the working tree ("slots"), so that edits during a run of hours change nothing, a fault
in file handling hits a copy, and processes that tests start see the same code through PYTHONPATH.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
# As in tests/conftest.py, and before torch is imported. A fork must not inherit a pool of threads.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "NO_COLOR": "1",
    "COLUMNS": "120",
}
HEAVY = [
    *(
        "numpy",
        "scipy.optimize",
        "scipy.special",
        "PIL.Image",
        "pydantic",
        "yaml",
        "jinja2",
        "rich.table",
        "typer.testing",
    ),
    *("hypothesis", "_hypothesis_pytestplugin", "fastapi.testclient", "uvicorn", "openai", "httpx"),
    *("torch", "transformers", "tokenizers", "safetensors.torch", "accelerate", "peft", "datasets"),
    *("transformers.models.qwen2_5_vl.modeling_qwen2_5_vl", "transformers.models.qwen3_vl.modeling_qwen3_vl"),
    *("trl.trainer.sft_trainer", "trl.trainer.grpo_trainer"),
]
UNMAPPED = ("house", "tools", "benchmarks")  # tests of texts, of this folder, and of measurements: none guards the core
NEW_FILE = 0.5  # seconds, about what a further test file costs to import
MEMORY = 12 * 1024**3  # bytes of address space of a test process
CONTEXT = "MUTANTS_CONTEXT"


def preload() -> None:
    """Import what is slow and not of this repository."""
    os.environ.update(ENVIRONMENT)
    for name in HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    ours = [name for name in sys.modules if name.split(".")[0] == "mirg"]
    assert not ours, f"a mutant would not be imported: {ours}"


@dataclass
class Slot:
    """A snapshot of the working tree in ``folder``/tree, with room for temporary files beside it."""

    folder: Path
    moment: int = field(default=1_000_000_000)

    @property
    def tree(self) -> Path:
        """The root of the snapshot."""
        return self.folder / "tree"

    @property
    def temporary(self) -> Path:
        """Removed after every job."""
        return self.folder / "tmp"

    @property
    def log(self) -> Path:
        """What the last job wrote to its streams."""
        return self.folder / "log.txt"

    @property
    def answer(self) -> Path:
        """What the last job found, as JSON."""
        return self.folder / "answer.json"

    def fill(self) -> None:
        """Copy every file of the working tree that git does not ignore."""
        shutil.rmtree(self.folder, ignore_errors=True)
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.tree / name)

    @contextlib.contextmanager
    def changed(self, path: Path, content: bytes) -> Iterator[None]:
        """``path`` of the snapshot with another content, and a time that keeps it apart from compiled files."""
        original, stat = path.read_bytes(), path.stat()
        path.write_bytes(content)
        self.moment += 1
        os.utime(path, (self.moment, self.moment))
        try:
            yield
        finally:
            path.write_bytes(original)
            os.utime(path, (stat.st_atime, stat.st_mtime))

    def enter(self) -> None:
        """Make a forked process one that works in the slot: its folder, streams, paths and limits."""
        os.setsid()
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(parents=True)
        self.answer.unlink(missing_ok=True)
        os.chdir(self.tree)
        streams = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), os.open(os.devnull, os.O_RDONLY)
        os.dup2(streams[1], 0)
        os.dup2(streams[0], 1)
        os.dup2(streams[0], 2)
        source = str(self.tree / "src")
        os.environ |= {"PYTHONPATH": source, "TMPDIR": str(self.temporary)}
        tempfile.tempdir = None
        sys.path[:] = [source, *(entry for entry in sys.path if not entry.endswith(("/src", "/tools")))]
        sys.argv = ["pytest"]
        sys.modules["__main__"] = ModuleType("__main__")  # processes started by "spawn" would run the driver's file
        importlib.invalidate_caches()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


@dataclass
class Job:
    """Work for a forked process: ``work(slot)`` runs in it, ``done(answer, seconds, timed_out)`` here when it ends."""

    work: Callable[[Slot], Any]
    done: Callable[[Any, float, bool], None]
    limit: float  # seconds
    change: tuple[Path, bytes] | None = None  # a file of the snapshot, by its relative path, and its content meanwhile


def run_jobs(jobs: Iterable[Job], slots: Sequence[Slot]) -> None:
    """Run every job in a free slot. A job that takes longer than its limit is ended with everything it started."""
    waiting, running = iter(jobs), {}
    free, more = list(slots), True
    try:
        while running or more:
            while free and more:
                job = next(waiting, None)
                if job is None:
                    more = False
                else:
                    slot, open_files = free.pop(), contextlib.ExitStack()
                    if job.change:
                        open_files.enter_context(slot.changed(slot.tree / job.change[0], job.change[1]))
                    running[_fork(job, slot)] = (job, slot, open_files, time.monotonic())
            for process, (job, slot, open_files, start) in list(running.items()):
                ended, seconds = os.waitpid(process, os.WNOHANG)[0] != 0, time.monotonic() - start
                if not ended and seconds <= job.limit:
                    continue
                _end(process, wait=not ended)
                del running[process]
                open_files.close()
                answer = json.loads(slot.answer.read_text()) if ended and slot.answer.exists() else None
                job.done(answer, seconds, not ended)
                free.append(slot)
            time.sleep(0.02)
    finally:
        for process, (_, _, open_files, _) in running.items():
            _end(process, wait=True)
            open_files.close()


def _fork(job: Job, slot: Slot) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    try:
        slot.enter()
        answer = job.work(slot)
        partial = slot.answer.with_suffix(".part")
        partial.write_text(json.dumps(answer))
        partial.rename(slot.answer)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(0)


def _end(process: int, wait: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)
    if wait:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def run_tests(slot: Slot, rounds: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Run lists of tests, each in a fork, up to the first failure: ``{"by": the test that failed or None}``."""
    for number, tests in enumerate(rounds):
        failed = slot.folder / f"failed-{number}.txt"
        failed.unlink(missing_ok=True)
        process = os.fork()
        if not process:
            code = 70
            try:
                code = int(pytest.main(_arguments(slot, _files(tests)), plugins=[Chosen(tests, failed)]))
            finally:
                sys.stdout.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if code not in (0, 5):  # 5: a fault may give tests other names, which proves nothing
            return {"by": failed.read_text() if failed.exists() else f"exit {code} of {' '.join(_files(tests))}"}
    return {"by": None}


def _files(tests: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(test.split("::")[0] for test in tests))


def _arguments(slot: Slot, files: list[str]) -> list[str]:
    base = ["--basetemp", str(slot.temporary / "base"), "--rootdir", str(slot.tree)]
    return ["-q", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:faulthandler", *base, *files]


class Chosen:
    """A plug-in: only ``tests`` run, file by file in their order; the first failure is written down and ends it all."""

    def __init__(self, tests: Sequence[str], failed: Path) -> None:
        self._places = {test: place for place, test in enumerate(tests)}
        self._files = {file: place for place, file in enumerate(_files(tests))}
        self._failed = failed

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave the chosen ones."""
        chosen = [item for item in items if item.nodeid in self._places]
        items[:] = sorted(chosen, key=lambda item: (self._files[_files([item.nodeid])[0]], self._places[item.nodeid]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A failed test."""
        self._end(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A test file that cannot be imported is a failure too."""
        self._end(report)

    def _end(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed:
            print(report.longreprtext)
            self._failed.write_text(report.nodeid)
            sys.stdout.flush()
            os._exit(1)


# The map: which tests execute which line of the core.


class Traced:
    """A plug-in for a run under coverage: the test, or the shared fixture, that is at work is the context of a line."""

    def __init__(self, coverage: Any) -> None:
        self._coverage = coverage
        self._cached: dict[str, list[Any]] = {}
        self.tests: dict[str, dict[str, Any]] = {}
        self.fixtures: dict[str, float] = {}

    def _switch(self, context: str) -> None:
        self._coverage.switch_context(context)
        os.environ[CONTEXT] = context

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Results that functions keep are forgotten, or only the first test would execute them."""
        for name in [name for name in sys.modules if name.split(".")[0] == "mirg" and name not in self._cached]:
            values = list(vars(sys.modules[name]).values())
            self._cached[name] = [value for value in values if callable(getattr(value, "cache_clear", None))]
        for function in (function for functions in self._cached.values() for function in functions):
            function.cache_clear()
        self.tests[item.nodeid] = {"seconds": 0.0, "passed": True, "failed": False, "fixtures": []}
        self._switch(item.nodeid)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """What a fixture that several tests share executes counts for each of them."""
        if fixturedef.scope == "function":
            return (yield)
        before, start = os.environ.get(CONTEXT, ""), time.monotonic()
        name = f"fixture {fixturedef.argname}"
        self._switch(name)
        try:
            return (yield)
        finally:
            self.fixtures[name] = self.fixtures.get(name, 0.0) + time.monotonic() - start
            self._switch(before)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """The fixtures that the test used, also those that it asked for by name while it ran."""
        used = getattr(item, "_request", None)
        names = list(getattr(used, "_fixture_defs", {})) or list(getattr(item, "fixturenames", []))
        self.tests[item.nodeid]["fixtures"] = [f"fixture {name}" for name in names]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Times, and whether the test passed."""
        self.tests[report.nodeid]["seconds"] += report.duration
        self.tests[report.nodeid]["passed"] &= report.passed
        self.tests[report.nodeid]["failed"] |= report.failed


def trace(slot: Slot, test_file: str, sources: Sequence[str]) -> dict[str, Any]:
    """Run a test file under coverage, in this forked process: its tests and, for each source, the contexts of lines."""
    from coverage import Coverage, CoverageData

    settings, data = slot.temporary / "coveragerc", slot.temporary / "coverage" / "data"
    data.parent.mkdir()
    included = "\n  ".join(str(slot.tree / source) for source in sources)
    settings.write_text(
        f"[run]\ndata_file = {data}\nparallel = true\nsigterm = true\n"
        f"include =\n  {included}\ncontext = ${{{CONTEXT}-}}\n"
        "disable_warnings = no-data-collected, module-not-measured, module-not-imported, couldnt-parse, no-sysmon\n"
    )
    os.environ.pop(CONTEXT, None)
    coverage = Coverage(config_file=str(settings))
    plugin = Traced(coverage)
    coverage.start()
    os.environ["COVERAGE_PROCESS_START"] = str(settings)  # read by processes that tests start
    code = int(pytest.main(_arguments(slot, [test_file]), plugins=[plugin]))
    coverage.stop()
    coverage.save()
    lines: dict[str, dict[str, set[str]]] = {}
    for path in data.parent.iterdir():
        part = CoverageData(str(path))
        part.read()
        for file in part.measured_files():
            module = lines.setdefault(str(Path(file).relative_to(slot.tree)), {})
            for line, contexts in part.contexts_by_lineno(file).items():
                module.setdefault(str(line), set()).update(filter(None, contexts))
    contexts = sorted(plugin.tests.keys() | plugin.fixtures.keys())
    places = {context: place for place, context in enumerate(contexts)}
    numbered = {
        name: {line: sorted(places[one] for one in found if one in places) for line, found in module.items()}
        for name, module in lines.items()
    }
    found = {"tests": plugin.tests, "fixtures": plugin.fixtures, "contexts": contexts, "lines": numbered}
    return {"code": code, **found}


class TestMap:
    """What ``trace`` found about every test file, one JSON file for each, and the sources that it was found with.

    A test file whose text has changed since is traced again. The lines of a source that has changed are found by a
    comparison of the two texts; a line that is new takes the tests of the function that it is in.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sources = folder / "sources"
        self.parts: dict[str, dict[str, Any]] = {}

    def load(self, changed: bool = False, failed: bool = True) -> list[str]:
        """Read the parts of today's test files; returns those without one.

        ``changed``: outdated parts are taken too. ``failed``: parts with failed tests are taken too.
        """
        files = [path.relative_to(ROOT) for path in sorted((ROOT / "tests").rglob("test_*.py"))]
        missing = []
        for name in [str(path) for path in files if path.parts[1] not in UNMAPPED]:
            part = json.loads(self._path(name).read_text()) if self._path(name).exists() else None
            same = part and (changed or part["test_file"] == _digest((ROOT / name).read_bytes()))
            if part and same and (failed or part["code"] in (0, 5)):
                self.parts[name] = part
            else:
                missing.append(name)
        return missing

    def _path(self, name: str) -> Path:
        return self._folder / (name.removeprefix("tests/").replace("/", "-") + ".json")

    def add(self, name: str, slot_tree: Path, part: dict[str, Any]) -> None:
        """Keep a part, and the sources of its lines by their digest."""
        self._sources.mkdir(parents=True, exist_ok=True)
        digests = {}
        for file in part["lines"]:
            content = (slot_tree / file).read_bytes()
            digests[file] = _digest(content)
            if not (self._sources / digests[file]).exists():
                (self._sources / digests[file]).write_bytes(content)
        part = part | {"test_file": _digest((slot_tree / name).read_bytes()), "sources": digests}
        partial = self._path(name).with_suffix(".part")
        partial.write_text(json.dumps(part))
        partial.rename(self._path(name))
        self.parts[name] = part

    def broken(self) -> list[str]:
        """Tests that do not pass without any fault, and test files that did not run: they catch nothing."""
        tests = [test for part in self.parts.values() for test, found in part["tests"].items() if found["failed"]]
        return tests + [name for name, part in self.parts.items() if not part["tests"]]

    def seconds(self) -> dict[str, float]:
        """How long each test takes with what it needs set up. Tests that fail without a fault are left out."""
        found = {}
        for part in self.parts.values():
            for test, values in part["tests"].items():
                if values["passed"]:
                    shared = sum(part["fixtures"].get(name, 0.0) for name in values["fixtures"])
                    found[test] = values["seconds"] + shared
        return found

    def executing(self, file: str, first: int, last: int, scope: tuple[int, int]) -> set[str]:
        """The tests that execute a line of ``first`` to ``last``; ``scope`` is the function for lines that are new."""
        found: set[str] = set()
        current = (ROOT / file).read_text()
        for part in self.parts.values():
            if file not in part["lines"]:
                continue
            places = _same_lines((self._sources / part["sources"][file]).read_text(), current)
            lines = [places[line] for line in range(first, last + 1) if line in places]
            lines = lines or [places[line] for line in range(scope[0] + 1, scope[1] + 1) if line in places]
            for place in {place for line in lines for place in part["lines"][file].get(str(line), ())}:
                context = part["contexts"][place]
                if context.startswith("fixture "):
                    found |= {test for test, values in part["tests"].items() if context in values["fixtures"]}
                else:
                    found.add(context)
        return found


@cache
def _same_lines(old: str, new: str) -> dict[int, int]:
    """For lines of ``new`` that are in ``old`` too, their numbers there; both count from 1."""
    matcher = difflib.SequenceMatcher(None, old.splitlines(), new.splitlines(), autojunk=False)
    return {b + i + 1: a + i + 1 for a, b, size in matcher.get_matching_blocks() for i in range(size)}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


# Which of them run for a mutant.


def near(file: str, names: Iterable[str], tests: Iterable[str]) -> list[str]:
    """The tests in files that mirror the source file's place or speak of one of ``names``."""
    folder = Path(file).relative_to("src/mirg")
    mirrored = f"tests/{folder.parent}/" if folder.parent != Path() else f"tests/test_{folder.stem}.py"
    words = [re.compile(rf"\b{re.escape(name)}\b") for name in names]
    return [
        test
        for test in tests
        if test.startswith(mirrored) or any(word.search(_text(_files([test])[0])) for word in words)
    ]


@cache
def _text(test_file: str) -> str:
    return (ROOT / test_file).read_text()


def within(tests: Iterable[str], seconds: dict[str, float], budget: float) -> tuple[list[str], float]:
    """The fastest tests that fit into ``budget`` seconds, at least one, and the time that they take."""
    chosen: list[str] = []
    files: set[str] = set()
    total = 0.0
    for test in sorted(tests, key=lambda test: (seconds[test], test)):
        file = _files([test])[0]
        cost = seconds[test] + (0 if file in files else NEW_FILE)
        if chosen and total + cost > budget:
            continue
        chosen.append(test)
        files.add(file)
        total += cost
    return chosen, total

"""Plant single faults in the core and see whether the tests notice: ``make mutants``, for hours, or a part of it.

    python tools/mutants.py --map                        trace the tests whose files have changed since the last time
    python tools/mutants.py --sample 600 --seed 0        run a sample, and continue where an earlier run ended
    python tools/mutants.py --module mirg.geometry       all mutants of one module
    python tools/mutants.py --only 0a1b2c3d4e            one mutant: its diff, and what the tests say
    python tools/mutants.py --again --sample 600         run those again that no test noticed
    python tools/mutants.py --sample 600 --json docs/results/mutants.json

The map, the results and the snapshots that the tests run in are in ``--work`` (build/mutants), outside git. A mutant
that does the same as the code, or whose fault is accepted, has an entry with its reason in
tools/mutants_equivalent.toml.
docs/design/0012-mutants.md says how it works.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import hashlib
import importlib.metadata
import json
import platform
import re
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from mutant_operators import Mutant, mutants_of, parameters_of
from mutant_tests import ROOT, Job, Slot, TestMap, near, preload, run_jobs, run_tests, trace, within

CORE = [
    *("geometry.py", "families.py", "frames.py", "images.py", "storage.py", "locks.py", "config.py"),
    *("answers/*.py", "rewards/*.py", "samples/*.py"),
    *("models/packing.py", "models/sampling.py", "training/grpo.py", "training/launch.py"),
    *(
        "training/run.py",
        "evaluation/metrics.py",
        "evaluation/intervals.py",
        "evaluation/migbench/*.py",
    ),
    *("trajectories/checks.py", "trajectories/teacher/ledger.py", "engines/limits.py"),
]
REASONS = ROOT / "tools" / "mutants_equivalent.toml"
FIRST_ROUND = 20.0  # seconds of tests that are near the mutant, before all others
DEFAULT_SAMPLE = 600
LEAST_LIMIT = 90.0  # seconds for a mutant; the first of some tests trains a small model for all that follow
FEWEST = 4  # mutants of a module in a sample
TRACE_LIMIT = 1800.0  # seconds for one test file under coverage


def core() -> list[Mutant]:
    """Every mutant of the core, in the order of files and lines."""
    package = ROOT / "src" / "mirg"
    parameters = parameters_of([ast.parse(path.read_bytes()) for path in sorted(package.rglob("*.py"))])
    return [mutant for path in core_files() for mutant in mutants_of(_module(path), path.read_bytes(), parameters)]


def core_files() -> list[Path]:
    """The files that are mutated."""
    return [path for pattern in CORE for path in sorted((ROOT / "src" / "mirg").glob(pattern))]


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")


def file_of(module: str) -> str:
    """The file of a module, relative to the repository."""
    path = Path("src", *module.split("."))
    return str(path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py"))


def sample(mutants: list[Mutant], size: int, seed: int) -> list[Mutant]:
    """``size`` mutants: modules by their number of mutants, and within a module one operator after the other.

    The order within an operator is that of a hash of seed and key, so a sample hardly changes with an edit.
    """
    modules: dict[str, dict[str, list[Mutant]]] = defaultdict(lambda: defaultdict(list))
    for mutant in sorted(mutants, key=lambda mutant: _order(seed, mutant.id)):
        modules[mutant.module][mutant.operator].append(mutant)
    counts = {module: sum(map(len, operators.values())) for module, operators in modules.items()}
    shares = _shares(counts, min(size, len(mutants)))
    chosen: set[str] = set()
    for module, operators in modules.items():
        names = sorted(operators, key=lambda name: _order(seed, f"{module} {name}"))
        rounds = (
            operators[name][turn] for turn in range(counts[module]) for name in names if turn < len(operators[name])
        )
        chosen |= {mutant.id for mutant, _ in zip(rounds, range(shares[module]), strict=False)}
    return [mutant for mutant in mutants if mutant.id in chosen]


def _order(seed: int, text: str) -> str:
    return hashlib.sha256(f"{seed} {text}".encode()).hexdigest()


def _shares(counts: dict[str, int], size: int) -> dict[str, int]:
    """``size`` in proportion to ``counts``, but at least ``FEWEST`` of each if there are as many."""
    total = sum(counts.values())
    fewest = min(FEWEST, size // max(len(counts), 1))
    exact = {name: count * size / total for name, count in counts.items()}
    shares = {name: min(counts[name], max(int(exact[name]), fewest)) for name in counts}
    while sum(shares.values()) > size:
        shares[max(shares, key=lambda name: (shares[name] - exact[name], name))] -= 1
    while sum(shares.values()) < size:
        room = [name for name in counts if shares[name] < counts[name]]
        shares[max(room, key=lambda name: (exact[name] - shares[name], name))] += 1
    return shares


def diff(mutant: Mutant) -> list[str]:
    """The lines of a unified diff that differ."""
    file = file_of(mutant.module)
    source = (ROOT / file).read_bytes()
    old, new = source.decode().splitlines(), mutant.apply(source).decode().splitlines()
    return [line for line in difflib.unified_diff(old, new, n=0, lineterm="")][2:]


class Results:
    """The results of mutants, one JSON line each, the last one of a mutant counts while its file stays the same."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows: dict[str, dict[str, Any]] = {}
        for row in map(json.loads, lines):
            if row["source"] == _source_digest(row["module"]):
                self.rows[row["id"]] = row

    def add(self, mutant: Mutant, row: dict[str, Any]) -> None:
        """Append a result."""
        row = {"id": mutant.id, "module": mutant.module, "source": _source_digest(mutant.module), **row}
        self.rows[mutant.id] = row
        with self._path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")


def _source_digest(module: str) -> str:
    path = ROOT / file_of(module)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


def reasons() -> dict[str, dict[str, Any]]:
    """The entries of the committed table by the id of their mutant; each has ``kind`` and ``reason``."""
    table = tomllib.loads(REASONS.read_text()) if REASONS.exists() else {}
    found = {}
    for kind in ("equivalent", "accepted"):
        for entry in table.get(kind, []):
            key = [entry[name] for name in ("module", "function", "operator", "text", "change")]
            where = {"line": 0, "first": 0, "last": 0, "start": 0, "end": 0, "replacement": "", "imported": False}
            found[Mutant(*key, number=entry.get("number", 0), **where).id] = entry | {"kind": kind}
    return found


def entry(mutant: Mutant) -> str:
    """What identifies a mutant in the table, with a reason to fill in."""
    names = ("module", "function", "operator", "text", "change")
    lines = [
        f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in zip(names, mutant.key, strict=False)
    ]
    number = [f"number = {mutant.number}"] if mutant.number else []
    return "\n".join(["[[equivalent]]", *lines, *number, 'reason = ""'])


def update_map(tests: TestMap, slots: list[Slot], wanted: list[str], failed: bool = True) -> None:
    """Trace the test files that have changed; those that begin with one of ``wanted`` if there are any.

    ``failed`` says that a part of the map with failed tests is good enough.
    """
    stale = [name for name in tests.load(failed=failed) if not wanted or name.startswith(tuple(wanted))]

    sources = [str(path.relative_to(ROOT)) for path in core_files()]

    def job(number: int, name: str) -> Job:
        def done(answer: Any, seconds: float, timed_out: bool) -> None:
            failed = answer is None or answer["code"] not in (0, 5)
            print(
                f"[{number}/{len(stale)}] {name}: {seconds:.0f} s{', not all tests passed' if failed else ''}",
                flush=True,
            )
            if answer is not None:
                tests.add(name, slots[0].tree, answer)

        return Job(lambda slot: trace(slot, name, sources), done, TRACE_LIMIT)

    run_jobs((job(number, name) for number, name in enumerate(stale, 1)), slots)


class Choice(NamedTuple):
    """The tests of a mutant: lists to run in this order, and the seconds that they take."""

    rounds: list[list[str]]
    seconds: float
    left_out: int  # tests that did not fit into the budget
    traced: bool  # whether a test is known to execute the statement


class Plan:
    """Chooses the tests of a mutant."""

    def __init__(self, tests: TestMap, budget: float, unreliable: set[str]) -> None:
        self._map = tests
        self._budget = budget
        self._seconds = {
            test: seconds
            for test, seconds in tests.seconds().items()
            if test not in unreliable and test.split("::")[0] not in unreliable
        }
        self._functions: dict[str, list[tuple[str, int, int]]] = {}

    def choose(self, mutant: Mutant) -> Choice:
        """The fastest tests that execute the statement, those near it first."""
        file = file_of(mutant.module)
        functions = self._bodies(file)
        name = mutant.function.split(".")[-1]
        if mutant.imported:  # executed before any test: those that execute a function of the file, or name the thing
            statement = (ROOT / file).read_text().splitlines()[mutant.first - 1]
            name = re.sub(r"^\s*(async |def |class )*", "", statement)
            name = re.split(r"\W", name, maxsplit=1)[0]
            ranges = [(first, last) for _, first, last in functions]
        else:
            ranges = [(mutant.first, mutant.last)]
        scope = next(((f, e) for _, f, e in reversed(functions) if f <= mutant.line <= e), (0, 0))
        found = set().union(*(self._map.executing(file, *lines, scope) for lines in ranges))
        traced = bool(found)
        if mutant.imported or not traced:  # a process that was killed leaves no trace
            found |= set(near(file, [name], self._seconds))
        found &= self._seconds.keys()
        first, spent = within(near(file, [name], found), self._seconds, FIRST_ROUND) if found else ([], 0.0)
        rest = found.difference(first)
        second, more = within(rest, self._seconds, self._budget - spent) if rest else ([], 0.0)
        if first and spent + more > self._budget:  # "at least one" does not hold for the second round
            second, more = [], 0.0
        rounds = [sorted(tests, key=lambda test: (self._seconds[test], test)) for tests in (first, second) if tests]
        return Choice(rounds, spent + more, len(found) - len(first) - len(second), traced)

    def _bodies(self, file: str) -> list[tuple[str, int, int]]:
        if file not in self._functions:
            nodes = [
                node for node in ast.walk(ast.parse((ROOT / file).read_bytes())) if isinstance(node, ast.FunctionDef)
            ]
            self._functions[file] = [(node.name, node.body[0].lineno, node.end_lineno or node.lineno) for node in nodes]
        return self._functions[file]


def run_mutants(mutants: list[Mutant], plan: Plan, slots: list[Slot], results: Results, verbose: bool = False) -> None:
    """Run the tests of every mutant and keep what they say."""

    def job(number: int, mutant: Mutant) -> Job:
        choice = plan.choose(mutant)
        file = file_of(mutant.module)
        content = mutant.apply((ROOT / file).read_bytes())

        def done(answer: Any, seconds: float, timed_out: bool) -> None:
            if answer is None and not timed_out:
                print(f"{mutant.id}: the process ended without an answer; the log.txt of its slot says why", flush=True)
                return
            status = "timeout" if timed_out or answer is None else "caught" if answer["by"] else "survived"
            row = {
                "status": status,
                "by": answer and answer["by"],
                "seconds": round(seconds, 2),
                "left_out": choice.left_out,
            }
            results.add(mutant, row | {"tests": sum(map(len, choice.rounds)), "traced": choice.traced})
            place = f"{file}:{mutant.line} {mutant.operator}: {mutant.change}"
            print(f"[{number}/{len(mutants)}] {mutant.id} {status} {seconds:.1f} s {place}", flush=True)

        limit = LEAST_LIMIT + 4 * choice.seconds
        return Job(lambda slot: run_tests(slot, choice.rounds), done, limit, (Path(file), content))

    run_jobs((job(number, mutant) for number, mutant in enumerate(mutants, 1)), slots)
    if verbose:
        print(slots[0].log.read_text())


def unreliable_tests(results: Results, ids: set[str], slots: list[Slot], known: dict[str, bool]) -> set[str]:
    """Those of the tests which noticed a fault that fail without one too, if they run by themselves."""
    noticed = {results.rows[name]["by"] for name in ids if name in results.rows}
    by = {test for test in noticed if test and test.startswith("tests/")}  # a test, or a file that cannot be imported

    def job(tests: list[str]) -> Job:
        def done(answer: Any, seconds: float, timed_out: bool) -> None:
            failed = answer["by"] if answer else tests[0]
            if failed is None:
                known.update(dict.fromkeys(tests, True))
            else:  # those after it have not run
                known.update(dict.fromkeys([failed] if failed in tests else tests, False))

        return Job(lambda slot: run_tests(slot, [tests]), done, 600)

    while open_ones := sorted(by - known.keys()):
        files: dict[str, list[str]] = defaultdict(list)
        for test in open_ones:
            files[test.split("::")[0]].append(test)
        run_jobs((job(tests) for tests in files.values()), slots)
    return {test for test in by if not known[test]}


STATES = ("caught", "timeout", "survived", "equivalent")


def status_of(mutant: Mutant, results: Results, entries: dict[str, dict[str, Any]]) -> str | None:
    """One of ``STATES``, or None if it has not run."""
    if entries.get(mutant.id, {}).get("kind") == "equivalent":
        return "equivalent"
    row = results.rows.get(mutant.id)
    return row["status"] if row else None


def summary(mutants: list[Mutant], results: Results, entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Counts in all, by module and by operator, and every survivor."""
    tables: dict[str, dict[str, Counter[str]]] = {"modules": defaultdict(Counter), "operators": defaultdict(Counter)}
    survivors = []
    for mutant in mutants:
        status = status_of(mutant, results, entries)
        if status is None:
            continue
        tables["modules"][mutant.module][status] += 1
        tables["operators"][mutant.operator][status] += 1
        if status == "survived":
            row = results.rows[mutant.id]
            survivors.append(
                {"id": mutant.id, "file": file_of(mutant.module), "line": mutant.line, "function": mutant.function}
                | {
                    "operator": mutant.operator,
                    "diff": diff(mutant),
                    "tests": row["tests"],
                    "left_out": row["left_out"],
                    "traced": row["traced"],
                }
                | {"reason": entries.get(mutant.id, {}).get("reason")}
            )
    total = sum(tables["modules"].values(), Counter())
    rows = {name: {key: _row(counts) for key, counts in sorted(table.items())} for name, table in tables.items()}
    return {"all": _row(total), **rows, "survivors": survivors}


def _row(counts: Counter[str]) -> dict[str, Any]:
    noticed = counts["caught"] + counts["timeout"]
    judged = noticed + counts["survived"]
    return {state: counts[state] for state in STATES} | {
        "percent": round(100 * noticed / judged, 1) if judged else None
    }


def show(found: dict[str, Any]) -> None:
    """The table by module, and every survivor."""
    for one in found["survivors"]:
        few = f", {one['left_out']} more did not fit" if one["left_out"] else ""
        print(f"\n{one['id']} {one['file']}:{one['line']} in {one['function']} ({one['operator']})")
        print("\n".join(f"    {line}" for line in one["diff"] if not line.startswith("@@")))
        known = "" if one["traced"] else "; none is known to execute it"
        print(f"    {one['tests']} tests passed{few}{known}")
        if one["reason"]:
            print(f"    accepted: {one['reason']}")
    print(f"\n{'module':36}{''.join(f'{state:>12}' for state in STATES)}{'percent':>10}")
    for name, row in [*found["modules"].items(), ("all", found["all"])]:
        percent = "" if row["percent"] is None else f"{row['percent']:.1f}"
        print(f"{name:36}{''.join(f'{row[state]:>12}' for state in STATES)}{percent:>10}")


def write_json(path: Path, found: dict[str, Any], arguments: argparse.Namespace, seconds: float) -> None:
    """The committed result."""
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    packages = ("torch", "transformers", "trl", "numpy", "pillow", "pydantic", "hypothesis", "pytest")
    head = {
        "command": " ".join(["python tools/mutants.py", *sys.argv[1:]]),
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "seed": arguments.seed,
        "budget_seconds": arguments.budget,
        "test_seconds": round(seconds),
    }
    path.write_text(json.dumps(head | found, indent=1) + "\n")


def main() -> None:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, help="how many mutants; by default 600, or all of --module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--module", action="append", default=[], help="only modules that begin with this")
    parser.add_argument("--only", help="the id of one mutant")
    parser.add_argument("--entry", help="print the entry of a mutant, by its id, for tools/mutants_equivalent.toml")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    parser.add_argument("--again", action="store_true", help="run survivors again")
    parser.add_argument(
        "--map", nargs="*", metavar="TESTS", help="only trace test files that changed or failed, under these folders"
    )
    parser.add_argument("--keep-map", action="store_true", help="use the map unchanged")
    parser.add_argument("--report", action="store_true", help="show what is known and run nothing")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of tests for one mutant")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "mutants")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    work: Path = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    tests = TestMap(work / "map")
    (work / "map").mkdir(exist_ok=True)
    slots = [Slot(work / f"slot{number}") for number in range(1 if arguments.only else arguments.jobs)]

    if arguments.map is not None:
        _start(slots)
        update_map(tests, slots, arguments.map, failed=False)
        print("tests that fail without a fault, which are not used:", *tests.broken() or ["none"], sep="\n  ")
        return

    every = core()
    if arguments.entry:
        print("\n".join(entry(mutant) for mutant in every if mutant.id == arguments.entry))
        return
    chosen = _chosen(every, arguments)
    entries = reasons()
    for name in sorted(entries.keys() - {mutant.id for mutant in every}):
        print(f"tools/mutants_equivalent.toml: no mutant for {entries[name]['text']!r}, {entries[name]['change']!r}")
    if arguments.list:
        for mutant in chosen:
            print(f"{mutant.id} {file_of(mutant.module)}:{mutant.line} {mutant.operator}: {mutant.change}")
        return

    results = Results(work / "results.jsonl")
    if not arguments.report:
        _run(chosen, arguments, tests, slots, results, entries)
    if arguments.only:
        return
    found = summary(chosen, results, entries)
    show(found)
    if arguments.json:
        seconds = sum(results.rows[mutant.id]["seconds"] for mutant in chosen if mutant.id in results.rows)
        write_json(arguments.json, found, arguments, seconds)


def _start(slots: list[Slot]) -> None:
    for slot in slots:
        slot.fill()
    preload()


def _chosen(every: list[Mutant], arguments: argparse.Namespace) -> list[Mutant]:
    if arguments.only:
        chosen = [mutant for mutant in every if mutant.id == arguments.only]
        if not chosen:
            sys.exit(f"no mutant {arguments.only}: --list shows those of today's code")
        print("\n".join(diff(chosen[0])))
        return chosen
    every = [mutant for mutant in every if mutant.module.startswith(tuple(arguments.module or ["mirg"]))]
    size = arguments.sample or (len(every) if arguments.module else DEFAULT_SAMPLE)
    return sample(every, size, arguments.seed)


def _run(
    chosen: list[Mutant], arguments: argparse.Namespace, tests: TestMap, slots: list[Slot], results: Results,
    entries: dict[str, dict[str, Any]],
) -> None:  # fmt: skip
    """Run what has no result yet, until every test that noticed a fault is known to pass without one."""
    _start(slots)
    if arguments.keep_map:
        tests.load(changed=True)
    else:
        update_map(tests, slots, [])

    def open_ones() -> list[Mutant]:
        states = {mutant.id: status_of(mutant, results, entries) for mutant in chosen}
        return [mutant for mutant in chosen if states[mutant.id] is None or (again and states[mutant.id] == "survived")]

    again = arguments.again
    todo = chosen if arguments.only else open_ones()
    again = False
    known: dict[str, bool] = {}
    unreliable: set[str] = set()
    while todo:
        run_mutants(todo, Plan(tests, arguments.budget, unreliable), slots, results, verbose=bool(arguments.only))
        unreliable |= unreliable_tests(results, {mutant.id for mutant in todo}, slots, known)
        todo = [mutant for mutant in todo if results.rows.get(mutant.id, {}).get("by") in unreliable]
        if todo:
            print(f"{len(todo)} were noticed only by tests that fail without a fault too: again without these tests")


if __name__ == "__main__":
    main()

"""The published benchmarks that ``mirg evaluate MODEL --bench NAME --root DIR`` runs with one command.

What a benchmark is: :mod:`mirg.evaluation.bench`. A new one is one more file, and a line of :data:`BENCHES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from mirg.errors import ConfigError, MirgError, did_you_mean
from mirg.evaluation.bench import Bench, BenchOptions, Opened
from mirg.evaluation.choices import bench as choices
from mirg.evaluation.choices.sets import SETS
from mirg.evaluation.compare import Evaluation
from mirg.evaluation.migbench import bench as migbench
from mirg.evaluation.runner import Plan
from mirg.evaluation.store import BENCH_FILE
from mirg.report.data import TaskTable
from mirg.storage import read_json

BENCHES: dict[str, Bench] = {
    "migbench": migbench.bench(revised=False),
    "migbench-revised": migbench.bench(revised=True),
    **{name: choices.bench(name) for name in SETS},
}


def bench_of(name: str) -> Bench:
    """The benchmark called ``name``; :class:`ConfigError` with the nearest name if it is unknown."""
    if name in BENCHES:
        return BENCHES[name]
    hint = f"{did_you_mean(name.casefold(), BENCHES, cutoff=0.4)}known: {', '.join(BENCHES)}"
    raise ConfigError(f"no benchmark {name!r}", hint=hint)


def open_bench(name: str, plan: Plan, *, root: Path | None, **options: Any) -> Opened:
    """Open a benchmark with the :class:`BenchOptions` ``options``; ``plan`` says which tasks are wanted.

    Raises:
        ConfigError: There is no such benchmark, no root is given, or the benchmark does not have one of the options.
        DataError: Its files are missing or damaged.
    """
    bench = bench_of(name)
    if root is None:
        raise ConfigError(
            f"--bench {name} needs --root",
            hint=f"the folder with {bench.needs}{f', or {bench.hub}' if bench.hub else ''}",
        )
    given = BenchOptions(root, **options)
    for one in fields(BenchOptions):
        if one.name != "root" and one.name not in bench.uses and getattr(given, one.name) != one.default:
            known = ", ".join(f"--{other}" for other in sorted(bench.uses)) or "none"
            raise ConfigError(f"the benchmark {name} has no option --{one.name}", hint=f"its options: {known}")
    if not root.is_dir() and not bench.hub:
        raise ConfigError(f"{root} is not a folder", hint=f"--root is the folder with {bench.needs}")
    return bench.open(given, plan)


def page_tables(evaluated: Sequence[Evaluation]) -> tuple[TaskTable, ...]:
    """The tables of published benchmarks on the page of these evaluations; none if there are no such evaluations."""
    found: dict[str, dict[str, Any]] = {}
    for evaluation in evaluated:
        with suppress(MirgError):  # most evaluations have no such file
            content = read_json(evaluation.folder / BENCH_FILE)
            if isinstance(content, dict) and content.get("bench") in BENCHES:
                found.setdefault(content["bench"], {})[evaluation.name] = content
    return tuple(table for name, blocks in found.items() for table in BENCHES[name].page(blocks))

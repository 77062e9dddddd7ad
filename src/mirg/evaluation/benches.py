"""Published benchmarks that ``mirg evaluate MODEL --bench NAME --root DIR`` runs with one command.

A benchmark is one line of :data:`BENCHES`. Its ``open`` function gets the options and the plan of the command line,
reads and checks everything that needs no model (annotations, images), and returns an :class:`Opened`, whose ``run``
evaluates an engine into a folder. That folder is one of :func:`mirg.evaluation.runner.evaluate`, which does the work:
``run`` passes it the items as a dataset folder (kept in ``OUT/data``, where the page finds the images) and, if the
items are asked in other words than those of mirg, a :class:`mirg.evaluation.batches.PromptForm` in ``plan.prompt``.
Records, resuming, refused items and endpoints then work as in every evaluation. The tables of the benchmark go to
``OUT/bench.json`` through :func:`write_tables`; ``show`` prints them and ``page`` shows them on the page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from mirg.engines.base import Engine
from mirg.errors import ConfigError, did_you_mean
from mirg.evaluation.choices.bench import OpenedChoices
from mirg.evaluation.choices.sets import SETS, ChoiceSet
from mirg.evaluation.runner import Plan, Progress
from mirg.evaluation.store import BENCH_FILE
from mirg.families import PixelLimits
from mirg.report.data import TaskTable
from mirg.storage import write_json_atomic


@dataclass(frozen=True)
class BenchOptions:
    """What the command line says about a benchmark. None, or no value: the default of the benchmark.

    ``root`` is the folder that was downloaded; ``annotations`` the file of the items, if it is not in there;
    ``prompts`` and ``mode`` are words of the benchmark; ``against`` are folders of other evaluations to compare with.
    """

    root: Path
    annotations: Path | None = None
    prompts: str | None = None
    mode: str | None = None
    against: Sequence[Path] | None = None


class Opened(Protocol):
    """A benchmark whose files were read and checked.

    ``limits`` are the pixel limits that the benchmark prescribes, by the name of the model family; a family without an
    entry keeps those of its processor.
    """

    limits: Mapping[str, PixelLimits]

    def run(self, engine: Engine, out: Path, plan: Plan, progress: Progress | None) -> dict[str, Any]:
        """Evaluate ``engine`` into the folder ``out`` and return the summary, with the tables of it under ``bench``."""
        ...

    def show(self, summary: Mapping[str, Any]) -> None:
        """Print what ``run`` returned."""
        ...


class Bench(NamedTuple):
    """One benchmark: what ``--root`` must contain, how it is opened, and its tables on a page.

    ``hub`` is its name on the Hugging Face Hub if ``--root`` may be that instead of a folder. ``uses`` are the names of
    the :class:`BenchOptions` that it has besides ``root``. ``page`` gets the contents of ``bench.json`` by the name of
    the evaluation.
    """

    needs: str
    open: Callable[[BenchOptions, Plan], Opened]
    page: Callable[[Mapping[str, Mapping[str, Any]]], tuple[TaskTable, ...]]
    uses: frozenset[str] = frozenset()
    hub: str = ""


def _choices(name: str, wanted: ChoiceSet) -> Bench:
    """A multiple-choice benchmark; its records have no boxes, so they have tables of their own on a page."""
    return Bench(
        needs=f"the files of {wanted.hub}",
        open=lambda options, plan: OpenedChoices(name, options.root, options.prompts, options.against),
        page=lambda contents: (),
        uses=frozenset({"prompts", "against"}),
        hub=wanted.hub,
    )


BENCHES: dict[str, Bench] = {name: _choices(name, wanted) for name, wanted in SETS.items()}


def bench_of(name: str) -> Bench:
    """The benchmark called ``name``; :class:`ConfigError` with the nearest name if there is none."""
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


def write_tables(out: Path, name: str, tables: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``OUT/bench.json``: the tables of the benchmark ``name``, and its name under ``bench``."""
    content = {"bench": name, **tables}
    write_json_atomic(out / BENCH_FILE, content)
    return content

"""What a published benchmark is: the interface between ``mirg evaluate --bench`` and the folder of each benchmark.

A benchmark is one line of :data:`mirg.evaluation.benches.BENCHES`. Its ``open`` function gets the options and the plan
of the command line, reads and checks everything that needs no model (annotations, images), and returns an
:class:`Opened`, whose ``run`` evaluates an engine into a folder. That folder is one of
:func:`mirg.evaluation.runner.evaluate`, which does the work: ``run`` passes it the items as a dataset folder (kept in
``OUT/data``, where the page finds the images) and, if the items are asked in other words than those of mirg, a
:class:`mirg.evaluation.batches.PromptForm` in ``plan.prompt``.
Records, resuming, refused items and endpoints then work as in every evaluation. The tables of the benchmark go to
``OUT/bench.json`` through :func:`write_tables`; ``show`` prints them and ``page`` shows them on the page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from mirg.engines.base import Engine
from mirg.evaluation.runner import Plan, Progress
from mirg.evaluation.store import BENCH_FILE
from mirg.families import PixelLimits
from mirg.report.data import TaskTable
from mirg.samples import Sample
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
    against: Sequence[Path] = ()


class Opened(Protocol):
    """A benchmark whose files were read and checked."""

    @property
    def limits(self) -> Mapping[str, PixelLimits]:
        """The pixel limits that are prescribed, by the name of the model family; others keep those of the processor."""
        ...

    def samples(self) -> Sequence[Sample]:
        """What the engine will be asked, with the sizes of the images, for which vLLM reserves memory."""
        ...

    def run(self, engine: Engine, out: Path, plan: Plan, progress: Progress | None) -> dict[str, Any]:
        """Evaluate ``engine`` into the folder ``out`` and return the summary, with the tables of it under ``bench``."""
        ...

    def show(self, summary: Mapping[str, Any]) -> None:
        """Print what ``run`` returned."""
        ...


class Bench(NamedTuple):
    """One benchmark: what ``--root`` must contain, how it is opened, and its tables on a page.

    ``uses`` are the names of the :class:`BenchOptions` that it has besides ``root``. ``page`` gets the contents of
    ``bench.json`` by the name of the evaluation. ``hub`` is a name on the Hugging Face Hub, if ``--root`` may be a name
    instead of a folder.
    """

    needs: str
    open: Callable[[BenchOptions, Plan], Opened]
    page: Callable[[Mapping[str, Mapping[str, Any]]], tuple[TaskTable, ...]]
    uses: frozenset[str] = frozenset()
    hub: str = ""


def write_tables(out: Path, name: str, tables: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``OUT/bench.json``: the tables of the benchmark ``name``, and its name under ``bench``."""
    content = {"bench": name, **tables}
    write_json_atomic(out / BENCH_FILE, content)
    return content

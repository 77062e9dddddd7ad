"""The tables of MIG-Bench as people see them: in the terminal and on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mirg.console import say, table, warn
from mirg.data.importers.migbench import PAPER_NAMES
from mirg.evaluation.migbench.grouping import GROUPED
from mirg.evaluation.migbench.summary import COLUMNS, PROTOCOLS
from mirg.report.data import Column, Interval, TableRow, TaskTable

FOUR = f"mean of {', '.join(PAPER_NAMES[task] for task in PAPER_NAMES if task in GROUPED)}"
_MEANS = {"mean": "mean of tasks", "mean_of_four": FOUR}
_MEANINGS = {
    "official": "As the published numbers are made: the image that an answer names does not matter.",
    "strict": "The box must be in the image that the answer names, and the answer must name it.",
    "strict-box": "As strict, but the answer to a question that names its image need not name it.",
}

Block = Mapping[str, Any]


def show(result: Block, own: str = "these responses") -> None:
    """Print what :func:`mirg.evaluation.migbench.summary.summarise` gives; ``own`` names what was scored."""
    used = [protocol for protocol in PROTOCOLS if protocol in result]
    for protocol in used:
        _show_protocol(result, protocol)
    if "official" in used:
        _show_published(result, own)
    for other in result.get("against", []):
        for protocol in used:
            _show_difference(other, protocol)
    _show_oddities(result)


def _show_protocol(result: Block, protocol: str) -> None:
    found = result[protocol]
    changed = f" with the stretch of {result['stretch']}" if protocol == "official" and "stretch" in result else ""
    rows = [[row["name"], str(row["items"]), *_cells(row)] for row in found["tasks"].values()]
    items = {
        "mean": result["items"],
        "mean_of_four": sum(found["tasks"][t]["items"] for t in GROUPED if t in found["tasks"]),
    }
    rows += [[title, str(items[key]), *_cells(found[key])] for key, title in _MEANS.items() if key in found]
    columns = ["task", "items", "Acc@0.3", "Acc@0.5, 95 % interval", "Acc@0.7", "mean IoU"]
    columns += ["image accuracy"] if protocol != "official" else []
    table(f"{result['benchmark']}, {protocol}{changed}, percent", columns, rows)


def _cells(row: Block) -> list[str]:
    low, high = row["intervals"]["acc@0.5"]
    cells = [f"{row[column]:.2f}" for column in (*COLUMNS, "image_accuracy") if column in row]
    cells[1] += f" [{low:.1f}, {high:.1f}]"
    return cells


def _show_published(result: Block, own: str) -> None:
    """The published rows of the same version. Only the official protocol compares with them."""
    scored = result["official"]
    rows = []
    for row in result["published"]:
        tasks = [f"{value:.2f}" for value in row["tasks"]] or [""] * len(PAPER_NAMES)
        rows.append([row["model"], *tasks, f"{row['mean']:.2f}", row["source"]])
    cells = [f"{scored['tasks'][task]['acc@0.5']:.2f}" if task in scored["tasks"] else "" for task in PAPER_NAMES]
    own += f", stretched as {result['stretch']}'s" if "stretch" in result else ""
    rows.append([own, *cells, f"{scored['mean']['acc@0.5']:.2f}", ""])
    table(f"published for {result['benchmark']}, Acc@0.5", ["model", *PAPER_NAMES.values(), "mean", "source"], rows)

    if len(scored["tasks"]) < len(PAPER_NAMES):
        words = f"the mean is over {len(scored['tasks'])} of {len(PAPER_NAMES)} tasks"
        warn(f"{words}: it does not compare with published means")


def _show_difference(other: Block, protocol: str) -> None:
    found = other[protocol]
    parts = {PAPER_NAMES[task]: cell for task, cell in found["tasks"].items()}
    parts |= {title: found[key] for key, title in _MEANS.items() if key in found}
    rows = [[name, f"{cell['a']:.2f}", f"{cell['b']:.2f}", _signed(cell)] for name, cell in parts.items()]
    title = f"{protocol}: Acc@0.5 against {other['responses']}, {other['items']} items of both"
    table(title, ["task", "other", "this", "difference, 95 % interval; * excludes 0"], rows)


def _signed(cell: Block) -> str:
    mark = " *" if cell["low"] > 0 or cell["high"] < 0 else ""
    return f"{cell['mean']:+.2f} [{cell['low']:+.2f}, {cell['high']:+.2f}]{mark}"


def _show_oddities(result: Block) -> None:
    given = result["responses"]
    problems = {kind: count for kind, count in given["problems"].items() if count}
    say(f"{given['used']} of {result['items']} items have a response ({given['rows']} rows read).")
    if given["missing"]:
        warn(f"{given['missing']} items have no response and count as wrong (first: {given['missing_indices'][:5]})")
    if problems:
        counted = ", ".join(f"{count} {kind}" for kind, count in problems.items())
        first = given["problem_rows"][0]
        warn(f"rows not used: {counted}; first: row {first['row']}: {first['detail']}")
    if result["defects"]:
        say(f"{len(result['defects'])} defects of the annotations, scored all the same (see 'defects' in the summary).")
    if "strict" in result and result["strict"]["failures"]:
        reasons = result["strict"]["failure_reasons"]
        shown = ", ".join(f"{count} x {reason}" for reason, count in list(reasons.items())[:5])
        say(f"strict: {result['strict']['failures']} responses without a usable answer: {shown}")


def page(blocks: Mapping[str, Block]) -> tuple[TaskTable, ...]:
    """One table for each protocol; ``blocks`` by evaluation. The published rows are columns of the official one."""
    first = next(iter(blocks.values()))
    tables = {protocol: _table(blocks, protocol, first["benchmark"]) for protocol in PROTOCOLS if protocol in first}
    if "official" in tables:
        tables["official"] = _with_published(tables["official"], first["published"])
    return tuple(tables.values())


def _table(blocks: Mapping[str, Block], protocol: str, benchmark: str) -> TaskTable:
    found = {name: block[protocol] for name, block in blocks.items()}
    counts = {task: max(part["tasks"].get(task, {}).get("items", 0) for part in found.values()) for task in PAPER_NAMES}
    rows = [
        TableRow(
            PAPER_NAMES[task],
            n,
            {name: _interval(part["tasks"][task]) for name, part in found.items() if task in part["tasks"]},
        )
        for task, n in counts.items()
        if n
    ]
    items = {"mean": sum(counts.values()), "mean_of_four": sum(counts[task] for task in GROUPED)}
    for key, title in _MEANS.items():
        cells = {name: _interval(part[key]) for name, part in found.items() if key in part}
        rows += [TableRow(title, items[key], cells)] if cells else []
    column = Column(protocol, f"{benchmark}: {protocol}, Acc@0.5", _MEANINGS[protocol])
    return TaskTable(column, tuple(blocks), tuple(rows))


def _with_published(table: TaskTable, published: Sequence[Block]) -> TaskTable:
    names = list(PAPER_NAMES.values())
    rows = []
    for row in table.rows:
        cells = dict(row.cells)
        for one in published:
            values = dict(zip(names, one["tasks"], strict=False)) | {_MEANS["mean"]: one["mean"]}
            if row.name in values:
                cells[_published(one)] = Interval(values[row.name] / 100)
        rows.append(row._replace(cells=cells))
    sources = "; ".join(f"{row['model']}: {row['source']}" for row in published)
    column = table.column._replace(help=f"{table.column.help} Published rows: {sources}.")
    return TaskTable(column, (*table.models, *map(_published, published)), tuple(rows))


def _published(row: Block) -> str:
    return f"{row['model']} (published)"


def _interval(cell: Block) -> Interval:
    low, high = cell["intervals"]["acc@0.5"]
    return Interval(cell["acc@0.5"] / 100, low / 100, high / 100)

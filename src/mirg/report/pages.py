"""The pages of runs, of ``mirg data check`` and of a teacher, each one HTML file: no outside request, a strict CSP.

All templates extend ``base.html.j2``. ``report.js`` is the script of every page: theme, filters, keys, links to
samples and enlarged images. Cards are whole without it, and the browser skips those that are not near the window.

Model output and file names are untrusted. jinja2 escapes every value; the only raw parts are our own style sheet,
script and drawings (whose texts are escaped when they are made). The content security policy allows data-URI images
and exactly the one style sheet and the one script by their hashes, so that even a mistake here would run nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import mirg
from mirg.console import clean
from mirg.report import charts, tables
from mirg.report.cards import PER_OUTCOME, Card, build_cards, build_examples, build_frames, build_rollouts, cut, select
from mirg.report.data import BOX_OUTCOMES, OUTCOME_TITLES, Fact, Interval, Mark, Matrix, Picture, ReportData
from mirg.report.images import THUMBNAIL_PRESETS, ImageBudget, Thumbs
from mirg.storage import write_atomic

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
WIDE_FROM = 4  # more models than this, or twice as many columns, get a wider page
IMAGE_BUDGET = 5_500_000  # bytes of embedded images; with texts a page stays under 8 MB


def write_report(
    out: Path, data: ReportData, *, per_outcome: int = PER_OUTCOME, image_budget: int = IMAGE_BUDGET
) -> Path:
    """Write the page to ``out``, or to ``report.html`` in the folder ``out``, atomically, and return its path."""
    path = out / "report.html" if out.is_dir() else out
    write_atomic(path, render(data, per_outcome=per_outcome, image_budget=image_budget))
    return path


def render(data: ReportData, *, per_outcome: int = PER_OUTCOME, image_budget: int = IMAGE_BUDGET) -> str:
    """The page as text. At most ``per_outcome`` answers per model and outcome, ``image_budget`` bytes of images."""
    chosen = select(data.gallery, per_outcome)
    paths = list(dict.fromkeys(picture.path for item in chosen for picture in item.pictures))
    many = per_outcome > PER_OUTCOME
    budget = ImageBudget(image_budget, Thumbs.fitting(paths, image_budget).preset if many else THUMBNAIL_PRESETS[0])
    examples = build_examples(data.examples.items if data.examples else (), budget)
    groups = [
        (title, group.note, build_examples(group.items, budget))
        for title, group in (data.answers.groups if data.answers else ())
    ]
    cards = build_cards(chosen, budget)
    rollouts = [(rollouts, build_rollouts(rollouts.groups, budget)) for rollouts in data.rollouts]
    # The answers of all models to one sample stand together, in the order in which the items came.
    position = {id(item): place for place, item in enumerate(data.gallery)}
    first = {item.sample_id: position[id(item)] for item in reversed(data.gallery)}
    cards.sort(key=lambda card: (first[card.item.sample_id], position[id(card.item)]))
    shown = {card.item.model for card in cards}
    any_looks = any(card.item.looks for card in cards)
    total = max(data.n_answers, len(data.gallery))
    note = (
        f"{len(cards):,} of {total:,} answers: up to {per_outcome} for each model and outcome, spread over the tasks."
    )
    if len(chosen) > len(cards):
        note += f" {len(chosen) - len(cards):,} more were left out to keep this file small."
    histograms = data.failures.histograms if data.failures else ()
    return render_page(
        "report.html.j2",
        data=data,
        reload=data.reload,
        keys=bool(examples or groups or cards or any(groups for _, groups in rollouts)),
        wide=data.table is not None and (len(data.table.rows) > WIDE_FROM or len(data.table.columns) > 2 * WIDE_FROM),
        notes=data.notes,
        rollouts=rollouts,
        examples=examples,
        answer_groups=groups,
        matrices=tables.grids(data.failures.matrices) if data.failures else [],
        # One axis for all histograms, so that their bars can be compared.
        histogram_top=max((max(h.counts) / sum(h.counts) for h in histograms if sum(h.counts)), default=1.0),
        cards=cards,
        gallery_note=note,
        models=[model for model in dict.fromkeys(item.model for item in data.gallery) if model in shown],
        tasks=sorted({card.item.task for card in cards}),
        outcomes_shown={card.item.outcome for card in cards},
        has_boxes=data.outcome_columns == BOX_OUTCOMES,
        any_given=any(card.item.given for card in cards),
        any_looks=any_looks,
        style=asset("report.css") + (asset("looks.css") if any_looks else ""),
        examples_given=any(worked.example.answers[0].given for worked in examples),
        reach=lambda row: tables.difference_reach(list(row.cells.values())),
        sample_bar=markup(tables.interval_bar(Interval(0.55, 0.35, 0.75))),
    )


def render_page(template: str, *, style: str = "", script: str = "", **values: Any) -> str:
    """A page as text: ``template`` with ``values``, one style sheet and one script, ``report`` by default."""
    style, script = style or asset("report.css"), script or asset("report.js")
    csp = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    values = {"reload": 0, "wide": False, "keys": False} | values
    values |= {"version": mirg.__version__, "csp": csp, "style": markup(style), "script": markup(script)}
    return environment().get_template(template).render(values)


@lru_cache(maxsize=1)
def environment() -> Environment:
    """jinja2 with everything escaped, and the drawings that templates may ask for."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(loader=FileSystemLoader(TEMPLATES, encoding="utf-8"), autoescape=True, undefined=StrictUndefined)
    made.filters |= {"clean": clean, "cut": cut, "pairs": lambda values: [(value, value) for value in values]}
    drawings: list[Any] = [  # functions that return the text of an SVG
        *(tables.interval_bar, tables.difference_bar, tables.outcome_bar, tables.advantage_bar),
        *(charts.render_chart, charts.render_groups, charts.render_histogram),
    ]
    made.globals |= {draw.__name__: lambda *given, draw=draw: markup(draw(*given)) for draw in drawings}
    made.globals |= {
        "last_value": charts.last_value,
        "short": charts.short,
        "signed": tables.signed,
        "outcome_titles": OUTCOME_TITLES,
    }
    return made


def markup(text: str) -> Any:
    """Trusted text, which a template does not escape."""
    from markupsafe import Markup

    return Markup(text)


def asset(name: str) -> str:
    """A style sheet or script of the pages."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


Bars = Sequence[tuple[str, int]]
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "middle", "right")


class Line(NamedTuple):
    """One finding: its row in samples.jsonl, the sample, the field, what is wrong, and what to do."""

    row: int
    sample_id: str
    field: str
    reason: str
    hint: str = ""
    kind: str = ""


class Listing(NamedTuple):
    """``total`` findings, of which ``lines`` are shown; ``by`` counts them by kind."""

    total: int = 0
    by: Mapping[str, int] = {}
    lines: Sequence[Line] = ()


class SharedLine(NamedTuple):
    """An image of the dataset and the image of a benchmark that it equals or looks like."""

    sample_id: str
    image: int
    path: str
    other_id: str
    other_image: int
    other_path: str
    dataset: str
    how: str


class LengthView(NamedTuple):
    """Tokens of the samples for one family; ``bars`` are (tokens, samples)."""

    family: str
    p50: int
    p95: int
    most: int
    images: float  # share of all tokens
    too_long: int
    left_out: int
    longest: Sequence[tuple[int, str]]
    bars: Bars


class ShapeView(NamedTuple):
    """The images and targets of the samples of one task, or of all. ``cells`` are 3 x 3 counts of targets."""

    name: str
    samples: int
    hidden: int
    images: Bars
    targets: Bars
    target_image: Bars
    sizes: Bars
    cells: Sequence[Sequence[int]]


class CheckData(NamedTuple):
    """Everything on the page."""

    title: str
    subtitle: str
    failed: bool
    verdict: str
    facts: Sequence[Fact] = ()
    rejections: Listing = Listing()
    warnings: Listing = Listing()
    against: str = ""
    shared: Sequence[SharedLine] = ()
    shared_total: int = 0
    length_note: str = ""
    lengths: Sequence[LengthView] = ()
    shapes: Sequence[ShapeView] = ()


def write_check(path: Path, data: CheckData) -> Path:
    """Write the page to ``path``, atomically, and return it."""
    return write_atomic(path, render_check(data))


def render_check(data: CheckData) -> str:
    """The page as text."""
    return render_page(
        "check.html.j2",
        style=asset("report.css") + asset("check.css"),
        data=data,
        bars=lambda title, values: markup(charts.render_counts(title, values)),
        cells=lambda shape: tables.shade_grid(Matrix(shape.name, _ROWS, _COLUMNS, tuple(map(tuple, shape.cells)))),
    )


class Chain(NamedTuple):
    """One chain. ``check`` is "" if it was kept, else the first check that it failed; ``problems`` are all reasons.

    ``cited`` are the boxes of the thinking, ``predicted`` those of the answer; fractions, as everywhere.
    """

    sample_id: str
    task: str
    check: str
    problems: tuple[str, ...]
    question: str
    thinking: str
    answer: str
    pictures: tuple[Picture, ...]
    true: tuple[Mark, ...]
    predicted: tuple[Mark, ...]
    cited: tuple[Mark, ...]
    facts: tuple[str, ...] = ()


class TeacherPageData(NamedTuple):
    """Everything on the page. ``checks`` counts the refused samples by check, ``tasks`` is (kept, refused) by task."""

    title: str
    subtitle: str
    kept: int
    refused: int
    open: int
    checks: Mapping[str, int]
    meanings: Mapping[str, str]
    tasks: Mapping[str, tuple[int, int]]
    chains: Sequence[Chain]
    facts: Mapping[str, str]
    recipe: Mapping[str, str]


def write_teacher_page(path: Path, data: TeacherPageData, *, image_budget: int = IMAGE_BUDGET) -> Path:
    """Write the page, one file without outside requests of at most ``image_budget`` bytes of images; its path."""
    budget = ImageBudget(image_budget)
    shown = [
        Card(
            chain,
            build_frames(chain.pictures, chain.true, chain.cited, [("predicted", chain.predicted)], budget),
            budget.anchor(chain.sample_id),
        )
        for chain in data.chains
        if budget.take(chain.pictures)
    ]
    chains = [card.item for card in shown]
    html = render_page(
        "teacher.html.j2",
        data=data,
        keys=bool(shown),
        cards=shown,
        tasks_shown=sorted({chain.task for chain in chains}),
        checks_shown=[check for check in data.checks if any(chain.check == check for chain in chains)],
        any_kept=any(not chain.check for chain in chains),
    )
    return write_atomic(path, html)

"""One self-contained HTML file out of :class:`ReportData`: no outside request, everything escaped, a strict CSP.

Model output and file names are untrusted. jinja2 escapes every value; the only raw parts are our own style sheet,
script and drawings (whose texts are escaped when they are made). The content security policy allows data-URI images
and exactly the one style sheet and the one script by their hashes, so that even a mistake here would run nothing.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mirg
from mirg.console import clean
from mirg.report import charts, tables
from mirg.report.cards import PER_OUTCOME, Card, build_cards, build_examples, cut, select
from mirg.report.data import OUTCOME_TITLES, Chart, GalleryItem, GroupChart, Histogram, Interval, Outcomes, ReportData
from mirg.report.images import ImageBudget
from mirg.storage import write_atomic

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
IMAGE_BUDGET = 5_500_000  # bytes of embedded images; with texts a page stays under 8 MB


def write_report(out: Path, data: ReportData, *, per_outcome: int = PER_OUTCOME) -> Path:
    """Write the page to ``out``, or to ``report.html`` in the folder ``out``, atomically, and return its path."""
    path = out / "report.html" if out.is_dir() else out
    write_atomic(path, render(data, per_outcome=per_outcome))
    return path


def render(data: ReportData, *, per_outcome: int = PER_OUTCOME, image_budget: int = IMAGE_BUDGET) -> str:
    """The page as text. At most ``per_outcome`` answers per model and outcome, ``image_budget`` bytes of images."""
    budget = ImageBudget(image_budget)
    examples = build_examples(data.examples.items if data.examples else (), budget)
    cards, dropped = build_cards(select(data.gallery, per_outcome), budget)
    cards = _in_given_order(cards, data.gallery)
    differences = data.table.differences if data.table else ()
    return render_page(
        "report.html.j2",
        script=asset("report.js"),
        data=data,
        notes=data.notes,
        examples=examples,
        matrices=tables.grids(data.failures.matrices) if data.failures else [],
        histogram_top=_highest_share(data.failures.histograms) if data.failures else 1.0,
        cards=cards,
        images=budget.images,
        gallery_note=_gallery_note(len(cards), max(data.n_answers, len(data.gallery)), per_outcome, dropped),
        models=[model for model in _unique(i.model for i in data.gallery) if model in {c.item.model for c in cards}],
        tasks=sorted(_unique(card.item.task for card in cards)),
        outcomes_shown={card.item.outcome for card in cards},
        any_given=any(card.item.given for card in cards),
        examples_given=any(worked.answers[0].item.given for worked in examples),
        reaches=[tables.difference_reach(list(row.cells.values())) for row in differences],
        sample_bar=markup(tables.interval_bar(Interval(0.55, 0.35, 0.75))),
    )


def render_page(template: str, *, style: str = "", script: str = "", **values: Any) -> str:
    """A page as text: ``template`` with ``values``, one style sheet (``report.css`` by default) and one script."""
    style = style or asset("report.css")
    return (
        environment()
        .get_template(template)
        .render(
            version=mirg.__version__,
            csp=content_security_policy(style, script),
            style=markup(style),
            script=markup(script),
            **values,
        )
    )


def content_security_policy(style: str, script: str) -> str:
    """Nothing but data-URI images, this style sheet and this script."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


@lru_cache(maxsize=1)
def environment() -> Environment:
    """jinja2 with everything escaped, and the drawings that templates may ask for."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(loader=FileSystemLoader(TEMPLATES, encoding="utf-8"), autoescape=True, undefined=StrictUndefined)
    made.filters |= {"clean": clean, "cut": cut}
    helpers: dict[str, Any] = {
        "interval_bar": lambda value, chance=None: markup(tables.interval_bar(value, chance)),
        "difference_bar": lambda value, reach: markup(tables.difference_bar(value, reach)),
        "outcome_bar": _outcome_bar,
        "render_chart": _render_chart,
        "render_groups": _render_groups,
        "render_histogram": _render_histogram,
        "last_value": charts.last_value,
        "short": charts.short,
        "signed": tables.signed,
        "outcome_titles": OUTCOME_TITLES,
        "outcome_order": tables.OUTCOMES_BY_WORTH,
    }
    made.globals |= helpers
    return made


def _outcome_bar(outcomes: Outcomes) -> Any:
    return markup(tables.outcome_bar(outcomes))


def _render_chart(chart: Chart) -> Any:
    return markup(charts.render_chart(chart))


def _render_groups(chart: GroupChart) -> Any:
    return markup(charts.render_groups(chart))


def _render_histogram(histogram: Histogram, top: float) -> Any:
    return markup(charts.render_histogram(histogram, top))


def _highest_share(histograms: tuple[Histogram, ...]) -> float:
    """One axis for all histograms, so that their bars can be compared."""
    return max((max(h.counts) / sum(h.counts) for h in histograms if sum(h.counts)), default=1.0)


def markup(text: str) -> Any:
    """Trusted text, which a template does not escape."""
    from markupsafe import Markup

    return Markup(text)


def asset(name: str) -> str:
    """A style sheet or script of the pages."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _in_given_order(cards: list[Card], items: tuple[GalleryItem, ...]) -> list[Card]:
    """The answers of all models to one sample stand together, in the order in which the items came."""
    position = {id(item): place for place, item in enumerate(items)}
    first: dict[str, int] = {}
    for place, item in enumerate(items):
        first.setdefault(item.sample_id, place)
    return sorted(cards, key=lambda card: (first[card.item.sample_id], position[id(card.item)]))


def _gallery_note(shown: int, total: int, per_outcome: int, dropped: int) -> str:
    note = f"{shown:,} of {total:,} answers: up to {per_outcome} for each model and outcome, spread over the tasks."
    return f"{note} {dropped:,} more were left out to keep this file small." if dropped else note


def _unique(values: Any) -> list[str]:
    return list(dict.fromkeys(values))

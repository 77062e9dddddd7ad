"""The page of a teacher's run: what was kept, what was refused and why, what it cost, and chains with their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mirg
from mirg.report.cards import Frame, Layer, build_frames, cut
from mirg.report.data import Mark, Picture
from mirg.report.embed import ImageBudget
from mirg.report.page import IMAGE_BUDGET, asset, content_security_policy, environment, markup
from mirg.storage import write_atomic


@dataclass(frozen=True)
class Chain:
    """One chain. ``check`` is "" where it was kept, else the first check that it failed; ``problems`` are all reasons.

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


@dataclass(frozen=True)
class TeacherPageData:
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


@dataclass(frozen=True)
class _Shown:
    chain: Chain
    question: str
    thinking: str
    answer: str
    frames: tuple[Frame, ...]


def write_teacher_page(path: Path, data: TeacherPageData, *, image_budget: int = IMAGE_BUDGET) -> Path:
    """Write the page, one file without outside requests of at most ``image_budget`` bytes of images; its path."""
    style, script = asset("report.css"), asset("report.js")
    shelf = ImageBudget(image_budget)
    shown = [_shown(chain, shelf) for chain in data.chains if shelf.take(chain.pictures)]
    html = (
        environment()
        .get_template("teacher.html.j2")
        .render(
            data=data,
            version=mirg.__version__,
            csp=content_security_policy(style, script),
            style=markup(style),
            script=markup(script),
            cards=shown,
            images=shelf.images,
            tasks_shown=sorted({card.chain.task for card in shown}),
            checks_shown=[check for check in data.checks if any(card.chain.check == check for card in shown)],
            any_kept=any(not card.chain.check for card in shown),
        )
    )
    return write_atomic(path, html)


def _shown(chain: Chain, shelf: ImageBudget) -> _Shown:
    layers: list[Layer] = [("given", chain.cited), ("predicted", chain.predicted), ("true", chain.true)]
    return _Shown(
        chain=chain,
        question=cut(chain.question),
        thinking=cut(chain.thinking),
        answer=cut(chain.answer),
        frames=build_frames(chain.pictures, layers, shelf),
    )

r"""The ``official`` protocols of MIG-Bench: how the published numbers were made, weaknesses included.

The original version and the revised one (published with UniVG-R1) have one protocol each. Both are written from their
descriptions (``docs/how-to/score-migbench.md``) and held to them bit for bit by tests. Six spellings of a box are
tried in order and the first that occurs ANYWHERE in the response is used, the thinking included. As in Python's
``re``, digits and blanks are Unicode's; "decimals" carry a point in all four numbers; no spelling admits a sign.

The image index of a response is never looked at. For numbers that mean what they say use ``strict``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

Version = Literal["original", "revised"]
VERSIONS: tuple[Version, ...] = ("original", "revised")

_INT = r"(\d+)"
_DEC = r"(\d+\.\d+)"
_COMMA = r",\s*"
_BLANKS = r"\s+"


def _list(number: str, separator: str = _COMMA) -> str:
    return separator.join([number] * 4)


PATTERNS: tuple[re.Pattern[str], ...] = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\({_INT}{_COMMA}{_INT}\){_COMMA}\({_INT}{_COMMA}{_INT}\)",  # (12, 34), (56, 78)
        rf"\[{_list(_DEC)}\]",  # [0.1, 0.2, 0.3, 0.4]
        rf"\({_DEC},{_DEC}\),\({_DEC},{_DEC}\)",  # (0.1,0.2),(0.3,0.4)
        rf"\({_list(_DEC)}\)",  # (0.1, 0.2, 0.3, 0.4)
        rf"\[{_list(_INT)}\]",  # [12, 34, 56, 78]
        rf"<box>{_list(_INT, _BLANKS)}</box>",  # <box>12 34 56 78</box>
    )
)


def spelled_boxes(response: str) -> list[tuple[str, ...]]:
    """Every box in the first of the six spellings that occurs, as four texts each; empty if none occurs."""
    return next((found for pattern in PATTERNS if (found := pattern.findall(response))), [])


def extract_box(response: str, version: Version = "original") -> tuple[float, ...] | None:
    """The four numbers that the protocol scores, or None if it finds no box.

    ``original``: four coordinates that should be fractions. With one match, coordinates >= 1 are divided by 1000, one
    by one; with several, coordinates > 1 are, and the first box counts.

    ``revised``: four thousandths of the image. With several matches the last one is dropped, and the first counts. A
    box with decimals does not count.

    >>> extract_box("(0,1),(500,1000)")
    (0.0, 0.001, 0.5, 1.0)
    >>> extract_box("(0,1),(500,1000)", "revised")
    (0.0, 1.0, 500.0, 1000.0)
    """
    found = spelled_boxes(response)
    if not found:
        return None
    numbers = tuple(float(text) for text in found[0])
    if version == "revised":
        return None if any("." in text for text in found[0]) else numbers
    if len(found) == 1:
        return tuple(v / 1000 if v >= 1 else v for v in numbers)
    return tuple(v / 1000 if v > 1 else v for v in numbers)


def stretched(box: Sequence[float], version: Version) -> tuple[float, ...]:
    """The box as Migician's own scripts change it before they score it: y1 x 1.05 and y2 x 1.10.

    In thousandths (``revised``) the products are rounded down and at most 999. No other model's row has this.
    """
    x1, y1, x2, y2 = box[0], box[1] * 1.05, box[2], box[3] * 1.10
    if version == "original" or not all(math.isfinite(v) for v in (y1, y2)):
        return (x1, y1, x2, y2)
    return (x1, min(math.floor(y1), 999.0), x2, min(math.floor(y2), 999.0))


def overlap(true: Sequence[float], predicted: Sequence[float]) -> float:
    """Continuous IoU in the protocol's order of operations; 0/0, and any other undefined value, counts as 0."""
    left, top = max(true[0], predicted[0]), max(true[1], predicted[1])
    right, bottom = min(true[2], predicted[2]), min(true[3], predicted[3])
    if right < left or bottom < top:
        return 0.0
    shared = (right - left) * (bottom - top)
    area_true = (true[2] - true[0]) * (true[3] - true[1])
    area_predicted = (predicted[2] - predicted[0]) * (predicted[3] - predicted[1])
    union = area_true + area_predicted - shared
    value = shared / union if union != 0 else 0.0
    return value if math.isfinite(value) else 0.0  # digits by the hundred overflow to infinity


def score_response(
    response: str, answer: Sequence[float], version: Version = "original", *, stretch: bool = False
) -> float:
    """IoU of ``response`` with the annotated ``answer`` (fractions in both versions); 0 if no box is found.

    ``stretch`` applies :func:`stretched`, as the published rows of Migician do.
    """
    box = extract_box(response, version)
    if box is None:
        return 0.0
    truth = [float(round(1000.0 * v)) for v in answer] if version == "revised" else answer
    return overlap(truth, stretched(box, version) if stretch else box)

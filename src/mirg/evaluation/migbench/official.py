r"""The ``official`` protocol of MIG-Bench: how the published numbers were made, weaknesses included.

Written from its description (``docs/concepts/metrics.md``) and held to it bit for bit by tests. Six spellings of a box
are tried in order and the first that occurs ANYWHERE in the response is used, the thinking included. As in Python's
``re``, digits and blanks are Unicode's; "decimals" carry a point in all four numbers; no spelling admits a sign.

The image index of a response is never looked at. For numbers that mean what they say use ``strict``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

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


def extract_box(response: str) -> tuple[float, ...] | None:
    """The box the protocol scores, four coordinates that should be fractions; None if no spelling occurs.

    One match: coordinates >= 1 are divided by 1000, one by one. Several: coordinates > 1 are, and the first box counts.

    >>> extract_box("(0,1),(500,1000)")
    (0.0, 0.001, 0.5, 1.0)
    """
    for pattern in PATTERNS:
        found = pattern.findall(response)
        if found:
            numbers = [float(text) for text in found[0]]
            if len(found) == 1:
                return tuple(v / 1000 if v >= 1 else v for v in numbers)
            return tuple(v / 1000 if v > 1 else v for v in numbers)
    return None


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


def score_response(response: str, answer: Sequence[float]) -> float:
    """IoU of ``response`` with the annotated ``answer`` (fractions); 0 if no box is found."""
    box = extract_box(response)
    return 0.0 if box is None else overlap(answer, box)

"""The content of an answer block as numbers: both styles, every family's decorations, no knowledge of frames.

Text style: ``Image-2: (x1,y1),(x2,y2)``. JSON style: objects ``{"image": 2, "bbox_2d": [x1, y1, x2, y2]}``. No target:
``none`` or ``[]``. The rest is noise, and is said.
"""

from __future__ import annotations

from mirg.answers.json_style import parse_json
from mirg.answers.raw import RawAnswer, RawBox
from mirg.answers.text_style import parse_text

__all__ = ["RawAnswer", "RawBox", "parse"]


def parse(body: str) -> RawAnswer:
    """Read the content of an answer block; total, linear in the length."""
    body = _unfenced(body.strip())
    if not body:
        return RawAnswer((), "the answer is empty")
    if body.strip(" .\"'").lower() == "none":
        return RawAnswer(())
    if body[0] == "[" and not body.strip("[] \t\r\n") and body.count("[") == body.count("]") == 1:
        return RawAnswer((), json=True)
    if "{" in body or "｛" in body:
        found = parse_json(body)
        if found is not None:
            return found
    return parse_text(body)


def _unfenced(body: str) -> str:
    """``body`` without a Markdown code fence around it."""
    if not body.startswith("```"):
        return body
    first, _, rest = body[3:].partition("\n")
    inside = rest if first.strip().lower() in ("", "json", "text") else body[3:].removeprefix("json")
    return inside.removesuffix("```").strip()

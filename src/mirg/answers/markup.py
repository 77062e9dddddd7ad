"""Boxes inside texts: ``<box image=2>0.1,0.2,0.3,0.4</box>`` in fractions, and its spelling per model family.

``<look image=2>0.1,0.2,0.3,0.4</look>`` in a thinking is a look (:mod:`mirg.answers.looks`).

Questions and thinking keep the markup, so that one dataset serves every family; :func:`render` turns it into
numbers of a family's frame when a prompt or a completion is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from mirg.errors import AnswerError
from mirg.families import Family, PixelLimits
from mirg.frames import Size, swapped, to_frame
from mirg.geometry import Box, box_problem

Style = Literal["text", "json"]

Kind = Literal["box", "look"]
_LONGEST = 160  # characters between the two: an image number and four fractions; keeps the scan linear


def box_markup(image: int, box: Box) -> str:
    """Markup of a box in ``Image-{image}``; the fractions are written so that they are read back bit for bit.

    >>> box_markup(2, (0.1, 0.2, 0.3, 0.4))
    '<box image=2>0.1,0.2,0.3,0.4</box>'
    """
    return _markup("box", image, box)


def look_markup(image: int, box: Box) -> str:
    """Markup of a look at ``box`` of ``Image-{image}``, as :func:`box_markup`."""
    return _markup("look", image, box)


def _markup(kind: Kind, image: int, box: Box) -> str:
    return f"<{kind} image={image}>{','.join(repr(float(v)) for v in box)}</{kind}>"


def cited(text: str, kind: Kind = "box") -> list[tuple[int, Box]]:
    """Every well-formed piece of markup as (image number, box), in order. Never raises; see :func:`markup_problem`."""
    return [(found[0], found[1]) for _, _, found in _scan(text, kind) if found is not None]


def markup_problem(text: str, n_images: int) -> str | None:
    """Say what is wrong with the first bad piece of markup of a text about ``n_images`` images, or None."""
    return _problem(text, n_images, "box") or _problem(text, n_images, "look")


def _problem(text: str, n_images: int, kind: Kind) -> str | None:
    for start, _, found in _scan(text, kind):
        if found is None:
            problem = f"not <{kind} image=N>x1,y1,x2,y2</{kind}>"
        elif not 1 <= found[0] <= n_images:
            problem = f"Image-{found[0]} does not exist, there are {n_images} images"
        elif wrong := box_problem(found[1]):
            problem = f"the box is {wrong}"
        else:
            continue
        return f"markup at character {start}: {problem}"
    return None


def render(
    text: str, sizes: Sequence[Size], family: Family, limits: PixelLimits | None = None, style: Style | None = None
) -> str:
    """``text`` with its markup replaced by numbers of the family's frame.

    ``sizes`` are (width, height) in pixels of the original images, Image-1 first. The text style gives
    ``(40,80),(400,520)`` with the family's box tokens around it, the JSON style ``[40,80,400,520]``.
    Raises :class:`AnswerError` on broken markup, a missing image or an improper box.
    """
    problem = markup_problem(text, len(sizes))
    if problem:
        raise AnswerError(problem, hint="boxes are fractions of the original image, image numbers count from 1")

    def numbers(image: int, box: Box) -> Sequence[object]:
        return to_frame(box, sizes[image - 1], family, limits)

    text = replaced(text, lambda k, box: f"<look>{look_form(str(k), numbers(k, box), family, style)}</look>", "look")
    return replaced(text, lambda image, box: spell(numbers(image, box), family, style))


def replaced(text: str, words: Callable[[int, Box], str], kind: Kind = "box") -> str:
    """``text`` with every well-formed piece of markup replaced by what ``words(image number, box)`` says.

    >>> replaced("Find <box image=2>0.1,0.2,0.3,0.4</box> elsewhere.", lambda image, box: f"[box in Image-{image}]")
    'Find [box in Image-2] elsewhere.'
    """
    pieces, done = [], 0
    for start, end, found in _scan(text, kind):
        if found is not None:
            pieces += [text[done:start], words(*found)]
            done = end
    return "".join([*pieces, text[done:]])


def spell(numbers: Sequence[object], family: Family, style: Style | None = None) -> str:
    """Four numbers of a family's frame as the family writes them in running text, in its order of the axes."""
    x1, y1, x2, y2 = swapped(numbers) if family.axes == "yx" else numbers
    if (style or family.style) == "json":
        return f"[{x1},{y1},{x2},{y2}]"
    body = f"({x1},{y1}),({x2},{y2})" if family.brackets == "pairs" else f"[[{x1},{y1},{x2},{y2}]]"
    return f"{family.box_open}{body}{family.box_close}"


def look_form(image: str, numbers: Sequence[object], family: Family, style: Style | None = None) -> str:
    """What stands between the tags of a look: four ``numbers`` or names of numbers, x first."""
    if (style or family.style) == "text":
        return f"Image-{image}: {spell(numbers, family, 'text')}"
    corners = ", ".join(str(n) for n in (swapped(numbers) if family.axes == "yx" else numbers))
    return f'{{"image": {image}, "{family.box_key}": [{corners}]}}'


def _scan(text: str, kind: Kind) -> Iterator[tuple[int, int, tuple[int, Box] | None]]:
    """(start, end, content) of every piece of markup, left to right; content None if it is malformed."""
    opening, closing = f"<{kind} image=", f"</{kind}>"
    start = text.find(opening)
    while start >= 0:
        inside = start + len(opening)
        close = text.find(closing, inside, inside + _LONGEST)
        found = _parse(text[inside:close]) if close >= 0 else None
        end = close + len(closing) if found else inside
        yield start, end, found
        start = text.find(opening, end)


def _parse(content: str) -> tuple[int, Box] | None:
    image, separator, body = content.partition(">")
    values = body.split(",")
    if not separator or len(values) != 4 or not (image.isascii() and image.isdigit() and len(image) < 10):
        return None
    try:
        x1, y1, x2, y2 = (float(v) for v in values)
    except ValueError:
        return None
    return int(image), (x1, y1, x2, y2)

"""Boxes drawn on images: true ones green and solid, predicted ones orange and dashed, given ones blue and dotted.

The three differ in line style as well as in colour, and every line has a dark casing, so they can be distinguished by
every eye and on every background. Boxes are fractions of the image they belong to.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

from mirg.geometry import Box, box_problem, clip
from mirg.report.data import Mark

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

Kind = Literal["true", "predicted", "given"]
Point = tuple[float, float]

COLOURS: dict[Kind, str] = {"true": "#1fb877", "predicted": "#ff9500", "given": "#3d9bff"}
DASHES: dict[Kind, tuple[int, int] | None] = {"true": None, "predicted": (9, 6), "given": (2, 4)}  # on, off in pixels
CASING = "#101214"
TAG_HEIGHT = 24  # pixels
VIEW_SIDE = 384  # pixels a small image is blown up to at most; it stays a whole multiple, so pixels stay square
MAX_SIDE = 1024  # pixels a large image is shrunk to


class DrawnBox(NamedTuple):
    """A box in fractions of its image, how to draw it, and a short label (may be empty)."""

    box: Box
    kind: Kind
    label: str = ""


def drawable(box: Sequence[float]) -> Box | None:
    """The part of ``box`` inside the image, or None if nothing of it can be drawn."""
    if box_problem(box) in {"non-finite", "inverted", "empty"}:
        return None
    inside = clip(box)
    return None if box_problem(inside) else inside


def fit_for_viewing(image: Image.Image) -> Image.Image:
    """A small image enlarged by a whole factor without blur, a large one shrunk; others unchanged."""
    from PIL import Image

    longest = max(image.size)
    if longest > MAX_SIDE:
        scale = MAX_SIDE / longest
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        return image.resize(size, Image.Resampling.LANCZOS)
    factor = VIEW_SIDE // longest
    if factor < 2:
        return image
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def draw_boxes(image: Image.Image, boxes: Sequence[DrawnBox], *, tag: str = "") -> Image.Image:
    """A new RGB image for viewing: ``image`` fitted, the boxes drawn over it, ``tag`` (``Image-2``) above it.

    Boxes that cannot be drawn are left out; what hangs over the edge is cut.
    """
    from PIL import ImageDraw

    view = fit_for_viewing(image.convert("RGB"))
    view = view.copy() if view is image else view
    pen = ImageDraw.Draw(view)
    # The truth last: it is thinner than nothing, and a dashed line over a solid one would hide the solid one.
    for item in sorted(boxes, key=lambda b: ("given", "predicted", "true").index(b.kind)):
        inside = drawable(item.box)
        if inside is not None:
            _draw_box(pen, inside, item, view.size)
    return _with_tag(view, tag) if tag else view


def side_by_side(images: Sequence[Image.Image], gap: int = 12) -> Image.Image:
    """The images in one row, ``gap`` pixels apart and around, on a white strip as high as the highest."""
    from PIL import Image

    if not images:
        raise ValueError("side_by_side needs at least one image")
    width = sum(image.width for image in images) + gap * (len(images) + 1)
    strip = Image.new("RGB", (width, max(image.height for image in images) + 2 * gap), "#ffffff")
    left = gap
    for image in images:
        strip.paste(image, (left, gap))
        left += image.width + gap
    return strip


def draw_sample(
    images: Sequence[Image.Image],
    *,
    true: Sequence[Mark] = (),
    predicted: Sequence[Mark] = (),
    given: Sequence[Mark] = (),
) -> Image.Image:
    """All images of a sample side by side, tagged ``Image-1`` …, each with its own boxes."""
    kinds: tuple[tuple[Kind, Sequence[Mark]], ...] = (("true", true), ("predicted", predicted), ("given", given))
    drawn = []
    for number, image in enumerate(images, start=1):
        boxes = [DrawnBox(m.box, kind, m.label) for kind, marks in kinds for m in marks if m.image == number]
        drawn.append(draw_boxes(image, boxes, tag=f"Image-{number}"))
    return side_by_side(drawn)


def _draw_box(pen: ImageDraw.ImageDraw, box: Box, item: DrawnBox, size: tuple[int, int]) -> None:
    width = max(3, round(max(size) / 160))
    x1, y1 = box[0] * size[0], box[1] * size[1]
    x2, y2 = max(box[2] * size[0] - 1, x1 + 1), max(box[3] * size[1] - 1, y1 + 1)
    corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
    dash = DASHES[item.kind]
    for colour, thickness in ((CASING, width + 2), (COLOURS[item.kind], width)):
        for start, end in pairwise(corners):
            for a, b in _pieces(start, end, dash):
                pen.line([a, b], fill=colour, width=thickness)
    if item.label:
        _draw_label(pen, item, (x1, y1, y2), size)


def _pieces(start: Point, end: Point, dash: tuple[int, int] | None) -> list[tuple[Point, Point]]:
    """The segments of a dashed line; the whole line where ``dash`` is None."""
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    if dash is None or length == 0:
        return [(start, end)]

    def along(share: float) -> Point:
        return (start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share)

    on, off = dash
    pieces = []
    position = 0.0
    while position < length:
        pieces.append((along(position / length), along(min(position + on, length) / length)))
        position += on + off
    return pieces


def _draw_label(
    pen: ImageDraw.ImageDraw, item: DrawnBox, place: tuple[float, float, float], size: tuple[int, int]
) -> None:
    """Above the box if there is room, else below it, else inside; never off the image."""
    from mirg.console import one_line

    font = _font(13)
    text = one_line(item.label, 40)
    left, _, right, _ = pen.textbbox((0, 0), text, font=font)
    text_width, text_height = right - left + 8, 18
    x = min(max(place[0] - 1, 0), max(size[0] - text_width, 0))
    below = place[2] + 3
    y = place[1] - text_height - 2
    if y < 0:
        y = below if below + text_height <= size[1] else place[1] + 3
    pen.rectangle((x, y, x + text_width, y + text_height), fill=CASING)
    pen.text((x + 4, y + text_height / 2), text, fill=COLOURS[item.kind], font=font, anchor="lm")


def _with_tag(image: Image.Image, tag: str) -> Image.Image:
    from PIL import Image, ImageDraw

    framed = Image.new("RGB", (image.width, image.height + TAG_HEIGHT), "#ffffff")
    framed.paste(image, (0, TAG_HEIGHT))
    ImageDraw.Draw(framed).text((1, TAG_HEIGHT / 2 - 1), tag, fill="#1d2024", font=_font(15), anchor="lm")
    return framed


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)

"""The results of a Label Studio annotation: which of them are objects, and their boxes in fractions of the image."""

from __future__ import annotations

from typing import Any

from mirg.data.importers.annotated import Unusable, inside
from mirg.data.importers.raw import RawObject
from mirg.data.importers.rows import Refused, is_number, short

# Results that are no objects of the image: relations between them, and answers about the whole image or a region.
_NO_OBJECTS = {"relation", "textarea", "number", "rating", "datetime", "taxonomy", "pairwise", "ranker"}
_NAMING = ("labels", "choices")  # they name a region, or say something of the whole image


class Regions:
    """The results of one annotation; several of them are about one region if they share its id."""

    def __init__(self, results: list[dict[str, Any]]) -> None:
        self._shapes: set[str] = set()
        self._names: dict[tuple[str, str], list[str]] = {}
        for result in results:
            kind, region, value = result.get("type"), result.get("id"), result.get("value")
            if not isinstance(kind, str) or not isinstance(region, str) or not isinstance(value, dict):
                continue
            if kind in _NAMING:
                self._names.setdefault((kind, region), []).extend(_words(value, kind))
            elif kind not in _NO_OBJECTS:
                self._shapes.add(region)

    def object_of(self, result: dict[str, Any]) -> RawObject | Unusable | None:
        """The object of a result, None if it is about none. Refused if the image was rotated in the tool."""
        kind, value = result.get("type"), result.get("value")
        if isinstance(kind, str) and kind in _NO_OBJECTS:
            return None
        if not isinstance(kind, str) or not isinstance(value, dict):
            return Unusable("", "result without type and value")
        if kind in _NAMING and not self._is_shape(result, value):
            return None
        if result.get("image_rotation") or value.get("image_rotation"):
            raise Refused("image_rotation", "image was rotated in Label Studio", "set the rotation of the image to 0")
        labels = _words(value, kind) or self._named(result.get("id"))
        if len(labels) != 1:
            shown = f", {', '.join(labels)[:60]}" if labels else ""
            return Unusable("", f"result with {len(labels)} labels: {kind}{shown}", "give each object one label")
        if kind in ("rectanglelabels", "rectangle", "labels"):
            return _rectangle(labels[0], value)
        if kind in ("polygonlabels", "polygon"):
            return _polygon(labels[0], value)
        return Unusable(labels[0], f"result is not a box of an image: {kind}, {labels[0]!r}", "export rectangles")

    def _is_shape(self, result: dict[str, Any], value: dict[str, Any]) -> bool:
        """Whether labels or choices hold the only box of their region."""
        region = result.get("id")
        return "x" in value and not (isinstance(region, str) and region in self._shapes)

    def _named(self, region: object) -> list[str]:
        """The names that separate results give to a region: labels before choices."""
        if not isinstance(region, str):
            return []
        return next((found for kind in _NAMING if (found := self._names.get((kind, region)))), [])


def _words(value: dict[str, Any], kind: str) -> list[str]:
    words = value.get(kind)
    return [word.strip() for word in words if isinstance(word, str)] if isinstance(words, list) else []


def _rectangle(label: str, value: dict[str, Any]) -> RawObject | Unusable:
    numbers = [value.get(key) for key in ("x", "y", "width", "height")]
    if not all(is_number(number) for number in numbers):
        return Unusable(label, f"object without a box in numbers: {label!r}")
    turned = value.get("rotation", 0)
    if not is_number(turned) or turned % 360:
        return Unusable(label, f"object is rotated: {label!r}, {short(turned)} degrees", "draw it upright")
    x, y, width, height = (float(number) / 100 for number in numbers if number is not None)
    if width <= 0 or height <= 0:
        return Unusable(label, f"object without area: {label!r}")
    return RawObject(label, inside((x, y, x + width, y + height)))


def _polygon(label: str, value: dict[str, Any]) -> RawObject | Unusable:
    points = value.get("points")
    points = points if isinstance(points, list) else []
    if len(points) < 3 or not all(isinstance(p, list) and len(p) == 2 and all(map(is_number, p)) for p in points):
        return Unusable(label, f"object without points in numbers: {label!r}")
    xs, ys = [p[0] / 100 for p in points], [p[1] / 100 for p in points]
    if min(xs) == max(xs) or min(ys) == max(ys):
        return Unusable(label, f"object without area: {label!r}")
    return RawObject(label, inside((min(xs), min(ys), max(xs), max(ys))), {"shape": "polygon"})

"""The results of a Label Studio annotation: which of them are objects, and their boxes in fractions of the image."""

from __future__ import annotations

from typing import Any

from mirg.sources.annotated import Unusable
from mirg.sources.raw import RawObject
from mirg.sources.rows import Refused, is_number, short

# Results that are no objects of the image: relations between them, and answers about the whole image or a region.
_NO_OBJECTS = {"relation", "textarea", "number", "rating", "datetime", "taxonomy", "pairwise", "ranker"}
_NAMING = ("labels", "choices")  # they name a region, or say something of the whole image


def labels_by_region(results: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The names that results of their own give to the regions whose id they share: labels before choices."""
    found: dict[str, list[str]] = {}
    for kind in _NAMING:
        for result in results:
            region, value = result.get("id"), result.get("value")
            words = value.get(kind) if result.get("type") == kind and isinstance(value, dict) else None
            if isinstance(region, str) and isinstance(words, list):
                found.setdefault(f"{kind} {region}", []).extend(word for word in words if isinstance(word, str))
    return found


def _label(result: dict[str, Any], kind: str, value: dict[str, Any], named: dict[str, list[str]]) -> list[str]:
    """The labels of a result: its own, else those of its region."""
    own = value.get(kind)
    words = [word for word in own if isinstance(word, str)] if isinstance(own, list) else []
    of_region = [named.get(f"{naming} {result.get('id')}", []) for naming in _NAMING]
    return next((found for found in (words, *of_region) if found), [])


def object_of(result: dict[str, Any], named: dict[str, list[str]]) -> RawObject | Unusable | None:
    """The object of a result, None if it is about none."""
    kind, value = result.get("type"), result.get("value")
    if kind in _NO_OBJECTS or kind in _NAMING:
        return None
    if not isinstance(kind, str) or not isinstance(value, dict):
        return Unusable("", "result without type and value")
    if result.get("image_rotation") or value.get("image_rotation"):
        raise Refused("image_rotation", "image was rotated in Label Studio", "set the rotation of the image to 0")
    words = _label(result, kind, value, named)
    if len(words) != 1:
        return Unusable("", f"{kind} result with {len(words)} labels" + (f": {', '.join(words)[:60]}" if words else ""))
    if kind in ("rectanglelabels", "rectangle"):
        return _rectangle(words[0], value)
    if kind in ("polygonlabels", "polygon"):
        return _polygon(words[0], value)
    return Unusable(words[0], f"{kind} result, which is no box of an image", "export rectangles")


def _rectangle(label: str, value: dict[str, Any]) -> RawObject | Unusable:
    numbers = [value.get(key) for key in ("x", "y", "width", "height")]
    if not all(is_number(number) for number in numbers):
        return Unusable(label, f"object {label!r} has no box in numbers")
    turned = value.get("rotation", 0)
    if not is_number(turned) or turned % 360:
        return Unusable(label, f"object {label!r} is rotated by {short(turned)} degrees", "draw it upright")
    x, y, width, height = (float(number) / 100 for number in numbers if number is not None)
    if width <= 0 or height <= 0:
        return Unusable(label, f"object {label!r} has a box without area")
    return RawObject(label, (x, y, x + width, y + height))


def _polygon(label: str, value: dict[str, Any]) -> RawObject | Unusable:
    points = value.get("points")
    points = points if isinstance(points, list) else []
    if len(points) < 3 or not all(isinstance(p, list) and len(p) == 2 and all(map(is_number, p)) for p in points):
        return Unusable(label, f"object {label!r} has no points in numbers")
    xs, ys = [p[0] / 100 for p in points], [p[1] / 100 for p in points]
    if min(xs) == max(xs) or min(ys) == max(ys):
        return Unusable(label, f"object {label!r} has a polygon without area")
    return RawObject(label, (min(xs), min(ys), max(xs), max(ys)), {"shape": "polygon"})

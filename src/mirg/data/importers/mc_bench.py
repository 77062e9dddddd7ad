"""MC-Bench (arXiv 2410.12332): a text about a pair of images, and all its instances in either image, or in none.

``path`` is ``mc-bench_v0.2_val.json``: ``descriptions`` (id, images_id, text, positive_sample, text_style), ``images``
(id, text_id, inter_img_id, file_name, height, width) and ``annotations`` (image_id, text_id, category_id, bbox as
[x, y, width, height] in pixels). The list holds an image once for each text about it. A category is a group of
instances that belong together, "group 1" to "group 7", and no name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mirg.data.importers.raw import ImportOptions, Outcome, RawBox, RawImage, RawSample, Row, Source
from mirg.data.importers.rows import Refused, box_of, each, mapping, refusing, short, text_of, whole
from mirg.data.importers.stream import read_members
from mirg.errors import DataError
from mirg.samples import Relation

_MEMBERS = ("descriptions", "images", "annotations")
_RELATIONS: dict[str, Relation] = {"comparison": "same_category"}


def read(path: Path, options: ImportOptions) -> Iterator[Row]:
    """One row per text with its images and annotations. DataError if the file is not of MC-Bench."""
    seen: set[str] = set()
    found: dict[str, list[Any]] = {name: [] for name in _MEMBERS}
    for key, value in read_members(path):
        seen.add(key)
        if key in found:
            found[key].append(value)
    missing = set(_MEMBERS) - seen
    if missing:
        raise DataError(
            f"{path} has no {', '.join(sorted(missing))}: it is not an annotation file of MC-Bench",
            hint="give mc-bench_v0.2_val.json; MC-Bench_coco_format.json is for its scorer",
        )
    images = {_key(image.get("id")): image for image in found["images"] if isinstance(image, dict)}
    things: defaultdict[str, list[Any]] = defaultdict(list)
    for thing in found["annotations"]:
        things[_key(thing.get("text_id") if isinstance(thing, dict) else None)].append(thing)
    for number, text in enumerate(found["descriptions"], 1):
        asked = text if isinstance(text, dict) else {}
        ids = asked.get("images_id")
        pair = [images.get(_key(one)) for one in ids] if isinstance(ids, list) else []
        mine = things.pop(_key(asked.get("id")), [])
        yield Row(f"{path.name} descriptions", number, {"text": text, "images": pair, "annotations": mine})
    for left in things.values():
        yield Row(f"{path.name} annotations", len(left), {"text": None, "images": [], "annotations": left})


_key = repr  # of an id of any kind, so that it can be looked up


@refusing
def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """One sample per text; a text without instances is also a sample, whose answer is that neither image holds any."""
    row = mapping(value)
    if row.get("text") is None:
        count = len(row.get("annotations") or [])
        raise Refused("text_id", f"{count} annotations of a text that is not listed", "add it to descriptions")
    text = mapping(row.get("text"), "descriptions")
    return each([(f"mc-bench-{whole(text.get('id'), 'id'):04d}", row)], partial(_sample, text))


def _sample(text: dict[str, Any], name: str, row: dict[str, Any]) -> RawSample:
    pair, things = row.get("images"), row.get("annotations")
    if not isinstance(pair, list) or len(pair) != 2 or None in pair:
        raise Refused("images_id", "are not two of the listed images", "MC-Bench asks about pairs")
    ids = [_key(mapping(image, "images").get("id")) for image in pair]
    images = tuple(_image(image) for image in pair)
    boxes, groups = [], []
    for k, thing in enumerate(things if isinstance(things, list) else []):
        thing = mapping(thing, "annotations")
        where = f"annotations.{k}"
        if _key(thing.get("image_id")) not in ids:
            raise Refused(f"{where}.image_id", f"{short(thing.get('image_id'))} is not an image of the pair")
        x, y, width, height = box_of(thing.get("bbox"), f"{where}.bbox")
        if width <= 0 or height <= 0:
            raise Refused(f"{where}.bbox", f"{width:g} x {height:g} pixels have no area")
        boxes.append(RawBox(1 + ids.index(_key(thing.get("image_id"))), (x, y, x + width, y + height)))
        groups.append(thing.get("category_id"))
    positive = text.get("positive_sample")
    if isinstance(positive, bool) and positive != bool(boxes):
        raise Refused("positive_sample", f"is {positive}, and there are {len(boxes)} annotations")
    asked = text_of(text.get("text"), "text").strip()
    if not asked:
        raise Refused("text", "is empty")
    style = text.get("text_style")
    style = style.lower() if isinstance(style, str) and style.isascii() and style.isprintable() else ""
    # Which instances belong together matters only if there is more than one group.
    known = all(isinstance(group, int) and not isinstance(group, bool) for group in groups)
    grouped = {"groups": groups} if len(set(map(_key, groups))) > 1 and known else {}
    return RawSample(
        id=name,
        task="mc_bench",
        images=images,
        question=(f"Find every instance in either image: {asked}",),
        targets=tuple(boxes),
        relation=_RELATIONS.get(style, "none"),
        image_hidden=True,
        meta={"subject": asked} | ({"text_style": style} if style else {}) | grouped,
    )


def _image(image: dict[str, Any]) -> RawImage:
    width, height = (whole(image.get(side), f"images.{side}") for side in ("width", "height"))
    if width < 1 or height < 1:
        raise Refused("images.width", f"{width} x {height} is not a size in pixels")
    path = text_of(image.get("file_name"), "images.file_name")
    if not path or "\0" in path:
        raise Refused("images.file_name", f"{short(path)} is not a path")
    return RawImage(path, width, height)


SOURCE = Source("mc-bench", "MC-Bench's pairs of images: all instances of a text", read, convert, "pixels")

"""YOLO: a text file per image with lines ``class cx cy w h`` in fractions; names in ``data.yaml`` or ``classes.txt``.

``path`` is the folder of the dataset or its ``data.yaml``. Label files lie beside their images, or in ``labels`` as the
images lie in ``images``. An image without a label file was not annotated; one whose file is empty holds no object.

A line ``class x1 y1 x2 y2 x3 y3 ...`` is a polygon: the box around it is taken, and noted. Four points may be a rotated
box as well, whose box is not that of the object; they are polygons only if other lines of the dataset are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import yaml

from mirg.data.importers.annotated import Annotated, Unusable, around, boxed, convert, inside
from mirg.data.importers.files import lines_of, number_lines, refuse_corners, whole_file
from mirg.data.importers.pictures import Pictures
from mirg.data.importers.raw import ImportOptions, RawObject, Row, Source
from mirg.data.importers.rows import Refused
from mirg.errors import DataError
from mirg.text_files import DAMAGE, read_text

_NOTHING = {"", "~", "null", "Null", "NULL"}  # how YAML writes that there is no value
_SPLITS = {"train": "train", "val": "val", "valid": "val", "test": "test"}
_LISTS = ("classes.txt", "obj.names", "_darknet.labels")
# Text files of exports that hold no labels.
NO_LABELS = frozenset({
    "classes.txt", "notes.txt", "readme.txt", "readme.dataset.txt", "readme.roboflow.txt", "requirements.txt",
    "license.txt", "train.txt", "val.txt", "valid.txt", "test.txt", "trainval.txt",
})  # fmt: skip


@dataclass(frozen=True)
class Names:
    """Names by class number, as ``file`` has them; ``keypoints``: whether the dataset is one of poses.

    ``home``: the folder of the dataset; ``splits``: that of each split; ``lists``: names, in lower case, of the files
    that list images.
    """

    file: str
    by_number: dict[int, str]
    home: Path
    keypoints: bool = False
    splits: dict[str, Path] = field(default_factory=dict)
    lists: frozenset[str] = frozenset()

    def split_of(self, image: Path) -> str:
        """The split whose folder an image lies in; empty unless it is exactly one."""
        found = [split for split, folder in self.splits.items() if image.is_relative_to(folder)]
        return found[0] if len(found) == 1 else ""

    def of(self, number: float) -> tuple[str, str]:
        """(name, "") of a class, or ("", why the class has no name)."""
        if number != number or number != int(number):
            return "", f"class is not a whole number: {number:g}"
        if number in self.by_number:
            return self.by_number[int(number)], ""
        return "", f"class is not in the names: {int(number)}, {self.file} has {len(self.by_number)}, counted from 0"


def names_of(path: Path) -> Names:
    """The names for ``path``, a folder or a YAML file. DataError if no file has names, or two files differ."""
    folder = path if path.is_dir() else path.parent
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".yaml", ".yml"))
    found = map(_from_yaml, files if path.is_dir() else [path])
    known = [names for names in found if names is not None]
    # LabelImg puts classes.txt beside the labels of every folder.
    lists = [folder / name for name in _LISTS] + sorted((folder / "labels").rglob("classes.txt"))
    known += [_from_lines(file) for file in lists if file.is_file()]
    if not known:
        hint = "data.yaml with `names: [dog, cat]`, or classes.txt with a name per line"
        raise DataError(f"{path} has no names for the classes of YOLO", hint=hint)
    first = known[0]
    for other in known[1:]:
        if other.by_number != first.by_number:
            hint = "keep the file that belongs to the labels"
            raise DataError(f"{path}: {first.file} and {other.file} name the classes differently", hint=hint)
    return first


def _from_yaml(file: Path) -> Names | None:
    """The names of a YAML file, None if it has no key ``names``. DataError if they cannot be understood."""
    try:
        # All words stay words: a class may be called yes, no, on, off or 1.
        value = yaml.BaseLoader(read_text(file)).get_single_data()
    except (OSError, yaml.YAMLError, RecursionError, *DAMAGE) as error:
        raise DataError(f"{file} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(value, dict) or "names" not in value:
        return None
    names = value["names"]
    items = enumerate(names) if isinstance(names, list) else names.items() if isinstance(names, dict) else ()
    words = {k: v.strip() for k, v in items if isinstance(v, str)}
    by_number = {int(k): word for k, word in words.items() if str(k).isdecimal() and word not in _NOTHING}
    if not by_number or len(by_number) != len(names):
        raise DataError(f"{file}: names is not a list of names", hint="write `names: [dog, cat]` or `names: {0: dog}`")
    count = value.get("nc")
    if isinstance(count, str) and count.isdecimal() and int(count) not in (len(by_number), max(by_number) + 1):
        raise DataError(f"{file}: nc is {count}, and names has {len(by_number)}", hint="correct one of them")
    told = value.get("path")
    home = (file.parent / told).resolve() if isinstance(told, str) else file.parent.resolve()
    home = home if home.is_dir() else file.parent.resolve()
    places = {split: value[key] for key, split in _SPLITS.items() if isinstance(value.get(key), str)}
    lists = frozenset(Path(place).name.casefold() for place in places.values() if place.casefold().endswith(".txt"))
    splits: dict[str, Path] = {}
    for split, place in places.items():
        # Roboflow writes ../train/images for train/images.
        found = next((d for d in (home / place, home / place.removeprefix("../")) if d.is_dir()), None)
        splits |= {split: found.resolve()} if found else {}
    if home == file.parent.resolve() and splits and not any(place.is_relative_to(home) for place in splits.values()):
        # The file lies apart from its dataset, and has no path: the folder of images and labels is above all splits.
        shared = Path(os.path.commonpath(splits.values()))
        home = next((place.parent for place in (shared, *shared.parents) if place.name == "images"), shared)
    return Names(file.name, by_number, home, "kpt_shape" in value, splits, lists)


def _from_lines(file: Path) -> Names:
    with whole_file(file):
        lines = [line.strip() for line in lines_of(file, file.name)]
    return Names(file.name, {k: line for k, line in enumerate(lines) if line}, file.parent)


def read(path: Path, options: ImportOptions) -> Iterator[Row]:
    """One row per label file, and one per image without a label file. DataError without names or label files."""
    if not path.exists():
        raise DataError(f"{path} does not exist")
    names = names_of(path)
    folder = path if path.is_dir() else path.parent
    # The folder that data.yaml names counts if the own folder holds nothing: archives are unpacked anywhere.
    files = next((found for place in (folder, names.home) if (found := _Labels(place, names)).paths), None)
    if files is None:
        hint = "expected labels/*.txt, or .txt files beside the images, in this folder or in the one that is its path"
        raise DataError(f"{path} holds no label files", hint=hint)
    if options.frame in (None, "fraction"):
        boxes = ((row[1:], 1.0, 1.0) for row in files.rows() if len(row) == 5)
        refuse_corners(str(path), boxes, "center and size", centered=True)
    pictures = Pictures(options.root, "labels")
    wanted = [files.image_of(file, pictures) for file in files.paths]
    if files.folder != folder and not any(map(pictures.fits, wanted)):
        reason = f"its dataset is {files.folder}, and no image of it is below --root {pictures.root}"
        raise DataError(f"{path}: {reason}", hint=f"--root {files.folder}")
    pictures.claim(wanted)
    used: set[str] = set()
    for file, name in zip(files.paths, wanted, strict=True):
        shown = file.relative_to(files.folder).as_posix()
        try:
            found = pictures.find(name)
            used.add(found)
            split = names.split_of(pictures.root / found)
            yield Row(shown, 1, _image(found, files.objects(file), names, split))
        except Refused as refused:
            yield Row(shown, 1, refused.refusal._replace(id=f"yolo-{file.stem}"))
    for left in pictures.all():
        if left not in used:
            yield Row(left, 1, _image(left, [], names, names.split_of(pictures.root / left), annotated=False))


def _image(
    path: str, objects: list[RawObject | Unusable], names: Names, split: str, *, annotated: bool = True
) -> Annotated:
    name = f"yolo-{PurePosixPath(path).with_suffix('').as_posix()}"
    meta = {"split": split} if split else {}
    return Annotated(name, path, objects=objects, labels=list(names.by_number.values()), annotated=annotated, meta=meta)


class _Labels:
    def __init__(self, folder: Path, names: Names) -> None:
        self.folder, self.names = folder, names
        found = sorted(file for file in folder.rglob("*.txt") if not file.name.startswith("."))
        below = [file for file in found if "labels" in file.relative_to(folder).parts[:-1]]
        # Without a folder for them, labels lie among lists of images and notes.
        others = {"classes.txt"} if below else NO_LABELS | names.lists
        self.paths = [file for file in below or found if file.name.casefold() not in others]

    def image_of(self, file: Path, pictures: Pictures) -> str:
        """The name of the image of a label file, without its suffix."""
        parts = list(file.relative_to(self.folder).with_suffix("").parts)
        at = [k for k, part in enumerate(parts[:-1]) if part == "labels"]
        places = [[*parts[: at[-1]], "images", *parts[at[-1] + 1 :]]] if at else []
        places.append(parts)
        home = self.folder.resolve()
        placed = pictures.placed(home.joinpath(*place) for place in places)
        return placed or "/".join(part for k, part in enumerate(parts) if k not in at)

    def objects(self, file: Path) -> list[RawObject | Unusable]:
        return [self._object(k, row) for k, row in enumerate(number_lines(file, "labels"), 1)]

    def _object(self, number: int, row: list[float]) -> RawObject | Unusable:
        label, problem = self.names.of(row[0])
        if problem:
            return Unusable("", f"{problem} (line {number})", "correct the names, or the class of the line")
        if len(row) == 5:
            cx, cy, width, height = row[1:]
            if width <= 0 or height <= 0:
                return Unusable(label, f"box without area: line {number}, width {width:g}, height {height:g}")
            return boxed(label, inside((cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)))
        if len(row) == 6:
            reason = "line of six columns: a confidence or a track follows the box, so that these are predictions"
            return Unusable(label, reason, "import the labels, not the output of a model")
        if self.names.keypoints:
            return Unusable(label, "line with key points (pose), which are not read", "export boxes")
        if len(row) < 7 or len(row) % 2 == 0:
            return Unusable(label, f"line is neither a box nor a polygon: line {number} has {len(row)} columns")
        if self._may_be_poses:
            return Unusable(label, "line may be a polygon, or a box with key points (pose)", "export boxes")
        points = list(zip(row[1::2], row[2::2], strict=True))
        aligned = all(len({point[axis] for point in points}) == 2 for axis in (0, 1))
        if len(points) == 4 and not aligned and not self._has_polygons:
            reason = "line of four points may be a polygon or a rotated box (OBB), whose box is not that of the object"
            return Unusable(label, reason, "export boxes, or polygons with their own points")
        return around(label, map(inside, points), {"shape": "polygon"})

    def rows(self) -> Iterator[list[float]]:
        """The numbers of every line of every file that can be read."""
        for file in self.paths:
            try:
                yield from number_lines(file, "labels")
            except Refused:
                continue  # it is refused with its reason when its turn comes

    @cached_property
    def _has_polygons(self) -> bool:
        """Whether any line of the dataset is a polygon of another number of points than four."""
        return any(len(row) >= 7 and len(row) % 2 and len(row) != 9 for row in self.rows())

    @cached_property
    def _may_be_poses(self) -> bool:
        """Whether all lines of the dataset may be a box with key points, each with or without its visibility."""
        long = [row for row in self.rows() if len(row) >= 7]
        alike = len({len(row) for row in long}) == 1
        return alike and any(all(_is_pose(row, step) for row in long) for step in (2, 3))


def _is_pose(row: list[float], step: int) -> bool:
    """Whether the numbers after the first five are key points of ``step`` numbers, none of them outside of the box."""
    (cx, cy, width, height), rest = row[1:5], row[5:]
    if len(rest) % step or (step == 3 and not set(rest[2::3]) <= {0.0, 1.0, 2.0}):
        return False
    points = zip(rest[::step], rest[1::step], strict=True)
    return all((x, y) == (0, 0) or (abs(x - cx) <= width / 2 and abs(y - cy) <= height / 2) for x, y in points)


SOURCE = Source(
    "yolo",
    "YOLO: labels/*.txt and data.yaml (Ultralytics, Roboflow, CVAT)",
    read,
    convert,
    "fraction",
    maps_labels=True,
)

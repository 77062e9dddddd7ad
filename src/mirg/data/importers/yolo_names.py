"""The class names of a YOLO dataset: ``data.yaml``, ``classes.txt`` or ``obj.names``, and never two that differ."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from mirg.data.importers.lines import lines_of
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

    @property
    def labels(self) -> list[str]:
        """All names, in the order of their numbers."""
        return [self.by_number[k] for k in sorted(self.by_number)]

    def split_of(self, image: Path) -> str:
        """The split whose folder an image lies in; empty unless it is exactly one."""
        found = [split for split, folder in self.splits.items() if image.is_relative_to(folder)]
        return found[0] if len(found) == 1 else ""

    def of(self, number: float) -> tuple[str, str]:
        """(name, "") of a class, or ("", why the class has no name)."""
        if number != number or number != int(number):
            return "", f"class is not a whole number: {number:g}"
        if int(number) not in self.by_number:
            return (
                "",
                f"class is not in the names: {int(number)}, {self.file} has {len(self.by_number)}, counted from 0",
            )
        return self.by_number[int(number)], ""


def names_of(path: Path) -> Names:
    """The names for ``path``, a folder or a YAML file. DataError if no file has names, or two files differ."""
    folder = path if path.is_dir() else path.parent
    found = [_from_yaml(path)] if path.is_file() else [_from_yaml(file) for file in _yaml_files(folder)]
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


def _yaml_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in (".yaml", ".yml"))


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
    splits = {split: found for split, place in places.items() if (found := _split(home, place)) is not None}
    if home == file.parent.resolve() and splits and not any(place.is_relative_to(home) for place in splits.values()):
        home = _above(splits.values())  # the file lies apart from its dataset, and has no path
    return Names(file.name, by_number, home, "kpt_shape" in value, splits, lists)


def _above(splits: Iterable[Path]) -> Path:
    """The folder that holds the images of all splits and their labels: ``d`` of ``d/images/train``."""
    shared = Path(os.path.commonpath(splits))
    return next((place.parent for place in (shared, *shared.parents) if place.name == "images"), shared)


def _split(home: Path, place: str) -> Path | None:
    """The folder of a split. Roboflow writes ``../train/images`` for ``train/images``."""
    options = (home / place, home / place.removeprefix("../"))
    return next((option.resolve() for option in options if option.is_dir()), None)


def _from_lines(file: Path) -> Names:
    try:
        lines = [line.strip() for line in lines_of(file, file.name)]
    except Refused as refused:
        raise DataError(f"{file} {refused.refusal.reason}") from refused
    return Names(file.name, {k: line for k, line in enumerate(lines) if line}, file.parent)

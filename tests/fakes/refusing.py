"""The texts with which an import refuses a row, an image or a file, collected from the syntax trees of the code."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

ANY = "…"
SRC = Path(__file__).resolve().parents[2] / "src" / "mirg"
# Which argument is the reason of a row, and the words that are put around it.
_ROW: dict[str, tuple[int | str, str]] = {
    "Refused": (1, "{}"),
    "Refusal": (1, "{}"),
    "Unusable": (1, "{}"),
    "Category": (2, "{}"),
    "Defect": (2, "{}"),
    "Rejection": ("reason", "{}"),
    "ImageError": (0, "{}"),
    "_refuse": (2, "{}"),
}
_FILE: dict[str, tuple[int | str, str]] = {"DataError": (0, "{}")}
# A separate command unpacks archives, and it has no rows.
_ARCHIVES = {"archives", "archive_members"}
# Other files that refuse rows: what they call for it.
_OTHER: dict[str, dict[str, tuple[int | str, str]]] = {
    "images.py": {"ImageError": (0, f"image {ANY} {{}}")},
    "frames.py": {"ImageError": (0, f"image {ANY}: {{}}")},
    "storage.py": {"BadLine": ("reason", "{}")},
    "samples/card.py": {},
    "samples/tokens.py": _ROW,
    "samples/folder.py": _ROW,
    "samples/roots.py": _ROW,
    "samples/schema.py": {"ValueError": (0, "{}")},
}
# Functions that return a reason, or a tuple in which it has a place, and the words that are put around it.
_RETURNED: dict[tuple[str, str], tuple[int, str]] = {
    ("card", "size_words"): (0, f"image {ANY} {{}}"),
    ("coco", "_box_problem"): (1, "{}"),
    ("coco_file", "not_listed"): (0, "{}"),
    ("images", "_decoder_words"): (0, f"image {ANY} {{}}"),
    ("yolo", "of"): (1, f"{{}} (line {ANY})"),
}
_NO_TEXT = {"", ANY, f"{ANY} {ANY}", f"{ANY}: {ANY}", f"{ANY}: {ANY}: {ANY}"}


@dataclass(frozen=True)
class Found:
    """One refusal: its place, and its text with "…" for what varies, or None if the tree does not show the text."""

    where: str
    code: str
    text: str | None


def row_refusals() -> Iterator[Found]:
    """Every text with which a row, a question, an object or an image is refused."""
    for file in _sources():
        own = {"DataError": (0, "{}")} if file.stem == "frames" else {}  # it becomes a refusal of the row
        yield from _File(file, _ROW | own).found()
    for name, calls in _OTHER.items():
        yield from _File(SRC / name, calls).found()


def file_refusals() -> Iterator[Found]:
    """Every text with which a whole file is refused."""
    for file in _sources():
        if file.stem != "frames":
            yield from (found for found in _File(file, _FILE, named=False).found() if found.text)


def _sources() -> list[Path]:
    return sorted(file for file in (SRC / "data" / "importers").glob("*.py") if file.stem not in _ARCHIVES)


class _File:
    """One file; ``calls`` are those that refuse, ``named`` adds what is assigned or returned as a problem."""

    def __init__(self, path: Path, calls: dict[str, tuple[int | str, str]], *, named: bool = True) -> None:
        self.path, self.calls, self.named = path, calls, named
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        name = ".".join(path.relative_to(SRC.parent).with_suffix("").parts)
        self.module = importlib.import_module(name)
        self.open: set[str] = set()  # names whose values are being collected

    def found(self) -> Iterator[Found]:
        yield from self._below(self.tree, self.tree)

    def _below(self, node: ast.AST, scope: ast.AST) -> Iterator[Found]:
        for child in ast.iter_child_nodes(node):
            yield from self._in(child, scope)
            yield from self._below(child, child if isinstance(child, ast.FunctionDef) else scope)

    def _in(self, node: ast.AST, scope: ast.AST) -> Iterator[Found]:
        if isinstance(node, ast.Call):
            name = _name(node.func)
            if name in self.calls:
                place, around = self.calls[name]
                reason = _argument(node, place)
                if reason is not None:
                    yield from self._texts(reason, scope, around)
        elif not self.named:
            return
        elif isinstance(node, ast.Assign) and _name(node.targets[0]) == "problem":
            yield from self._told(_elements(node.value, 1), scope, "{}")
        elif isinstance(node, ast.Return) and node.value and isinstance(scope, ast.FunctionDef):
            function = (self.path.stem, scope.name)
            if function in _RETURNED:
                place, around = _RETURNED[function]
                yield from self._told(_elements(node.value, place), scope, around)

    def _told(self, nodes: list[ast.expr], scope: ast.AST, around: str) -> Iterator[Found]:
        """The texts of expressions that may be other things as well."""
        yield from (found for node in nodes for found in self._texts(node, scope, around) if found.text)

    def _texts(self, node: ast.expr, scope: ast.AST, around: str) -> Iterator[Found]:
        where = f"{self.path.relative_to(SRC).as_posix()}:{node.lineno}"
        for text in self._values(node, scope):
            if text is None or text.strip() not in _NO_TEXT:
                yield Found(where, ast.unparse(node), text if text is None else around.format(text))

    def _values(self, node: ast.expr, scope: ast.AST) -> list[str | None]:
        """Every text that an expression may have; None if the tree does not show it."""
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.Constant(value=None):
                return [""]
            case ast.JoinedStr(values=parts):
                return ["".join(made) for made in product(*(self._parts(part, scope) for part in parts))]
            case ast.IfExp(body=one, orelse=other):
                return [*self._values(one, scope), *self._values(other, scope)]
            case ast.BoolOp(values=options):
                return [text for option in options for text in self._values(option, scope)]
            case ast.BinOp(op=ast.Add(), left=one):
                return [text and text + ANY for text in self._values(one, scope)]
            case ast.Name(id=name):
                return self._named(name, scope) if name not in self.open else [""]
        return [None]

    def _parts(self, part: ast.expr, scope: ast.AST) -> list[str]:
        """What a part of an f-string may be: its text, that of a name which only has texts, or anything."""
        value = part.value if isinstance(part, ast.FormattedValue) else part
        if isinstance(value, ast.Name) and value.id == "owner":
            return [""]  # "sample s1: " stands before the reason only if the name of a sample is known
        texts = self._values(value, scope)
        return [ANY] if None in texts else [str(text) for text in texts]

    def _named(self, name: str, scope: ast.AST) -> list[str | None]:
        """The texts that are assigned to a name, else that of the constant. A name in its own value is left out."""
        self.open.add(name)
        found: list[str | None] = []
        for node in ast.walk(scope):
            if isinstance(node, ast.Assign) and _name(node.targets[0]) == name:
                found += self._values(node.value, scope)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
                names = [_name(target) for target in node.targets[0].elts]
                if name in names and isinstance(node.value, ast.Tuple):
                    found += self._values(node.value.elts[names.index(name)], scope)
        self.open.discard(name)
        constant: Any = getattr(self.module, name, None)
        return found or [constant if isinstance(constant, str) else None]


def _elements(node: ast.expr, place: int) -> list[ast.expr]:
    """The element at a place of a tuple, or of each branch of an if; the expression itself if it is no tuple."""
    if isinstance(node, ast.IfExp):
        return [*_elements(node.body, place), *_elements(node.orelse, place)]
    return [node.elts[place]] if isinstance(node, ast.Tuple) else [node]


def _argument(call: ast.Call, place: int | str) -> ast.expr | None:
    if isinstance(place, int) and any(isinstance(given, ast.Starred) for given in call.args[: place + 1]):
        return next(given for given in call.args if isinstance(given, ast.Starred)).value
    if isinstance(place, int):
        return call.args[place] if len(call.args) > place else None
    return next((keyword.value for keyword in call.keywords if keyword.arg == place), None)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""

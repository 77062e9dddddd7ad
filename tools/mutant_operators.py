"""The single faults that ``tools/mutants.py`` plants: what a tired engineer writes, as edits of a file's text.

A mutant is one edit of one place. Its key holds the module, the function, the operator, the text of the line and what
is written in place of what, but no line number, so that it stays the same while other lines of the file change.
"""

from __future__ import annotations

import ast
import hashlib
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

COMPARED: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
}
COMPUTED: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "%"),
    ast.Mod: ("%", "//"),
}
PAIRS = [
    *("width height", "x y", "x1 x2", "y1 y2", "x1 y1", "x2 y2", "low high", "lower upper", "left right", "top bottom"),
    *("before after", "first second", "first last", "min max", "start end", "start stop", "rows columns"),
    *(
        "prompt completion",
        "predicted gold",
        "predicted target",
        "old new",
        "input output",
        "mean std",
        "source target",
    ),
]
PARTNERS: dict[str, list[str]] = {}
for _pair in PAIRS:
    _one, _other = _pair.split()
    PARTNERS.setdefault(_one, []).append(_other)
    PARTNERS.setdefault(_other, []).append(_one)
CALLED = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum"}
ROUNDED = {"floor": "ceil", "ceil": "floor"}
DROPPED_METHODS = {"lower", "upper", "casefold", "strip", "lstrip", "rstrip", "removeprefix", "removesuffix"}
TEXTS = {"description", "help", "hint", "message", "title", "epilog"}  # keyword arguments that only people read
LOGGED = {"debug", "info", "warning", "warn", "error", "exception", "log"}
DEFAULTS = {"bool": "False", "int": "0", "float": "0.0", "str": '""', "list": "[]", "dict": "{}", "tuple": "()"}


@dataclass(frozen=True)
class Mutant:
    """One edit. ``start`` and ``end`` are byte offsets into the file, ``line`` is the line of the edit.

    ``first`` and ``last`` are the lines of its statement, of which a trace may name any.

    ``imported`` says that the place is executed while the module is imported: a constant, a default, a field.
    """

    module: str
    function: str
    operator: str
    text: str
    change: str
    number: int
    line: int
    first: int
    last: int
    start: int
    end: int
    replacement: str
    imported: bool

    @property
    def key(self) -> list[str | int]:
        """What identifies the mutant in every version of the file in which its line is the same."""
        return [self.module, self.function, self.operator, self.text, self.change, self.number]

    @property
    def id(self) -> str:
        """Ten digits of the key's SHA-256."""
        return hashlib.sha256("\0".join(map(str, self.key)).encode()).hexdigest()[:10]

    def apply(self, source: bytes) -> bytes:
        """The file with the fault."""
        return source[: self.start] + self.replacement.encode() + source[self.end :]


@dataclass(frozen=True)
class Parameters:
    """What calls can leave out, over all functions of the package: an argument that is required cannot go unnoticed."""

    required: dict[str, set[str]]  # of every function name, the parameters that some definition requires
    positional: dict[str, int]  # the largest number of positional parameters without a default
    attributes: set[str]  # every attribute that the package reads or writes


def parameters_of(trees: list[ast.Module]) -> Parameters:
    """Read from the parsed files of the whole package."""
    required: dict[str, set[str]] = {}
    positional: dict[str, int] = {}
    attributes: set[str] = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Attribute):
            attributes.add(node.attr)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            _add_required(node.args, node.name, required, positional)
        elif isinstance(node, ast.ClassDef):
            fields = [
                item for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
            ]
            names = {item.target.id for item in fields if item.value is None and isinstance(item.target, ast.Name)}
            required.setdefault(node.name, set()).update(names)
            positional[node.name] = max(positional.get(node.name, 0), len(names))
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                    _add_required(item.args, node.name, required, positional)
    return Parameters(required, positional, attributes)


def _add_required(
    arguments: ast.arguments, name: str, required: dict[str, set[str]], positional: dict[str, int]
) -> None:
    plain = [argument.arg for argument in arguments.posonlyargs + arguments.args]
    needed = plain[: len(plain) - len(arguments.defaults)]
    needed = needed[1:] if needed[:1] in (["self"], ["cls"]) else needed
    keywords = [a.arg for a, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if value is None]
    required.setdefault(name, set()).update(needed, keywords)
    positional[name] = max(positional.get(name, 0), len(needed))


def mutants_of(module: str, source: bytes, parameters: Parameters) -> list[Mutant]:
    """Every mutant of a file, in the order of the text; each of them parses and differs from the file."""
    found: list[Mutant] = []
    numbers: Counter[tuple[str, ...]] = Counter()
    lines = [line.decode().strip() for line in source.splitlines()]
    visitor = _Visitor(source, parameters)
    for edit in visitor.edits():
        if not visitor.differs(edit):
            continue
        text = lines[edit.line - 1]
        change = f"{_short(source[edit.start : edit.end].decode())} -> {_short(edit.replacement)}"
        number = numbers[edit.function, edit.operator, text, change]
        numbers[edit.function, edit.operator, text, change] += 1
        found.append(Mutant(module=module, text=text, change=change, number=number, **edit._asdict()))
    return found


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 100 else f"{text[:60]} ... {text[-35:]}"


class Edit(NamedTuple):
    """A replacement in the text, before it has a key."""

    function: str
    operator: str
    line: int
    first: int
    last: int
    start: int
    end: int
    replacement: str
    imported: bool


class _Visitor:
    """Walks through a file and keeps the enclosing functions, so that every edit has its place."""

    def __init__(self, source: bytes, parameters: Parameters) -> None:
        self._source = source
        self._parameters = parameters
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._functions: list[ast.AST] = []
        self._statements: list[ast.AST] = []
        self._tree = ast.parse(source)
        # What an edit is parsed with: its statement if it is a single one, else the first level's statement around it.
        single = [node for node in ast.walk(self._tree) if isinstance(node, ast.stmt) and not hasattr(node, "body")]
        spans = {self._span(node): ast.dump(node) for node in self._tree.body}
        spans |= {self._span(node): ast.dump(node) for node in single}
        self._parts = sorted(spans.items(), key=lambda part: (part[0][0], -part[0][1]))
        self._firsts = [span[0] for span, _ in self._parts]

    def differs(self, edit: Edit) -> bool:
        """Whether the statement that holds ``edit`` still parses and is another one."""
        place = bisect_right(self._firsts, edit.start) - 1
        while self._parts[place][0][1] < edit.end:
            place -= 1
        (start, end), original = self._parts[place]
        text = self._source[start : edit.start] + edit.replacement.encode() + self._source[edit.end : end]
        try:
            return [ast.dump(node) for node in ast.parse(text).body] != [original]
        except SyntaxError:
            return False

    def edits(self) -> list[Edit]:
        """All edits, in the order of the text."""
        edits = list(self._walk(self._tree, []))
        return sorted(edits, key=lambda edit: (edit.start, edit.end, edit.operator, edit.replacement))

    def _walk(self, node: ast.AST, names: list[str]) -> Iterator[Edit]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [*names, node.name]
        for operator, start, end, replacement in self._mutate(node):
            first, last = self._lines(node if isinstance(node, ast.stmt) else self._statements[-1])
            line = self._line(start)
            yield Edit(".".join(names), operator, line, first, last, start, end, replacement, not self._functions)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in self._children(node):
            if isinstance(child, ast.stmt):
                self._statements.append(child)
            body = inside and not isinstance(child, ast.arguments)  # defaults are computed outside the function
            if body:
                self._functions.append(node)
            yield from self._walk(child, names)
            if body:
                self._functions.pop()
            if isinstance(child, ast.stmt):
                self._statements.pop()

    def _children(self, node: ast.AST) -> Iterator[ast.AST]:
        """What is looked into: no docstring, annotation, import, text of a message, decorator or ``__all__``."""
        if isinstance(node, ast.JoinedStr | ast.Raise | ast.Import | ast.ImportFrom | ast.Assert):
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _name(node.value.func) in LOGGED:
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("__all__", "__version__"):
            return
        if isinstance(node, ast.Call) and _name(node.func) in ("TypeVar", "cast", "Literal", "TypeAlias"):
            return
        if isinstance(node, ast.Call) and _name(node.func) == "zip":
            yield from node.args  # strict checks the code itself, like an assertion
            return
        if isinstance(node, ast.Subscript) and _literal(node.slice) is not None:
            yield node.value  # the index is changed as such
            return
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list", "type_comment", "bases"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not (isinstance(child, ast.keyword) and child.arg in TEXTS):
                    yield child

    def _lines(self, node: Any) -> tuple[int, int]:
        """The lines of a statement, of one with a body those above the body."""
        body = getattr(node, "body", None)
        return node.lineno, max(node.lineno, body[0].lineno - 1) if body else node.end_lineno

    def _line(self, offset: int) -> int:
        return bisect_right(self._starts, offset)

    def _span(self, node: Any) -> tuple[int, int]:
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _text(self, node: ast.AST) -> str:
        start, end = self._span(node)
        return self._source[start:end].decode()

    def _mutate(self, node: ast.AST) -> Iterator[tuple[str, int, int, str]]:
        method = getattr(self, f"visit_{type(node).__name__.lower()}", None)
        if method is not None:
            yield from method(node)
        if isinstance(node, ast.stmt):
            yield from self._deleted(node)

    def _between(self, left: ast.AST, right: ast.AST, old: str, new: str) -> Iterator[tuple[int, int, str]]:
        """The operator ``old`` in the text between two operands, replaced."""
        start, end = self._span(left)[1], self._span(right)[0]
        word = rf"\b{old}\b".replace(" ", r"\s+") if old[0].isalpha() else re.escape(old)
        match = re.search(word.encode(), self._source[start:end])
        if match:
            yield start + match.start(), start + match.end(), new

    # Operators, one method per kind of node. Each yields (operator, start, end, replacement).

    def visit_compare(self, node: ast.Compare) -> Iterator[tuple[str, int, int, str]]:
        for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            for edit in self._between(left, right, *COMPARED[type(operator)]):
                yield "compare", *edit

    def visit_boolop(self, node: ast.BoolOp) -> Iterator[tuple[str, int, int, str]]:
        words = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            for edit in self._between(left, right, *words):
                yield "boolean", *edit
        for value in node.values:  # a condition of several that is left out
            yield "condition", *self._span(value), "True" if isinstance(node.op, ast.And) else "False"

    def visit_binop(self, node: ast.BinOp) -> Iterator[tuple[str, int, int, str]]:
        sides = (node.left, node.right)
        if type(node.op) in COMPUTED and not any(
            isinstance(side, ast.JoinedStr | ast.List) or _is_text(side) for side in sides
        ):
            for edit in self._between(*sides, *COMPUTED[type(node.op)]):
                yield "arithmetic", *edit

    def visit_augassign(self, node: ast.AugAssign) -> Iterator[tuple[str, int, int, str]]:
        if type(node.op) in COMPUTED:
            old, new = COMPUTED[type(node.op)]
            for edit in self._between(node.target, node.value, f"{old}=", f"{new}="):
                yield "arithmetic", *edit

    def visit_constant(self, node: ast.Constant) -> Iterator[tuple[str, int, int, str]]:
        span = self._span(node)
        if isinstance(node.value, bool):
            yield "bool", *span, str(not node.value)
        elif isinstance(node.value, int):
            yield "constant", *span, str(node.value + 1)
            yield "constant", *span, str(node.value - 1)
        elif isinstance(node.value, float):
            yield "constant", *span, repr(node.value * 2 if node.value else 1.0)

    def visit_unaryop(self, node: ast.UnaryOp) -> Iterator[tuple[str, int, int, str]]:
        if isinstance(node.op, ast.Not):
            yield "not", *self._span(node), f"bool({self._text(node.operand)})"
        elif isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
            yield "arithmetic", *self._span(node), f"(+{self._text(node.operand)})"

    def visit_if(self, node: Any) -> Iterator[tuple[str, int, int, str]]:
        if "TYPE_CHECKING" not in ast.unparse(node.test):
            for value in ("True", "False"):
                yield "condition", *self._span(node.test), value

    visit_ifexp = visit_if

    def visit_comprehension(self, node: ast.comprehension) -> Iterator[tuple[str, int, int, str]]:
        for test in node.ifs:
            yield "condition", *self._span(test), "True"

    def visit_subscript(self, node: ast.Subscript) -> Iterator[tuple[str, int, int, str]]:
        index = _literal(node.slice)
        if index is not None:
            for other in {0: (1, -1), 1: (0,), -1: (0,)}.get(index, (index - 1,)):
                yield "index", *self._span(node.slice), str(other)
        if isinstance(node.slice, ast.Slice):
            for bound in (node.slice.lower, node.slice.upper):
                if bound is not None:
                    yield "slice", *self._span(bound), f"({self._text(bound)}) + 1"
                    yield "slice", *self._span(bound), "None"

    def visit_name(self, node: ast.Name) -> Iterator[tuple[str, int, int, str]]:
        if isinstance(node.ctx, ast.Load) and self._functions and _partners(node.id):
            bound = {item.arg for item in ast.walk(self._functions[-1]) if isinstance(item, ast.arg)}
            stored = (item for item in ast.walk(self._functions[-1]) if isinstance(item, ast.Name))
            bound |= {item.id for item in stored if isinstance(item.ctx, ast.Store)}
            for other in _partners(node.id):
                if other in bound:
                    yield "name", *self._span(node), other

    def visit_attribute(self, node: ast.Attribute) -> Iterator[tuple[str, int, int, str]]:
        for other in _partners(node.attr):
            if other in self._parameters.attributes:
                end = self._span(node)[1]
                yield "name", end - len(node.attr.encode()), end, other

    def visit_call(self, node: ast.Call) -> Iterator[tuple[str, int, int, str]]:
        yield from self._arguments(node)
        name, span = _name(node.func), self._span(node)
        end = self._span(node.func)[1]
        named = (end - len(name.encode()), end)
        if name in CALLED:
            yield "minmax", *named, CALLED[name]
        if name in ROUNDED:
            yield "round", *named, ROUNDED[name]
        if name == "round" and isinstance(node.func, ast.Name):
            yield "round", *span, self._text(node.args[0]) if len(node.args) > 1 else f"int({self._text(node.args[0])})"
        if name in ("sorted", "reversed") and node.args:
            yield "sorted", *span, f"list({self._text(node.args[0])})"
        if name in DROPPED_METHODS and isinstance(node.func, ast.Attribute):
            yield "strmethod", *span, self._text(node.func.value)

    def _arguments(self, node: ast.Call) -> Iterator[tuple[str, int, int, str]]:
        name = _name(node.func)
        required = self._parameters.required.get(name, set())
        ends = [self._span(item)[1] for item in [*node.args, *node.keywords]]
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg in TEXTS | required or name == "zip":
                continue
            start, end = self._span(keyword)
            follows = re.match(rb"\s*,\s*", self._source[end:])
            before = max((other for other in ends if other <= start), default=start)
            yield "argument", *((start, end + follows.end()) if follows else (before, end)), ""
        plain = [item for item in node.args if isinstance(item, ast.Name | ast.Attribute)]
        if (
            len(node.args) == len(plain) >= 2
            and name not in ("isinstance", "issubclass")
            and self._text(plain[0]) != self._text(plain[1])
        ):
            first, second = self._span(plain[0]), self._span(plain[1])
            between = self._source[first[1] : second[0]].decode()
            yield "swap", first[0], second[1], f"{self._text(plain[1])}{between}{self._text(plain[0])}"
        last = node.args[-1] if node.args else None
        known = self._parameters.positional.get(name)
        if len(node.args) >= 2 and last in plain and known is not None and len(node.args) > known:
            yield "argument", self._span(node.args[-2])[1], self._span(last)[1], ""

    def visit_return(self, node: ast.Return) -> Iterator[tuple[str, int, int, str]]:
        if node.value is None or isinstance(node.value, ast.Constant) or not self._functions:
            return
        returns = getattr(self._functions[-1], "returns", None)
        kind = ast.unparse(returns) if returns is not None else "None"
        value = "None" if "None" in kind else DEFAULTS.get(kind.split("[")[0], "None")
        yield "return", *self._span(node.value), value
        if kind == "bool":
            yield "return", *self._span(node.value), "True"

    def visit_break(self, node: ast.Break) -> Iterator[tuple[str, int, int, str]]:
        yield "loop", *self._span(node), "continue"

    def visit_continue(self, node: ast.Continue) -> Iterator[tuple[str, int, int, str]]:
        yield "loop", *self._span(node), "break"

    def visit_functiondef(self, node: ast.FunctionDef) -> Iterator[tuple[str, int, int, str]]:
        """Defaults that the other operators do not reach: a text or a name becomes None."""
        keywords = [value for value in node.args.kw_defaults if value is not None]
        for value in node.args.defaults + keywords:
            if not isinstance(value, ast.Constant) or (isinstance(value.value, str) and value.value):
                yield "default", *self._span(value), "None"

    def _deleted(self, node: ast.stmt) -> Iterator[tuple[str, int, int, str]]:
        """A statement left out: an error that is not raised, a call without a result, an assignment to a part."""
        call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _name(node.value.func) not in LOGGED
        parts = isinstance(node, ast.Assign) and _is_part(node.targets[0])
        if call or parts or isinstance(node, ast.Raise | ast.AugAssign | ast.Delete):
            yield "delete", *self._span(node), "pass"


def _name(node: ast.expr) -> str:
    """The last name of what is called: ``fsync`` of ``os.fsync``."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_part(node: ast.expr) -> bool:
    return isinstance(node, ast.Subscript) or (isinstance(node, ast.Attribute) and node.attr != "__doc__")


def _literal(node: ast.expr) -> int | None:
    """The whole number that ``node`` is."""
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _partners(name: str) -> list[str]:
    """Names that differ in one part which has a partner: ``image_height`` of ``image_width``."""
    parts = name.split("_")
    return [
        "_".join([*parts[:place], other, *parts[place + 1 :]])
        for place, part in enumerate(parts)
        for other in PARTNERS.get(part, [])
    ]

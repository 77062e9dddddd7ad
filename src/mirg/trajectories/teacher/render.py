"""What a teacher is asked: the images, the question, both annotation levels as private notes, and how to write.

The rules and the order of the output are in ``templates/system.j2``, the message in ``question.j2``, the notes in
``annotation.j2``, and the guidance in one template for each kind of question. A user's folder may contain any of these
files; missing ones are taken from there. The same sample, family and templates give the same text. Templates are
rendered in a sandbox, as plain text, and are read once per process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mirg.answers import instruction_text, render, write_answer
from mirg.console import clean, one_line
from mirg.errors import AnswerError, ConfigError
from mirg.families import FAMILIES, Family
from mirg.frames import Size, to_frame
from mirg.geometry import Box
from mirg.samples.schema import Sample
from mirg.samples.tokens import sizes_in
from mirg.storage import digest_bytes
from mirg.trajectories.language import NAMES as LANGUAGES
from mirg.trajectories.writer import ordered

SHIPPED = Path(__file__).parent / "templates"
BLIND = "blind"
SYSTEM, REPAIR = "system.j2", "repair.j2"
_RENDER_ERRORS = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)


class TemplateSet:
    """Templates by file name; make one with :func:`template_set`."""

    def __init__(self, folder: Path | None) -> None:
        from jinja2 import DictLoader, StrictUndefined
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        self.folder = folder
        self.sources = _read(SHIPPED) | (_read(folder) if folder else {})
        self._environment = ImmutableSandboxedEnvironment(
            loader=DictLoader(self.sources), undefined=StrictUndefined, autoescape=False, trim_blocks=True,
            lstrip_blocks=True, keep_trailing_newline=False,
        )  # fmt: skip
        self._digests: dict[tuple[str, ...], str] = {}

    def path(self, name: str) -> str:
        """The file from which ``name`` is read, for messages."""
        return str(self.folder / name) if self.folder and (self.folder / name).is_file() else name

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """The text of one template; ConfigError with file and line if it cannot be rendered."""
        from jinja2 import TemplateError, TemplateSyntaxError

        try:
            return self._environment.get_template(name).render(values)
        except TemplateSyntaxError as error:
            where = f"{self.path(error.name or name)}, line {error.lineno}"
            raise ConfigError(f"template {where}: {error.message}", hint="templates are written in jinja2") from error
        except (TemplateError, *_RENDER_ERRORS) as error:
            raise ConfigError(
                f"template {self.path(name)} cannot be rendered: {error}",
                hint="docs/concepts/trajectories.md lists the names that a template may use",
            ) from error

    def digest(self, *names: str) -> str:
        """SHA-256 (hex) of the sources of ``names`` and of all templates that they include or extend."""
        from jinja2.meta import find_referenced_templates

        if names not in self._digests:
            found: set[str] = set()
            waiting = [*names]
            while waiting:
                name = waiting.pop()
                if name not in found and name in self.sources:
                    found.add(name)
                    tree = self._environment.parse(self.sources[name])
                    waiting += [part for part in find_referenced_templates(tree) if part]
            text = "\x01".join(f"{name}\x02{self.sources[name]}" for name in sorted(found))
            self._digests[names] = digest_bytes(text.encode())
        return self._digests[names]


@lru_cache(maxsize=8)
def template_set(folder: Path | None = None) -> TemplateSet:
    """The templates of the package, replaced by those in ``folder``.

    ``blind`` names a set that ships with the package: only the images and the question, for a teacher that was trained
    on such prompts and needs no notes. ConfigError if ``folder`` is not a folder or has no template, or one cannot be
    read.
    """
    if folder is None:
        return TemplateSet(None)
    if folder == Path(BLIND) and not folder.is_dir():
        folder = SHIPPED / BLIND
    if not any(folder.glob("*.j2")):
        problem = "contains no template" if folder.is_dir() else "is not a folder of templates"
        known = ", ".join(sorted(_read(SHIPPED)))
        raise ConfigError(f"{folder} {problem}", hint=f"it may contain any of {known}")
    return TemplateSet(folder)


def _read(folder: Path) -> dict[str, str]:
    sources: dict[str, str] = {}
    for path in sorted(folder.glob("*.j2")):
        try:
            sources[path.name] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"template {path} cannot be read: {error}", hint="it must be UTF-8 text") from error
    return sources


_TASKS_OF_KIND = {
    "compare": (
        *("common_object", "counting", "diff", "difference", "odd_one_out", "view_diff"),
        "view_difference",
    ),
    "space": ("multi_view", "region"),
    "time": ("object_tracking",),
    "semantics": ("correspondence", "reasoning", "refer", "refer_grounding"),
    "textual": ("group_grounding", "multi_target", "none", "companion", "companion_pair", "companion_twice"),
}
KINDS = tuple(_TASKS_OF_KIND)
_KIND_OF_TASK = {task: kind for kind, tasks in _TASKS_OF_KIND.items() for task in tasks}
_KIND_OF_RELATION = {
    "before_after": "time",
    "changed_object": "compare",
    "corresponds_to": "semantics",
    "part_of": "space",
    "same_category": "compare",
    "same_object": "space",
}
# A teacher may be of any family, so the tokens of all families are refused in texts.
_TOKENS = tuple(dict.fromkeys(token for family in FAMILIES.values() for token in family.vision_tokens))
LONGEST_NOTE = 300  # characters of a label, a caption, an attribute
LONGEST_REPLY_BACK = 8_000  # characters of a failed reply that are returned for a repair
MOST_PROBLEMS = 10

# The place of an image in a rendered template; control characters, which are removed from the texts of a sample.
_HERE = "\x00image {}\x00"
_IS_HERE = re.compile("\x00image ([0-9]+)\x00")


@dataclass(frozen=True)
class Message:
    """One message of "system", "user" or "assistant". A part is a text, or the number (from 1) of an image."""

    role: str
    parts: tuple[str | int, ...]

    @property
    def text(self) -> str:
        """The readable message, with ``<image N>`` in the place of an image."""
        return "".join(part if isinstance(part, str) else f"<image {part}>" for part in self.parts)


@dataclass(frozen=True)
class TeacherPrompt:
    """A prompt. ``digest`` is the SHA-256 (hex) of the templates and the rendered text, not of the pixels."""

    messages: tuple[Message, ...]
    kind: str
    digest: str


def kind_of(sample: Sample) -> str:
    """The kind (:data:`KINDS`) of the question: ``meta["kind"]``, else by its task, its frames, its relation."""
    given = sample.meta.get("kind")
    if isinstance(given, str) and given in KINDS:
        return given
    if sample.task in _KIND_OF_TASK:
        return _KIND_OF_TASK[sample.task]
    if any(image.role == "frame" for image in sample.images):
        return "time"
    return _KIND_OF_RELATION.get(sample.relation, "textual")


def first_prompt(
    sample: Sample, family: Family, templates: Path | None = None, language: str = "en", max_looks: int = 0
) -> TeacherPrompt:
    """The request for a trajectory of ``sample``, its boxes as numbers of the frame of ``family``.

    ``templates`` is a folder whose files replace those of the package. With ``max_looks``, the prompt says how to
    look at a part of an image. AnswerError if a text of the sample contains a
    vision token or broken markup, DataError if the family needs the size of an image and it is unknown, ConfigError
    for an unknown language or a template that cannot be rendered or does not show every image once.
    """
    if language not in LANGUAGES:
        raise ConfigError(f"unknown language {language!r} of the reasoning", hint=f"one of {', '.join(LANGUAGES)}")
    kind = kind_of(sample)
    chosen = template_set(templates)
    values = _values(sample, family, kind, LANGUAGES[language])
    if max_looks:
        values["answer_format"] = f"{instruction_text(family, max_looks=max_looks)}\n{_LOOK_FIRST}"
    user = Message("user", _parts(chosen.render(f"{kind}.j2", values)))
    shown = [part for part in user.parts if isinstance(part, int)]
    if sorted(shown) != list(range(1, len(sample.images) + 1)):
        raise ConfigError(
            f"template {chosen.path(f'{kind}.j2')} shows the images {shown} of sample {sample.id}, which has "
            f"{len(sample.images)}",
            hint="{{ image.here }} is the place of an image; every one of `images` has one",
        )
    system = Message("system", _parts(chosen.render(SYSTEM, values)))
    # An empty template gives no message, since chat templates would show an empty turn.
    messages = (system, user) if system.parts else (user,)
    return _prompt(messages, kind, chosen.digest(SYSTEM, f"{kind}.j2"))


def repair_prompt(
    prompt: TeacherPrompt, reply: str, problems: Sequence[str], templates: Path | None = None
) -> TeacherPrompt:
    """``prompt`` continued with the reply that failed and its problems; errors as :func:`first_prompt`.

    A long reply is cut in its middle, and vision tokens in it are removed. ConfigError without a problem.
    """
    if not problems:
        raise ConfigError("a repair needs a problem", hint="give the reasons of the checks that failed")
    chosen = template_set(templates)
    notes = [one_line(_without_tokens(problem), LONGEST_NOTE) for problem in problems[:MOST_PROBLEMS]]
    text = chosen.render(REPAIR, {"problems": notes, "kind": prompt.kind})
    back, half = clean(_without_tokens(reply)), LONGEST_REPLY_BACK // 2
    if len(back) > LONGEST_REPLY_BACK:
        back = f"{back[:half]}\n[…]\n{back[-half:]}"
    asked = Message("assistant", (back.strip() or "(empty)",)), Message("user", _parts(text))
    return _prompt((*prompt.messages, *asked), prompt.kind, chosen.digest(SYSTEM, f"{prompt.kind}.j2", REPAIR))


def further_prompt(prompt: TeacherPrompt, said: str, words: str, image: int | None) -> TeacherPrompt:
    """``prompt`` continued with a turn of the teacher that ends with a look, and the answer to it.

    ``image`` is the number (from 1, after those of the sample) of the crop that is shown behind ``words``, or None.
    """
    shown = (words,) if image is None else (words, image)
    asked = Message("assistant", (clean(_without_tokens(said)) or "(empty)",)), Message("user", shown)
    return _prompt((*prompt.messages, *asked), prompt.kind, prompt.digest)


_LOOK_FIRST = "Look at what is small in its image before you say what it is, and say what the new image shows."


def _prompt(messages: tuple[Message, ...], kind: str, templates: str) -> TeacherPrompt:
    said = "\x01".join(f"{message.role}\x02{message.text}" for message in messages)
    return TeacherPrompt(messages, kind, digest_bytes(f"{templates}\n{said}".encode()))


def _values(sample: Sample, family: Family, kind: str, language: str) -> dict[str, Any]:
    """The variables of a template, which ``docs/concepts/trajectories.md`` lists."""
    sizes = sizes_in(sample, family)
    subject = sample.meta.get("subject")
    targets = ordered(sample.targets)

    def note(text: str) -> str:
        return one_line(_refused(text, sample), LONGEST_NOTE)

    def spelled(box: Box, image: int) -> str:
        """A box in the form that the system message asks for: pairs, without the tokens of a family."""
        x1, y1, x2, y2 = to_frame(box, sizes[image - 1], family)
        return f"({x1},{y1}),({x2},{y2})"

    images = [
        {
            "number": number,
            "here": _HERE.format(number),
            "role": ref.role,
            "frame": ref.frame,
            "caption": note(ref.caption) if ref.caption else "",
            "holds_target": number in sample.target_images,
            "objects": [
                {
                    "label": note(thing.label),
                    "box": spelled(thing.box, number),
                    "attributes": [(note(name), note(str(value))) for name, value in sorted(thing.attributes.items())],
                }
                for thing in sorted(ref.objects, key=lambda thing: (thing.box, thing.label))
            ],
        }
        for number, ref in enumerate(sample.images, 1)
    ]
    return {
        "task": sample.task,
        "kind": kind,
        "language": language,
        "images": images,
        "question": _question(sample, sizes, family),
        "relation": sample.relation,
        "subject": note(subject) if isinstance(subject, str) else "",
        "targets": [{"image": t.image, "label": note(t.label), "box": spelled(t.box, t.image)} for t in targets],
        "answer": write_answer([t.model_copy(update={"label": note(t.label)}) for t in targets], sizes, family),
        "answer_format": instruction_text(family),
    }


def _question(sample: Sample, sizes: Sequence[Size], family: Family) -> str:
    try:
        text = render(sample.question, sizes, family, style="text")
    except AnswerError as error:
        raise AnswerError(f"the question of sample {sample.id!r}: {error.message}", hint=error.hint) from error
    allowed = text.replace(family.box_open, "").replace(family.box_close, "") if family.box_open else text
    return clean(_refused(allowed, sample))


def _refused(text: str, sample: Sample) -> str:
    for token in _TOKENS:
        if token in text:
            raise AnswerError(
                f"sample {sample.id}: a text holds {token!r}",
                hint="remove it: it would be read as a token, not as text",
            )
    return text


def _without_tokens(text: str) -> str:
    for token in _TOKENS:
        text = text.replace(token, "")
    return text


def _parts(text: str) -> tuple[str | int, ...]:
    """The parts of a rendered template: text and images in their order."""
    pieces = _IS_HERE.split(text.strip("\n"))
    parts = [piece if k % 2 == 0 else int(piece) for k, piece in enumerate(pieces)]
    return tuple(part for part in parts if part != "")

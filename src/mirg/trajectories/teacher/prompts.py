"""What a teacher is asked: the images, the question, both annotation levels as private notes, and how to write.

One template for each kind of question. A folder of one's own may hold any of the files of ``templates/``; what it
lacks is taken from there. The same sample, family and templates give the same text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirg.answers import instruction_text, render, write_answer
from mirg.console import clean, one_line
from mirg.errors import AnswerError, ConfigError
from mirg.frames import FAMILIES, Family, Size, to_frame
from mirg.samples.schema import ImageRef, Sample, Target
from mirg.storage import digest_bytes
from mirg.trajectories.language import NAMES as LANGUAGES
from mirg.trajectories.sizes import sizes_in
from mirg.trajectories.teacher.template_files import REPAIR, SYSTEM, TemplateSet, template_set

KINDS = ("compare", "space", "time", "semantics", "textual")

_KIND_OF_TASK: dict[str, str] = {
    **dict.fromkeys(("common_object", "counting", "diff", "difference", "odd_one_out", "view_diff"), "compare"),
    "view_difference": "compare",
    **dict.fromkeys(("multi_view", "region"), "space"),
    "object_tracking": "time",
    **dict.fromkeys(("correspondence", "reasoning", "refer", "refer_grounding"), "semantics"),
    **dict.fromkeys(("group_grounding", "multi_target", "none"), "textual"),
    **dict.fromkeys(("companion", "companion_pair", "companion_twice"), "textual"),
}
_KIND_OF_RELATION: dict[str, str] = {
    "before_after": "time",
    "changed_object": "compare",
    "corresponds_to": "semantics",
    "part_of": "space",
    "same_category": "compare",
    "same_object": "space",
}
# A teacher may be of any family: none of their tokens may reach it as text.
_TOKENS = tuple(dict.fromkeys(token for family in FAMILIES.values() for token in family.vision_tokens))
LONGEST_NOTE = 300  # characters of a label, a caption, an attribute
LONGEST_REPLY_BACK = 8_000  # characters of a failed reply that are sent back
MOST_PROBLEMS = 10

# Where an image stands in a rendered template; control characters, which no text of a sample keeps.
_HERE = "\x00image {}\x00"
_IS_HERE = re.compile("\x00image ([0-9]+)\x00")


@dataclass(frozen=True)
class Part:
    """One part of a message: ``text``, or the number (from 1) of the sample's image that stands here."""

    text: str | None = None
    image: int | None = None


@dataclass(frozen=True)
class Message:
    """One message; ``role`` is "system", "user" or "assistant"."""

    role: str
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The message as a person reads it, ``<image N>`` in the place of a picture."""
        return "".join(f"<image {part.image}>" if part.text is None else part.text for part in self.parts)


@dataclass(frozen=True)
class TeacherPrompt:
    """What is sent. ``digest`` is the SHA-256 (hex) of the templates and the rendered text, not of the pixels."""

    messages: tuple[Message, ...]
    kind: str
    digest: str


def kind_of(sample: Sample) -> str:
    """Which of :data:`KINDS` the question is of: ``meta["kind"]``, else by its task, its frames, its relation."""
    told = sample.meta.get("kind")
    if isinstance(told, str) and told in KINDS:
        return told
    if sample.task in _KIND_OF_TASK:
        return _KIND_OF_TASK[sample.task]
    if any(image.role == "frame" for image in sample.images):
        return "time"
    return _KIND_OF_RELATION.get(sample.relation, "textual")


def first_prompt(sample: Sample, family: Family, templates: Path | None = None, language: str = "en") -> TeacherPrompt:
    """The request for a trajectory of ``sample``, its boxes as numbers of the frame of ``family``.

    ``templates`` is a folder whose files replace those of the package. AnswerError where a text of the sample holds a
    vision token or broken markup, DataError where the family needs the size of an image and it is unknown, ConfigError
    for an unknown language or a template that does not render, or does not show every image once.
    """
    if language not in LANGUAGES:
        raise ConfigError(f"unknown language {language!r} of the reasoning", hint=f"one of {', '.join(LANGUAGES)}")
    kind = kind_of(sample)
    chosen = template_set(templates)
    values = _values(sample, family, kind, LANGUAGES[language])
    user = _parts(chosen.render(f"{kind}.j2", values))
    shown = [part.image for part in user if part.image is not None]
    if sorted(shown) != list(range(1, len(sample.images) + 1)):
        raise ConfigError(
            f"template {chosen.path(f'{kind}.j2')} shows the images {shown} of sample {sample.id}, which has "
            f"{len(sample.images)}",
            hint="{{ image.here }} is the place of an image; every one of `images` has one",
        )
    system = Message("system", _parts(chosen.render(SYSTEM, values)))
    asked = Message("user", user)
    # A template of nothing is no message: chat templates would show an empty turn.
    told = (system, asked) if system.parts else (asked,)
    return _prompt(told, kind, chosen, (SYSTEM, f"{kind}.j2"))


def repair_prompt(
    prompt: TeacherPrompt, reply: str, problems: Sequence[str], templates: Path | None = None
) -> TeacherPrompt:
    """``prompt`` continued: the reply that failed, and what failed; errors as :func:`first_prompt`.

    A long reply is cut in its middle, vision tokens in it are taken out. ConfigError without a problem.
    """
    if not problems:
        raise ConfigError("a repair needs something to repair", hint="give the reasons of the checks that failed")
    chosen = template_set(templates)
    told = [one_line(_without_tokens(problem), LONGEST_NOTE) for problem in problems[:MOST_PROBLEMS]]
    text = chosen.render(REPAIR, {"problems": told, "kind": prompt.kind})
    back = _cut(clean(_without_tokens(reply))).strip() or "(empty)"
    messages = (*prompt.messages, Message("assistant", (Part(text=back),)), Message("user", _parts(text)))
    return _prompt(messages, prompt.kind, chosen, (SYSTEM, f"{prompt.kind}.j2", REPAIR))


def _prompt(messages: tuple[Message, ...], kind: str, chosen: TemplateSet, names: tuple[str, ...]) -> TeacherPrompt:
    said = "\x01".join(f"{message.role}\x02{message.text}" for message in messages)
    return TeacherPrompt(messages, kind, digest_bytes(f"{chosen.digest(names)}\n{said}".encode()))


def _values(sample: Sample, family: Family, kind: str, language: str) -> dict[str, Any]:
    """What a template may use (``docs/concepts/trajectories.md`` lists it)."""
    sizes = sizes_in(sample, family)
    subject = sample.meta.get("subject")
    targets = sorted(sample.targets, key=lambda target: (target.image, target.box))
    return {
        "task": sample.task,
        "kind": kind,
        "language": language,
        "images": [_image(number, sample, sizes[number - 1], family) for number in range(1, len(sample.images) + 1)],
        "question": _question(sample, sizes, family),
        "relation": sample.relation,
        "subject": _note(subject, sample) if isinstance(subject, str) else "",
        "targets": [_target(target, sample, sizes[target.image - 1], family) for target in targets],
        "answer": write_answer([_plain(target, sample) for target in targets], sizes, family),
        "answer_format": instruction_text(family),
    }


def _image(number: int, sample: Sample, size: Size, family: Family) -> dict[str, Any]:
    ref: ImageRef = sample.images[number - 1]
    return {
        "number": number,
        "here": _HERE.format(number),
        "role": ref.role,
        "frame": ref.frame,
        "caption": _note(ref.caption, sample) if ref.caption else "",
        "holds_target": number in sample.target_images,
        "objects": [
            {
                "label": _note(note.label, sample),
                "box": _spelled(note.box, size, family),
                "attributes": _attributes(note.attributes, sample),
            }
            for note in sorted(ref.objects, key=lambda note: (note.box, note.label))
        ],
    }


def _target(target: Target, sample: Sample, size: Size, family: Family) -> dict[str, Any]:
    label, box = _note(target.label, sample), _spelled(target.box, size, family)
    return {"image": target.image, "label": label, "box": box}


def _attributes(attributes: Mapping[str, Any], sample: Sample) -> list[tuple[str, str]]:
    return [(_note(name, sample), _note(str(value), sample)) for name, value in sorted(attributes.items())]


def _plain(target: Target, sample: Sample) -> Target:
    return target.model_copy(update={"label": _note(target.label, sample)})


def _spelled(box: tuple[float, float, float, float], size: Size, family: Family) -> str:
    """As the system message asks for: pairs, without the tokens of a family."""
    x1, y1, x2, y2 = to_frame(box, size, family)
    return f"({x1},{y1}),({x2},{y2})"


def _question(sample: Sample, sizes: Sequence[Size], family: Family) -> str:
    try:
        text = render(sample.question, sizes, family, style="text")
    except AnswerError as error:
        raise AnswerError(f"the question of sample {sample.id!r}: {error.message}", hint=error.hint) from error
    allowed = text.replace(family.box_open, "").replace(family.box_close, "") if family.box_open else text
    return clean(_refused(allowed, sample))


def _note(text: str, sample: Sample) -> str:
    return one_line(_refused(text, sample), LONGEST_NOTE)


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


def _cut(text: str) -> str:
    half = LONGEST_REPLY_BACK // 2
    return text if len(text) <= LONGEST_REPLY_BACK else f"{text[:half]}\n[…]\n{text[-half:]}"


def _parts(text: str) -> tuple[Part, ...]:
    """The parts of a rendered template: text, and images where they stand."""
    pieces = _IS_HERE.split(text.strip("\n"))
    parts = [Part(text=piece) if k % 2 == 0 else Part(image=int(piece)) for k, piece in enumerate(pieces)]
    return tuple(part for part in parts if part.text != "")

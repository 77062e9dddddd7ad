"""The wording of the questions: one YAML file of templates per language; users may bring their own.

A file holds ``templates``, a list for each kind of question, and may hold ``names``: what a label is called in its
language.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from mirg.data.compose.recipe import ComposeRecipe
from mirg.errors import ConfigError
from mirg.samples.coverage import label_key
from mirg.text_files import parse_yaml

SHIPPED = Path(__file__).parent / "questions"
LEAST_SHIPPED = 8  # paraphrases of a kind in the files that ship

# The slots of each kind of question: a template has all of them and no other.
KINDS: dict[str, frozenset[str]] = {
    kind: frozenset(slots.split())
    for kind, slots in (
        ("find_one", "name"),
        ("find_every", "name"),
        ("common_object", "k"),
        ("refer", "k"),
        ("region", "k"),
        ("difference_one", ""),
        ("difference_changed", "k"),
        ("view_difference_one", ""),
        ("view_difference_changed", "k"),
        ("object_tracking", "box k"),
        ("correspondence", "box"),
        ("same_instance", "box"),
        ("counting", "name"),
        ("reasoning_both", "name other"),
        ("reasoning_larger", "name"),
    )
}
_NAMES = ("name", "other")  # slots that hold labels


@dataclass(frozen=True)
class Wording:
    """The templates of one language."""

    language: str
    templates: Mapping[str, tuple[str, ...]]
    names: Mapping[str, str]

    def ask(self, rng: random.Random, kind: str, slots: Mapping[str, str]) -> str:
        """A question of ``kind``; labels are translated if the language has a name for them."""
        options = self.templates[kind]
        filled = {key: self.name(value) if key in _NAMES else value for key, value in slots.items()}
        text = rng.choice(options)
        return (_with_articles(text, filled) if self.language == "en" else text).format(**filled)

    def name(self, label: str) -> str:
        """The name of ``label`` in this language."""
        return self.names.get(label_key(label), label)


def _with_articles(text: str, filled: Mapping[str, str]) -> str:
    """``a {name}`` as ``an {name}`` where the name begins with a vowel."""

    def fitting(found: re.Match[str]) -> str:
        return f"{found[1]}{'n' if filled[found[2]][:1].casefold() in 'aeiou' else ''} {{{found[2]}}}"

    return re.sub(r"\b([Aa]) \{(name|other)\}", fitting, text)


def wordings(recipe: ComposeRecipe) -> dict[str, Wording]:
    """The languages that have a weight, in alphabetic order. ConfigError if a file is missing or wrong."""
    chosen = sorted(language for language, weight in recipe.languages.items() if weight > 0)
    return {language: read_wording(language, recipe.questions.get(language)) for language in chosen}


def read_wording(language: str, path: str | Path | None = None) -> Wording:
    """The templates in ``path``, or those that ship for ``language``; ConfigError as above."""
    file = Path(path) if path is not None else SHIPPED / f"{language}.yaml"
    if not file.is_file():
        shipped = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.yaml")))
        if path is not None:
            raise ConfigError(f"no file {file} with the questions of {language!r}", hint="see questions in the recipe")
        raise ConfigError(
            f"no questions in {language!r} ship with mirg: {shipped} do",
            hint=f"write a file with questions and name it: -s questions.{language}=FILE.yaml",
        )
    try:
        raw = parse_yaml(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the questions in {file}: {error}") from error
    return _wording(language, raw, file)


def _wording(language: str, raw: object, file: Path) -> Wording:
    if not isinstance(raw, dict) or not isinstance(raw.get("templates"), dict):
        raise ConfigError(f"{file} has no templates", hint="templates: {find_one: ['Find the {name}.'], …}")
    unknown = [str(key) for key in raw if key not in ("templates", "names")]
    unknown += [str(kind) for kind in raw["templates"] if kind not in KINDS]
    if unknown:
        raise ConfigError(f"{file}: unknown key {unknown[0]}", hint=f"templates and names; kinds: {', '.join(KINDS)}")
    templates: dict[str, tuple[str, ...]] = {}
    for kind in KINDS:
        options = raw["templates"].get(kind)
        if not isinstance(options, list) or not options or not all(isinstance(text, str) for text in options):
            raise ConfigError(
                f"{file}: templates.{kind} is no list of texts", hint="every kind needs one question or more"
            )
        for text in options:
            if problem := template_problem(kind, text):
                raise ConfigError(f"{file}: templates.{kind}: {text!r} {problem}")
        templates[kind] = tuple(options)
    names = raw.get("names") or {}
    if not isinstance(names, dict) or not all(isinstance(part, str) for pair in names.items() for part in pair):
        raise ConfigError(f"{file}: names is no mapping of labels to words", hint="names: {dog: Hund}")
    return Wording(language, templates, {label_key(key): value for key, value in names.items()})


def template_problem(kind: str, text: str) -> str | None:
    """What is wrong with a template, or None. Slots are plain names: attributes and formats are refused."""
    slots = KINDS[kind]
    try:
        parts = [(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(text) if name is not None]
    except ValueError as error:
        return f"is no template: {error}"
    for name, spec, conversion in parts:
        if name not in slots or spec or conversion:
            allowed = ", ".join(f"{{{slot}}}" for slot in sorted(slots)) or "no slot"
            return f"has the slot {{{name}}}, allowed: {allowed}"
    missing = sorted(slots - {name for name, _, _ in parts})
    return f"lacks the slot {{{missing[0]}}}" if missing else None

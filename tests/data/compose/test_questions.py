"""The wording: many ways to ask in every language, and files of the user's own that are checked before work begins."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml

from mirg.answers.markup import box_markup
from mirg.data.compose.questions import KINDS, LEAST_SHIPPED, SHIPPED, read_wording, template_problem, wordings
from mirg.data.compose.recipe import ComposeRecipe
from mirg.errors import ConfigError
from mirg.samples import ImageRef, Sample
from mirg.samples.reorder import has_free_order, reordered

LANGUAGES = sorted(path.stem for path in SHIPPED.glob("*.yaml"))
SLOTS = {"name": "dog", "other": "cat", "k": "2", "box": box_markup(1, (0.1, 0.2, 0.3, 0.4))}


def test_english_and_german_ship() -> None:
    assert LANGUAGES == ["de", "en"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_many_different_wordings_that_can_be_asked(language: str, kind: str) -> None:
    wording = read_wording(language)
    options = wording.templates[kind]
    assert len(set(options)) == len(options) >= LEAST_SHIPPED
    asked = {wording.ask(random.Random(k), kind, SLOTS) for k in range(200)}
    assert len(asked) == len(options), "every wording is drawn"
    for question in asked:
        assert question[0].isupper() and question[-1] in ".?" and "{" not in question


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_question_survives_another_order_of_the_images(language: str) -> None:
    """No wording counts the images out, and every number of one is written so that it is renumbered."""
    wording = read_wording(language)
    refs = tuple(ImageRef(path=f"{k}.png") for k in range(3))
    for kind, options in wording.templates.items():
        for k in range(len(options)):
            text = wording.templates[kind][k].format(**SLOTS)
            sample = Sample(id="s", task=kind, images=refs, question=text)
            assert has_free_order(sample), text
            turned = reordered(sample, [2, 1, 3]).question
            if "k" in KINDS[kind]:
                assert "Image-1" in turned and turned != text


def test_labels_are_put_into_the_language_and_take_their_article() -> None:
    german, english = read_wording("de"), read_wording("en")
    assert (german.name("Hot  Dog"), german.name("gadget")) == ("Hotdog", "gadget")
    asked = {english.ask(random.Random(k), "reasoning_both", {"name": "apple", "other": "dog"}) for k in range(60)}
    assert any("an apple" in text for text in asked) and not any(
        " a apple" in text or "an dog" in text for text in asked
    )


def test_a_label_with_braces_is_only_text() -> None:
    text = read_wording("en").ask(random.Random(0), "find_one", {"name": "{k} {0.__class__}"})
    assert "{k} {0.__class__}" in text


@pytest.mark.parametrize(
    ("why", "kind", "text", "words"),
    [
        ("as it should be", "find_one", "Find {name}.", None),
        ("twice is fine", "find_one", "{name}: find the {name}.", None),
        ("no slot", "find_one", "Find it.", "lacks the slot {name}"),
        ("a slot of another kind", "find_one", "Find {name} in Image-{k}.", "has the slot {k}"),
        ("an attribute", "find_one", "Find {name.upper}.", "has the slot {name.upper}"),
        ("a format", "find_one", "Find {name:>9}.", "has the slot"),
        ("a conversion", "find_one", "Find {name!r}.", "has the slot"),
        ("an unclosed brace", "find_one", "Find {name.", "is no template"),
        ("a kind without slots", "difference_one", "What of {name}?", "allowed: no slot"),
    ],
)
def test_templates(why: str, kind: str, text: str, words: str | None) -> None:
    problem = template_problem(kind, text)
    assert problem is None if words is None else words in (problem or "")


def own(tmp_path: Path, change) -> Path:
    raw = yaml.safe_load((SHIPPED / "en.yaml").read_text(encoding="utf-8"))
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(change(raw)), encoding="utf-8")
    return file


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = own(tmp_path, lambda raw: {**raw, "names": {"Dog": "chien"}})
    recipe = ComposeRecipe(source="x", languages={"fr": 1, "de": 2, "en": 0}, questions={"fr": str(file)})
    found = wordings(recipe)
    assert list(found) == ["de", "fr"] and found["fr"].name("dog") == "chien"


@pytest.mark.parametrize(
    ("why", "change", "words"),
    [
        ("no mapping", lambda raw: ["a"], "has no templates"),
        ("a kind is missing", lambda raw: {"templates": {"find_one": ["{name}"]}}, "templates.find_every"),
        ("an unknown kind", lambda raw: {"templates": {**raw["templates"], "find": []}}, "unknown key find"),
        ("an unknown key", lambda raw: {**raw, "name": {}}, "unknown key name"),
        ("a wrong template", lambda raw: {"templates": {**raw["templates"], "refer": ["?"]}}, "lacks the slot"),
        ("names are no mapping", lambda raw: {**raw, "names": ["dog"]}, "names is no mapping"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, why: str, change, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_wording("fr", own(tmp_path, change))


def test_no_file() -> None:
    with pytest.raises(ConfigError, match="no questions in 'fr' ship") as caught:
        read_wording("fr")
    assert "questions.fr=FILE.yaml" in caught.value.hint
    with pytest.raises(ConfigError, match="no file"):
        read_wording("fr", "nowhere.yaml")

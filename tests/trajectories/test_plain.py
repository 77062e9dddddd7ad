"""The plain voice: what it says agrees with the sample, its wording varies by seed only, and it passes every check."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mirg.answers.markup import box_markup, cited
from mirg.data.compose.photos.tasks import TASKS as PHOTOS
from mirg.data.compose.tasks import TASKS as COMPOSED
from mirg.data.scenes.generate import generate, to_sample, write_scenes
from mirg.data.scenes.tasks import TASKS
from mirg.data.scenes.world import DIFFICULTIES, MEDIUM, WorldConfig
from mirg.errors import ConfigError
from mirg.samples import DatasetFolder
from mirg.samples.coverage import INCOMPLETE
from mirg.samples.schema import ImageRef, ObjectNote, Relation, Role, Sample, Target
from mirg.trajectories.build import build_dataset
from mirg.trajectories.chain import BOX_WORD, mentioned, sentences
from mirg.trajectories.checks import VerifyConfig, failures, verify
from mirg.trajectories.english import Name
from mirg.trajectories.plain import IMAGE_LEVEL, build_plain, write_plain
from mirg.trajectories.voice import direction, part_of_image

MANY = WorldConfig(**MEDIUM.model_dump() | {"images": (12, 12), "frames": (12, 12), "objects": (1, 6)})
ENGLISH = VerifyConfig(language="en")
LEFT, RIGHT = (0.05, 0.1, 0.25, 0.3), (0.7, 0.6, 0.9, 0.9)
Box = tuple[float, float, float, float]


def scenes(count: int, seed: int, config: WorldConfig = MEDIUM) -> Iterator[Sample]:
    for key, draft in generate(None, count, split="train", seed=seed, config=config):
        refs = [ImageRef(path=f"{k}.png", width=96, height=64) for k in range(len(draft.pictures))]
        yield to_sample(key, draft, refs)


def image(*labels: str, role: Role = "candidate", at: Box = LEFT, **attributes: Any) -> ImageRef:
    notes = tuple(ObjectNote(label=label, box=at, attributes=attributes) for label in labels)
    return ImageRef(path="a.jpg", width=640, height=480, role=role, objects=notes)


def sample(
    task: str,
    images: list[ImageRef],
    targets: list[tuple[int, str, Box]],
    asks: str = "Find it.",
    relation: Relation = "none",
    *,
    hidden: bool = True,
    name: str = "s",
    **meta: Any,
) -> Sample:
    return Sample(
        id=name,
        task=task,
        images=tuple(images),
        question=asks,
        targets=tuple(Target(image=k, label=label, box=box) for k, label, box in targets),
        relation=relation,
        image_hidden=hidden,
        meta=meta,
    )


def holds_true(given: Sample) -> None:
    """Images and boxes exist, what a description lists is in its image, and what it denies is not."""
    said = build_plain(given)
    assert {(k, box) for k, box in cited(said.thinking)} == {(target.image, target.box) for target in given.targets}
    labels = [{note.label for note in ref.objects} for ref in given.images]
    every = set().union(*labels)
    for part in sentences(said.thinking):
        named = mentioned(part.prose)
        assert all(1 <= k <= len(given.images) for k in named), part.raw
        listing = re.match(r"(?:In )?(?:Image-\d+|[Tt]he \w+ image) (?:shows|has|I see|I find) (.*)", part.prose)
        if listing is None or len(named) != 1 or BOX_WORD in part.prose or part.prose.endswith(("too.", "apart.")):
            continue
        shown, _, denied = listing[1].partition(", but ")
        here = labels[named[0] - 1]
        assert {label for label in every if label in shown} <= here, part.raw
        assert not {label for label in every if denied == f"no {label}."} & here, part.raw


@pytest.mark.parametrize("config", [MEDIUM, MANY, DIFFICULTIES["hard"]], ids=["medium", "twelve images", "hard"])
def test_every_statement_about_a_scene_agrees_with_it(config: WorldConfig) -> None:
    for given in scenes(34, seed=3, config=config):
        holds_true(given)
        assert failures(verify(given, build_plain(given), config=ENGLISH)) == {}
        assert len(write_plain(given).split()) < 220


@pytest.mark.slow
def test_five_thousand_chains_pass_every_check() -> None:
    configs = (*DIFFICULTIES.values(), MANY)
    done = 0
    for number, config in enumerate(configs):
        for given in scenes(5_100 // len(configs), seed=100 + number, config=config):
            holds_true(given)
            assert failures(verify(given, build_plain(given, number), config=ENGLISH)) == {}, given.id
            done += 1
    assert done >= 5_000


def test_every_task_has_its_sentences_or_is_a_search() -> None:
    mig_bench = {"diff", "view_diff", "refer_grounding"}
    assert set(IMAGE_LEVEL) <= {*TASKS, *COMPOSED, *PHOTOS, *mig_bench}
    searched = {"group_grounding", "none"}
    assert {*TASKS, *COMPOSED} - set(IMAGE_LEVEL) == searched


def test_the_seed_changes_the_wording_and_nothing_else() -> None:
    given = list(scenes(68, seed=5))
    first = [build_plain(each, 0) for each in given]
    again, other = [build_plain(each, 0) for each in given], [build_plain(each, 1) for each in given]
    assert first == again
    differ = sum(a.thinking != b.thinking for a, b in zip(first, other, strict=True))
    assert differ > 0.95 * len(given)
    for a, b in zip(first, other, strict=True):
        assert a.answer == b.answer and sorted(cited(a.thinking)) == sorted(cited(b.thinking))
    twins = [each.model_copy(update={"id": f"twin-{each.id}"}) for each in given]
    assert sum(write_plain(a) != write_plain(b) for a, b in zip(given, twins, strict=True)) > 0.95 * len(given)


def test_the_voice_follows_the_family_unless_told(tmp_path: Path) -> None:
    source = write_scenes(tmp_path / "scenes", 4, split="train", config=DIFFICULTIES["easy"])
    told: list[tuple[dict[str, Any], str]] = [
        ({}, "rules-plain/1"),
        ({"family": "qwen2.5-vl"}, "rules-plain/1"),
        ({"family": "mirg-tiny"}, "rules/4"),
        ({"voice": "terse"}, "rules/4"),
        ({"voice": "plain", "family": "mirg-tiny"}, "rules-plain/1"),
    ]
    for number, (options, writer) in enumerate(told):
        build_dataset(source, tmp_path / str(number), **options)
        assert {each.trajectory and each.trajectory.writer for each in DatasetFolder.open(tmp_path / str(number))} == {
            writer
        }
    build_dataset(source, tmp_path / "seed", seed=7)
    for each in DatasetFolder.open(tmp_path / "seed"):
        assert each.trajectory and each.trajectory.thinking == write_plain(each, 7)
    with pytest.raises(ConfigError, match="a voice is for the writer rules"):
        build_dataset(source, tmp_path / "other", writer="object-level", voice="plain")


PAIR = [image("car", "dog"), image("car")]
# (why, sample, what every wording says, what none says)
SAYS: list[tuple[str, Sample, str, str]] = [
    (
        "no annotation, no description",
        sample("x", [image(), image()], [(2, "dog", LEFT)]),
        "dog",
        r"(?:Image-\d|(?:first|second) image) (?:shows|has|I see) (?!a dog)",
    ),
    (
        "an incomplete annotation does not say what is missing",
        sample("x", [image("car"), image("dog")], [(2, "dog", LEFT)], "In Image-2?", hidden=False, **{INCOMPLETE: "x"}),
        "Image-2",
        "but no|Image-1|first image",
    ),
    (
        "a crowd is no single object, and is not missing",
        sample("x", [image("dog", iscrowd=True), image("dog")], [(2, "dog", LEFT)]),
        "dog",
        r"(?:Image-1|first image)[^.]* no dog|Only|No other",
    ),
    (
        "the reference shows it as well",
        sample("refer", [image("dog", role="reference"), image("dog"), image("car")], [(2, "dog", LEFT)]),
        "the dog",
        r"^Only|No other image|(?<!other images, )only [IiT][^.]*shows a dog",
    ),
    (
        "an object that both images show has changed",
        sample("difference", PAIR, [(1, "car", LEFT)], "In Image-1?", hidden=False, alteration="moved"),
        "place",
        "in addition|Only|colour",
    ),
    ("an object that one image shows", sample("difference", PAIR, [(1, "dog", LEFT)]), "car", "both images, but"),
    (
        "two images with as many are no largest number",
        sample("counting", [image("dog", "dog"), image("dog", "dog")], [(1, "dog", LEFT)], counted="dog"),
        "two dogs",
        "most|more than",
    ),
    (
        "frames in no known order",
        sample("object_tracking", [image("dog"), image("dog")], [(2, "dog", LEFT)], "In Image-2?", hidden=False),
        "sequence",
        "in time",
    ),
    (
        "both objects in another image as well",
        sample("reasoning", [image("dog", "car"), image("dog", "car")], [(1, "dog", LEFT)], beside="car"),
        "both|together",
        "neither|the only|Only",
    ),
    (
        "the crop that a benchmark counts after the source",
        sample("region", [image()] * 4, [(1, "", LEFT)], "Locate the 2th region picture.", "part_of", hidden=False),
        "Image-3|third image",
        "Image-2|second image|object",
    ),
    (
        "several objects in one image, from left to right",
        sample("x", [image("dog", "dog"), image("car")], [(1, "dog", RIGHT), (1, "dog", LEFT)], "Find every dog."),
        re.escape(f"{box_markup(1, LEFT)} and {box_markup(1, RIGHT)}"),
        "is at",
    ),
    ("none", sample("x", [image("car"), image("cat")], [], subject="dog"), "nothing to|no box", "So|<box"),
    (
        "a question in German",
        sample("x", [image("car"), image("dog")], [(2, "dog", LEFT)], "Wo ist dieses Objekt: Hund?"),
        "the dog",
        "Hund|Bild",
    ),
    ("one image", sample("x", [image("dog", "car")], [(1, "dog", LEFT)]), "[Tt]he image", "Image-1|images"),
    (
        "a sentence as the subject",
        sample("x", [image(), image()], [(1, "", LEFT)], subject="What can be eaten? Point to it."),
        "[Ww]hat the question describes",
        "eaten",
    ),
]


@pytest.mark.parametrize(("why", "given", "always", "never"), SAYS, ids=[row[0] for row in SAYS])
def test_what_is_said_and_what_is_not(why: str, given: Sample, always: str, never: str) -> None:
    for seed in range(30):
        text = write_plain(given, seed)
        assert re.search(always, text), text
        assert not re.search(never, text, re.MULTILINE), text


@pytest.mark.parametrize("number", [2, 3, 4, 12])
def test_many_images_are_not_described_at_length(number: int) -> None:
    images = [image("car", "cat") for _ in range(number - 1)] + [image("dog", "bus")]
    given = sample("x", images, [(number, "dog", LEFT)])
    said = build_plain(given)
    assert len(said.thinking.split()) <= 70 and said.thinking.count("a car") <= 3
    assert failures(verify(given, said, config=ENGLISH)) == {}


NAMES = [
    ("red ring", "a red ring", "the red ring", "two red rings", "is"),
    ("orange", "an orange", "the orange", "two oranges", "is"),
    ("the umbrella", "an umbrella", "the umbrella", "two umbrellas", "is"),
    ("hour hand", "an hour hand", "the hour hand", "two hour hands", "is"),
    ("unicorn", "a unicorn", "the unicorn", "two unicorns", "is"),
    ("SUV", "an SUV", "the SUV", "two SUVs", "is"),
    ("TV", "a TV", "the TV", "two TVs", "is"),
    ("scissors", "scissors", "the scissors", "two scissors", "are"),
    ("skis", "skis", "the skis", "two skis", "are"),
    ("wine glass", "a wine glass", "the wine glass", "two wine glasses", "is"),
    ("bus", "a bus", "the bus", "two buses", "is"),
    ("person", "a person", "the person", "two people", "is"),
    ("snowman", "a snowman", "the snowman", "two snowmen", "is"),
    ("knife", "a knife", "the knife", "two knives", "is"),
    ("broccoli", "broccoli", "the broccoli", "two broccoli", "is"),
    ("berry", "a berry", "the berry", "two berries", "is"),
    ("toy", "a toy", "the toy", "two toys", "is"),
    ("bowl of fruit", "a bowl of fruit", "the bowl of fruit", "two bowls of fruit", "is"),
    ("man riding a horse", "a man riding a horse", "the man riding a horse", "two men riding a horse", "is"),
    ("purple ring", "a purple ring", "the purple ring", "two purple rings", "is"),
    ("cyan arrow", "a cyan arrow", "the cyan arrow", "two cyan arrows", "is"),
    ("his left hand", "his left hand", "his left hand", "his left hand", "is"),
    ("Hund", "a Hund", "the Hund", "two Hunds", "is"),
]


@pytest.mark.parametrize(("label", "a", "the", "two", "verb"), NAMES, ids=[row[0] for row in NAMES])
def test_names_in_english(label: str, a: str, the: str, two: str, verb: str) -> None:
    name = Name(label)
    assert (name.a, name.the, name.counted(2), "are" if name.is_plural else "is") == (a, the, two, verb)


def test_places_and_directions() -> None:
    places = {(0, 0): "in the upper left", (1, 0): "at the top", (2, 1): "on the right", (1, 1): "in the middle"}
    for (column, row), words in places.items():
        x, y = column / 3 + 0.1, row / 3 + 0.1
        assert part_of_image((x, y, x + 0.1, y + 0.1)) == words
    at: Callable[[float, float], Box] = lambda x, y: (x, y, x + 0.1, y + 0.1)  # noqa: E731
    assert direction(at(0.1, 0.5), at(0.6, 0.5)) == "to the right"
    assert direction(at(0.5, 0.1), at(0.5, 0.6)) == "down"
    assert direction(at(0.5, 0.5), at(0.2, 0.2)) == "to the upper left"
    assert direction(at(0.5, 0.5), at(0.52, 0.5)) is None


def test_the_page_of_chains_is_up_to_date(repository: Path, load_script: Callable[[str | Path], ModuleType]) -> None:
    tool = load_script("tools/chains_page.py")
    text = (repository / "docs" / "concepts" / "chains.md").read_text(encoding="utf-8")
    assert text == tool.page(), "run python tools/chains_page.py"
    assert text.count("\n> ") == 40
    for given in (*tool.scene_samples(), *tool.photograph_samples()):
        assert failures(verify(given, build_plain(given), config=ENGLISH)) == {}

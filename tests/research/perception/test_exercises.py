"""What an exercise says is true of the scenes that it shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mirg.data.scenes.objects import NAMES
from mirg.data.scenes.world import Scene, WorldConfig
from mirg.families import FAMILIES
from mirg.frames import to_frame
from research.perception.exercises import LEVELS, POINT_LEVELS, Exercise, describe, locate, look_up, point
from research.perception.optimise import Curriculum
from research.perception.questions import EXERCISES, compare, describe_one, name_it, which_image
from research.perception.recipe import ExerciseKind

FAMILY = FAMILIES["mirg-tiny"]
WORLD = WorldConfig(side=96)
SEEN = WorldConfig(side=96, shapes="all", pairs="seen")
SEEDS = range(60)
BOX = re.compile(r"Box: Image-(\d+) ([a-z ]+) \((\d+),(\d+)\),\((\d+),(\d+)\)\.")
FOUND = re.compile(r"Found: ([a-z ]+) (?:Image-(\d+)|(in none of the images))\.")


def shown(exercise: Exercise) -> dict[int, Scene]:
    """The scenes by their number; the label of each stands right before it."""
    parts = exercise.parts
    labels = [
        re.search(r"Image-(\d+): $", str(parts[k - 1])) for k, part in enumerate(parts) if isinstance(part, Scene)
    ]
    assert all(labels)
    return {int(label[1]): scene for label, scene in zip(labels, exercise.scenes, strict=True) if label}


def asked(exercise: Exercise) -> str:
    """The last line of the prompt."""
    return str(exercise.parts[-1]).strip()


def boxes_of(exercise: Exercise) -> list[tuple[int, str, tuple[int, ...]]]:
    return [(int(m[1]), m[2], tuple(int(v) for v in m.groups()[2:])) for m in BOX.finditer(exercise.completion)]


@pytest.mark.parametrize("level", range(len(LEVELS)))
def test_a_name_is_looked_up_where_it_stands(level: int) -> None:
    absent = 0
    for seed in SEEDS:
        exercise = look_up(np.random.default_rng(seed), level, WORLD)
        lists = {
            int(number): names.split(", ")
            for number, names in re.findall(r"Image-(\d+): (.*)\.", str(exercise.parts[0]))
        }
        assert 1 <= len(lists) <= LEVELS[level][0] and all(len(v) <= LEVELS[level][1] for v in lists.values())
        said = FOUND.fullmatch(exercise.completion)
        assert said and asked(exercise) == f"Locate: {said[1]}."
        holders = [number for number, names in lists.items() if said[1] in names]
        assert holders == ([int(said[2])] if said[2] else [])
        absent += not holders
    assert 0 < absent < len(SEEDS) / 2


@pytest.mark.parametrize("level", range(len(LEVELS)))
def test_what_is_located_is_there(level: int) -> None:
    for seed in SEEDS:
        exercise = locate(np.random.default_rng(seed), level, WORLD, FAMILY)
        scenes = shown(exercise)
        assert list(scenes) == list(range(1, len(scenes) + 1))
        queries = asked(exercise).removeprefix("Locate: ").removesuffix(".").split(", ")
        found = {m[1]: m[2] for m in FOUND.finditer(exercise.completion)}
        assert list(found) == queries
        for name, number in found.items():
            holders = [k for k, scene in scenes.items() if name in scene.names]
            assert holders == ([int(number)] if number else [])
        assert [name for _, name, _ in boxes_of(exercise)] == [name for name in queries if found[name]]
        for number, name, numbers in boxes_of(exercise):
            thing = next(o for o in scenes[number].objects if o.name == name)
            assert numbers == to_frame(thing.box, (1, 1), FAMILY)


@pytest.mark.parametrize("level", range(POINT_LEVELS))
def test_everything_in_one_image_is_pointed_to_from_left_to_right(level: int) -> None:
    for seed in SEEDS:
        exercise = point(np.random.default_rng(seed), level, WORLD, FAMILY)
        scenes = shown(exercise)
        number = int(asked(exercise).removeprefix("Point to everything in Image-").removesuffix("."))
        things = sorted(scenes[number].objects, key=lambda o: o.box)
        assert boxes_of(exercise) == [(number, o.name, to_frame(o.box, (1, 1), FAMILY)) for o in things]


def test_every_image_is_described() -> None:
    for seed in SEEDS:
        exercise = describe(np.random.default_rng(seed), 3, WORLD, FAMILY)
        said = re.findall(r"Image-(\d+): ([a-z, ]+)\.", exercise.completion)
        assert {int(k): sorted(names.split(", ")) for k, names in said} == {
            k: sorted(scene.names) for k, scene in shown(exercise).items()
        }


def test_what_stands_at_a_box_is_named() -> None:
    for seed in SEEDS:
        exercise = name_it(np.random.default_rng(seed), 3, WORLD, FAMILY)
        said = re.fullmatch(r"Name: Image-(\d+) \((\d+),(\d+)\),\((\d+),(\d+)\)\.", asked(exercise))
        assert said
        box = tuple(int(v) for v in said.groups()[1:])
        (thing,) = (o for o in shown(exercise)[int(said[1])].objects if to_frame(o.box, (1, 1), FAMILY) == box)
        assert exercise.completion == f"Name: {thing.name}."


def test_the_image_that_has_a_name_is_told() -> None:
    for seed in SEEDS:
        exercise = which_image(np.random.default_rng(seed), 3, WORLD, FAMILY)
        said = FOUND.fullmatch(exercise.completion)
        assert said and asked(exercise) == f"Which image has: {said[1]}?"
        assert [k for k, scene in shown(exercise).items() if said[1] in scene.names] == [int(said[2])]


def test_one_image_is_described() -> None:
    for seed in SEEDS:
        exercise = describe_one(np.random.default_rng(seed), 3, WORLD, FAMILY)
        number = int(asked(exercise).removeprefix("Describe Image-").removesuffix("."))
        things = sorted(shown(exercise)[number].objects, key=lambda o: o.box)
        assert exercise.completion == f"Image-{number}: {', '.join(o.name for o in things)}."


def test_two_images_are_compared() -> None:
    same = 0
    for seed in SEEDS:
        exercise = compare(np.random.default_rng(seed), 3, WORLD, FAMILY)
        scenes = shown(exercise)
        said = re.fullmatch(r"Compare Image-(\d+) and Image-(\d+)\.", asked(exercise))
        assert said
        first, second = (int(k) for k in said.groups())
        assert first < second
        alike = set(scenes[first].names) == set(scenes[second].names)
        told = re.fullmatch(r"Image-(\d+): (.*)\. Image-(\d+): (.*)\. (Same|Different)\.", exercise.completion)
        assert told and (int(told[1]), int(told[3])) == (first, second)
        for number, names in ((first, told[2]), (second, told[4])):
            assert sorted(names.split(", ")) == sorted(scenes[number].names)
        assert alike == (told[5] == "Same")
        assert alike or len(set(scenes[first].names) ^ set(scenes[second].names)) == 2, "one object is another"
        assert scenes[first].objects != scenes[second].objects, "never the same picture"
        same += alike
    assert 0.25 < same / len(SEEDS) < 0.75


@pytest.mark.parametrize("kind", list(EXERCISES))
def test_no_held_out_pair_is_shown_asked_for_or_said(kind: ExerciseKind) -> None:
    held_out = set(SEEN.vocabulary) - set(SEEN.names)
    assert held_out
    for seed in SEEDS:
        exercise = EXERCISES[kind](np.random.default_rng(seed), 2, SEEN, FAMILY)
        assert set().union(*(scene.names for scene in exercise.scenes)) <= set(SEEN.names)
        spoken = " ".join([exercise.completion, *(part for part in exercise.parts if isinstance(part, str))])
        assert not [name for name in held_out if re.search(rf"\b{name}\b", spoken)]


@pytest.mark.parametrize("kind", list(EXERCISES))
def test_an_exercise_is_about_objects_that_it_shows(kind: ExerciseKind) -> None:
    for seed in SEEDS:
        exercise = EXERCISES[kind](np.random.default_rng(seed), 2, WORLD, FAMILY)
        things = [thing for scene in exercise.scenes for thing in scene.objects]
        assert all(thing in things for thing in exercise.about)


@pytest.mark.parametrize("make", list(EXERCISES.values()))
def test_an_exercise_is_a_function_of_its_seed(make: Callable[..., Any]) -> None:
    one, two, other = (make(np.random.default_rng(seed), 1, WORLD, FAMILY) for seed in (7, 7, 8))
    assert one == two != other


@pytest.mark.parametrize("make", [made for kind, made in EXERCISES.items() if kind != "compare"])
def test_no_name_is_in_two_images(make: Callable[..., Any]) -> None:
    """Else "which image" would have two right answers."""
    for seed in SEEDS:
        names = [n for s in shown(make(np.random.default_rng(seed), 2, WORLD, FAMILY)).values() for n in s.names]
        assert len(names) == len(set(names)) and set(names) <= set(NAMES)


def test_the_curriculum_goes_up_when_passed_and_never_down() -> None:
    curriculum = Curriculum(levels=3, goal=0.9)
    levels = []
    for accuracy in [*[1.0] * 60, *[0.0] * 20, *[1.0] * 100]:
        curriculum.update(accuracy)
        levels.append(curriculum.level)
    assert levels == sorted(levels) and levels[-1] == 2
    first = levels.index(1)
    assert first >= 40, "one lucky batch passes nothing"
    assert levels.index(2) > first + 40, "every level starts from nothing"


def test_the_curriculum_draws_the_present_level_and_those_below() -> None:
    curriculum = Curriculum(levels=4, goal=0.9)
    curriculum.level = 2
    drawn = [curriculum.draw(np.random.default_rng(seed)) for seed in range(400)]
    assert set(drawn) == {0, 1, 2}
    assert 0.7 < drawn.count(2) / 400 < 0.95

"""The grouping key of ``--group-by``: which samples belong together, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from mirg.errors import ConfigError
from mirg.samples import ImageRef, Sample
from mirg.samples.grouping import NoGroup, parse_group_by


def sample(*paths: str, **fields: Any) -> Sample:
    images = tuple(ImageRef(path=path) for path in paths or ("a.png",))
    return Sample(**{"id": "s", "task": "region", "question": "?", "images": images} | fields)


@pytest.mark.parametrize(
    ("text", "one", "keys", "why"),
    [
        ("meta.scene", sample(meta={"scene": "kitchen"}), ["kitchen"], "a field"),
        ("meta.rig.scene", sample(meta={"rig": {"scene": 7}}), ["7"], "a field inside a field, a number"),
        ("meta.scene", sample(meta={"scene": 7.0}), ["7"], "tables with a hole turn whole numbers into floats"),
        ("meta.scene", sample(meta={"scene": "Ku\u0308che "}), ["K\u00fcche"], "decomposed, with a blank"),
        ("task", sample(), ["region"], "a field of the sample"),
        ("source", sample(source="coco"), ["coco"], "another one"),
        (r"scenes/([^/]+)/", sample("@img/scenes/a/left.jpg"), ["a"], "an expression, below a declared root"),
        (r"scenes/([^/]+)/", sample("scenes/a/1.jpg", "scenes/b/1.jpg", "scenes/a/2.jpg"), ["a", "b"], "two scenes"),
        ("scenes/*/", sample("@img/raw/scenes/a/left.jpg"), ["a"], "a folder pattern, deeper in the tree"),
        ("*", sample("@img/film_3/00001.jpg"), ["film_3"], "the first folder"),
        ("scene_*_cam?.jpg", sample("x/scene_12_cam3.jpg"), ["12"], "a pattern of file names"),
        ("**/crops/*/", sample("a/b/crops/p7/2.png"), ["p7"], "any folders before"),
        (r"([^/]+)_crop\d+\.png$", sample("c/photo.1_crop12.png"), ["photo.1"], "crops of one picture"),
    ],
)
def test_keys(text: str, one: Sample, keys: list[str], why: str) -> None:
    assert parse_group_by(text).keys(one) == keys, why


@pytest.mark.parametrize(
    ("text", "one", "says"),
    [
        ("meta.scene", sample(), "meta.scene is missing"),
        ("meta.scene", sample(meta={"scene": ""}), "holds no text or number"),
        ("meta.scene", sample(meta={"scene": True}), "holds no text or number: True"),
        ("meta.scene", sample(meta={"scene": ["a"]}), "holds no text or number"),
        ("meta.rig.scene", sample(meta={"rig": "a"}), "meta.rig.scene is missing"),
        ("scenes/*/", sample("scenes/a/1.jpg", "other/2.jpg"), "the path of image other/2.jpg does not match scenes"),
        ("scenes/*/", sample("myscenes/a/1.jpg"), "does not match"),
    ],
)
def test_a_sample_without_a_group(text: str, one: Sample, says: str) -> None:
    with pytest.raises(NoGroup, match=says.replace("*", r"\*")):
        parse_group_by(text).keys(one)


def test_the_groups_that_can_be_found() -> None:
    by = parse_group_by("scenes/*/")
    assert by.known(sample("images/edited.png", "scenes/a/1.png", "scenes/b/1.png", "scenes/a/2.png")) == ["a", "b"]
    assert by.known(sample("images/edited.png")) == [] == parse_group_by("meta.scene").known(sample())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("scene", "0 groups, exactly one is needed"),
        ("scenes/*/*", "2 groups"),
        (r"(a)(b)", "2 groups"),
        (r"scenes/([^/]+", "unterminated|missing|unbalanced"),
        ("meta.", "0 groups"),
    ],
)
def test_what_is_no_grouping(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        parse_group_by(text)
    assert caught.value.hint

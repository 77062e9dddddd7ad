"""Looks in the chains of the rules: their places, what is read off them, and what the checks refuse."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.answers.looks import LookBudget, replay
from mirg.answers.markup import box_markup, cited, look_markup
from mirg.answers.prompts import write_completion
from mirg.answers.read import read
from mirg.data.scenes.generate import write_scenes
from mirg.errors import ConfigError
from mirg.families import FAMILIES, MIRG_TINY, QWEN3_VL
from mirg.geometry import share_inside
from mirg.samples.schema import ImageRef, ObjectNote, Sample, Target
from mirg.trajectories.build import attach, build_dataset, rules_writer
from mirg.trajectories.checks import failures, verify
from mirg.trajectories.looks import SMALL, shown, with_looks
from mirg.trajectories.writer import build

RING, CROSS, STAR, LARGE = (0.4, 0.5, 0.46, 0.55), (0.7, 0.1, 0.78, 0.2), (0.05, 0.8, 0.1, 0.9), (0.5, 0.1, 0.9, 0.4)
SIZES = ((400, 300), (900, 600), (320, 640))
NOTES = [(("blue ring", CROSS),), (("red ring", RING), ("star", LARGE)), (("star", STAR),)]


def sample_of(box=RING, notes=NOTES, roles=("candidate",) * 3, **more) -> Sample:
    """A small red ring in the second image, and in the first one something that may be taken for it."""
    images = tuple(
        ImageRef(
            path=f"{k}",
            width=w,
            height=h,
            role=roles[k],
            objects=tuple(ObjectNote(label=label, box=box if place == RING else place) for label, place in notes[k]),
        )
        for k, (w, h) in enumerate(SIZES)
    )
    usual = {"id": "s", "task": "group_grounding", "question": "Where is the red ring?", "image_hidden": True}
    targets = (Target(image=2, box=box, label="red ring"),)
    return Sample(**({"images": images, "targets": targets} | usual | more))


def looked(sample: Sample, looks: int = 3) -> list[tuple[int, list[str]]]:
    """(image, what the crop shows) of every look in the chain of the rules."""
    chain = with_looks(build(sample), sample, looks, plain=False).thinking
    return [(image, shown(sample, image, box)) for image, box in cited(chain, "look")]


@pytest.mark.parametrize("voice", ["plain", "terse"])
@given(st.integers(0, 60), st.integers(1, 4))
def test_chains_with_looks_pass_every_check(voice: str, seed: int, looks: int) -> None:
    """They look around the target, at most as often as they may, and read back in every family."""
    sample = sample_of()
    found = attach(sample, rules_writer(voice, seed=seed, looks=looks))  # type: ignore[arg-type]
    assert isinstance(found, Sample), found
    told = found.trajectory
    assert told is not None and told.writer.endswith("+looks/3")
    places = cited(told.thinking, "look")
    assert [image for image, _ in places] == [1, 2][:looks]
    assert share_inside((CROSS, RING)[len(places) - 1], places[-1][1]) == 1.0
    for family in (QWEN3_VL, MIRG_TINY, FAMILIES["qwen2.5-vl"]):
        text = write_completion(told.thinking, told.answer, sample.sizes, family)
        steps = replay(text, sample.sizes, family, LookBudget(max_looks=looks))
        assert read(text, sample.sizes, family, looks=True).format_score == 1.0
        assert [step.refusal for step in steps] == [None] * len(places)
        boxes = [step.look.box for step in steps if step.look]
        assert all(share_inside(box, seen) == 1.0 for box, seen in zip((CROSS, RING), boxes, strict=False)), "rounded"


def test_without_small_targets_chains_stay_as_they_are() -> None:
    large = sample_of((0.2, 0.2, 0.2 + SMALL**0.5 + 0.01, 0.2 + SMALL**0.5))
    chain = build(large)
    assert with_looks(chain, large, 3, plain=False) is chain
    assert rules_writer("terse")(sample_of()) == build(sample_of())


def test_the_chain_searches_image_by_image_and_stops_at_the_target() -> None:
    chain = with_looks(build(sample_of()), sample_of(), 3, plain=False).thinking
    assert chain.startswith("Target: red ring. <look image=1>")
    assert [said.split(". ")[0] for said in chain.split("</look>")[1:]] == ["Image-1a: blue ring", "Image-2a: red ring"]
    plain = rules_writer("plain", looks=3)(sample_of()).thinking
    assert "blue ring, but no red ring" in plain


MARKED = [(("blue ring", CROSS), ("red ring", STAR)), (("red ring", RING), ("blue cross", CROSS)), (("star", STAR),)]
SAME = [(("red ring", CROSS),), *NOTES[1:]]
ODD = [(("blue ring", CROSS),), NOTES[1], (("blue ring", STAR),)]
ASKED = {"question": "Find the thing at <box image=1>0.7,0.1,0.78,0.2</box> in Image-2.", "image_hidden": False}


@pytest.mark.parametrize(
    ("why", "changed", "expected"),
    [
        ("the image is known", {"image_hidden": False}, [(2, ["red ring"])]),
        ("the first image is a reference", {"roles": ("reference", "candidate", "candidate")}, [(2, ["red ring"])]),
        ("other images show the same", {"notes": SAME}, [(2, ["red ring"])]),
        ("objects may be missing in the notes", {"meta": {"incomplete": ["crowd"]}}, [(2, ["red ring"])]),
        ("images are compared as a whole", {"task": "counting"}, [(2, ["red ring"])]),
        ("the odd one is only known when all are seen", {"task": "odd_one_out", "notes": ODD},
         [(1, ["blue ring"]), (2, ["red ring"]), (3, ["blue ring"])]),
        ("the image is known by a companion", {"task": "companion", "notes": MARKED, "meta": {"mark": "blue cross"}},
         [(1, ["blue ring"]), (2, ["blue cross"]), (2, ["red ring"])]),
        ("what is asked about comes first", ASKED | {"task": "object_tracking"},
         [(1, ["blue ring"]), (2, ["red ring"])]),
        ("a look at one object shows the other too",
         {"notes": [(("blue ring", CROSS), ("green ring", (0.71, 0.11, 0.77, 0.19))), *NOTES[1:]]},
         [(1, ["blue ring", "green ring"]), (2, ["red ring"])]),
    ],
)  # fmt: skip
def test_where_a_chain_looks(why: str, changed: dict[str, Any], expected: list[tuple[int, list[str]]]) -> None:
    assert looked(sample_of(**changed)) == expected, why
    assert looked(sample_of(**changed), 1) == expected[:1], why


def test_looks_stand_before_what_they_decide() -> None:
    def terse(**changed: Any) -> str:
        sample = sample_of(**changed)
        return re.sub("<(look|box) .*?</.*?>", r"\1", with_looks(build(sample), sample, 3, plain=False).thinking)

    assert terse(task="counting") == (
        "Image-1: 1. Image-2: 2. Image-3: 1. Most: Image-2. Target: red ring. lookImage-2a: red ring. "
        "Box: Image-2 red ring box."
    )
    tracked = terse(**ASKED, task="object_tracking")
    assert tracked.startswith("lookImage-1a: blue ring. Target: red ring. lookImage-2a: red ring. Where: Image-2.")
    common = terse(question="What do all images show? Point to it in Image-2.", image_hidden=False)
    assert common.startswith("lookImage-2a: red ring. Target: red ring."), "it is not known before"
    found = terse(task="companion", notes=MARKED, meta={"mark": "blue cross"})
    assert found.endswith("Image-2. Target: red ring. lookImage-2b: red ring. Box: Image-2 red ring box."), found


def test_a_box_read_off_a_crop_may_come_before_the_statement_about_the_images() -> None:
    sample = sample_of()
    crop = "Image-2a: red ring"
    chain = with_looks(build(sample), sample, 3, plain=False).thinking
    read_off = chain.replace(crop, f"{crop} {box_markup(2, RING)}")
    early = f"Box: Image-2 red ring {box_markup(2, RING)}. {chain}"
    for thinking, problem in ((read_off, None), (early, "a box is cited before any statement about the images")):
        told = build(sample).model_copy(update={"thinking": thinking})
        assert failures(verify(sample, told)).get("levels") == problem, thinking
    box = f"Box: Image-2 red ring {box_markup(2, RING)}."
    assert box in read_off, "the box is cited twice"
    told = build(sample).model_copy(update={"thinking": read_off.replace(box, "").rstrip()})
    assert not failures(verify(sample, told)), "the citation of the crop is enough"


@pytest.mark.parametrize(
    ("old", "new", "check", "reason"),
    [
        ("Image-2a:", "Image-2b:", "images_exist", "Image-2b is a crop, but no look before it has made it"),
        ("Image-2a: red ring", "Image-2a: star", "citations", "Image-2a is said to show 'star', which is not"),
        ("Image-2a: red ring", "Image-2a: no red ring", "citations", "Image-2a is said not to show 'red ring'"),
        ("<look image=2>", "<look image=4>", "grammar", "Image-4 does not exist"),
        ("<look image=2>0.", "<look image=2>1.", "grammar", "the box is"),
        ("</look>", "", "grammar", "not <look image=N>x1,y1,x2,y2</look>"),
        ("Image-2a:", "<look>there</look> Image-2a:", "grammar", "'<look>'"),
    ],
)
def test_lies_about_looks_are_noticed(old: str, new: str, check: str, reason: str) -> None:
    sample = sample_of(image_hidden=False)
    chain = with_looks(build(sample), sample, 1, plain=False)
    assert not failures(verify(sample, chain))
    found = failures(verify(sample, chain.model_copy(update={"thinking": chain.thinking.replace(old, new, 1)})))
    assert reason in found[check], found


def test_a_crop_may_not_be_cited_before_its_look() -> None:
    sample = sample_of(image_hidden=False)
    chain = with_looks(build(sample), sample, 1, plain=False)
    early = chain.model_copy(update={"thinking": f"Image-2a: red ring. {chain.thinking}"})
    assert "no look before it" in failures(verify(sample, early))["images_exist"]
    two = chain.model_copy(update={"thinking": chain.thinking.replace("</look>", f"</look>{look_markup(2, CROSS)}", 1)})
    assert "images_exist" not in failures(verify(sample, two))
    first = chain.thinking.replace("</look>", f"</look>Image-2b: star. {look_markup(2, CROSS)}", 1)
    found = failures(verify(sample, chain.model_copy(update={"thinking": first})))
    assert "Image-2b is a crop, but no look before it" in found["images_exist"], "each look makes its own crop"
    assert look_markup(2, RING) not in chain.thinking


def test_a_dataset_with_looks(tmp_path: Path) -> None:
    from mirg.data.scenes.world import load_world
    from mirg.samples import DatasetFolder

    world = load_world("tiny/world").model_copy(update={"side": 200, "object_side": (0.05, 0.2)})
    write_scenes(tmp_path / "data", 17, split="train", config=world)
    source = DatasetFolder.open(tmp_path / "data")
    report = build_dataset(source, tmp_path / "out", voice="plain", looks=2)
    chains = [sample.trajectory.thinking for sample in DatasetFolder.open(tmp_path / "out") if sample.trajectory]
    assert report.n_rejected == 0 and any("</look>" in chain for chain in chains)
    with pytest.raises(ConfigError, match="--looks is for the writer rules"):
        build_dataset(source, tmp_path / "other", writer="object-level", looks=2)

"""Looks in the chains of the rules: their places, what is read off them, and what the checks refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.answers.looks import LookBudget, replay
from mirg.answers.markup import cited, look_markup
from mirg.answers.prompts import write_completion
from mirg.answers.read import read
from mirg.data.scenes.generate import write_scenes
from mirg.errors import ConfigError
from mirg.families import FAMILIES, MIRG_TINY, QWEN3_VL
from mirg.geometry import share_inside
from mirg.samples.schema import ImageRef, ObjectNote, Sample, Target
from mirg.trajectories.build import attach, build_dataset, rules_writer
from mirg.trajectories.checks import failures, verify
from mirg.trajectories.looks import SMALL, with_looks
from mirg.trajectories.writer import build

RING, CROSS, STAR = (0.40, 0.50, 0.46, 0.55), (0.70, 0.10, 0.78, 0.20), (0.05, 0.80, 0.10, 0.90)


def sample_of(box=RING, **more) -> Sample:
    notes = [
        (ObjectNote(label="blue cross", box=CROSS),),
        (ObjectNote(label="red ring", box=box), ObjectNote(label="star", box=(0.5, 0.1, 0.9, 0.4))),
        (ObjectNote(label="star", box=STAR),),
    ]
    sizes = [(400, 300), (900, 600), (320, 640)]
    return Sample(
        id="s",
        task="group_grounding",
        images=tuple(ImageRef(path=f"{k}", width=w, height=h, objects=notes[k]) for k, (w, h) in enumerate(sizes)),
        question="Where is the red ring?",
        targets=(Target(image=2, box=box, label="red ring"),),
        image_hidden=True,
        **more,
    )


@pytest.mark.parametrize("voice", ["plain", "terse"])
@given(st.integers(0, 60), st.integers(1, 4))
def test_chains_with_looks_pass_every_check(voice: str, seed: int, looks: int) -> None:
    """They look around the target, at most as often as they may, and read back in every family."""
    sample = sample_of()
    found = attach(sample, rules_writer(voice, seed=seed, looks=looks))  # type: ignore[arg-type]
    assert isinstance(found, Sample), found
    told = found.trajectory
    assert told is not None and told.writer.endswith("+looks/1")
    places = cited(told.thinking, "look")
    assert 1 <= len(places) <= looks and places[-1][0] == 2 and share_inside(RING, places[-1][1]) == 1.0
    assert all(image != 2 for image, _ in places[:-1])
    for family in (QWEN3_VL, MIRG_TINY, FAMILIES["qwen2.5-vl"]):
        text = write_completion(told.thinking, told.answer, sample.sizes, family)
        steps = replay(text, sample.sizes, family, LookBudget(max_looks=looks))
        assert read(text, sample.sizes, family, looks=True).format_score == 1.0
        assert [step.refusal for step in steps] == [None] * len(places)
        assert steps[-1].look is not None and share_inside(RING, steps[-1].look.box) == 1.0, "after rounding, too"


def test_without_small_targets_chains_stay_as_they_are() -> None:
    large = sample_of((0.2, 0.2, 0.2 + SMALL**0.5 + 0.01, 0.2 + SMALL**0.5))
    chain = build(large)
    assert with_looks(chain, large, 3, plain=False) is chain
    assert rules_writer("terse")(sample_of()) == build(sample_of())


def test_what_is_asked_for_comes_before_the_looks() -> None:
    chain = with_looks(build(sample_of()), sample_of(), 1, plain=False).thinking
    assert chain.startswith("Target: red ring. <look image=2>") and "</look>Image-2a: red ring" in chain


def test_a_look_at_something_else_says_what_it_is() -> None:
    """Some chains look at the small objects of other images first."""
    chains = [rules_writer("plain", seed=seed, looks=3)(sample_of()).thinking for seed in range(20)]
    others = [chain for chain in chains if len(cited(chain, "look")) > 1]
    assert others and all("a" in chain for chain in others)
    assert any("blue cross, but no red ring" in chain for chain in others)


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
    chain = with_looks(build(sample_of()), sample_of(), 1, plain=False)
    assert not failures(verify(sample_of(), chain))
    found = failures(verify(sample_of(), chain.model_copy(update={"thinking": chain.thinking.replace(old, new, 1)})))
    assert reason in found[check], found


def test_a_crop_may_not_be_cited_before_its_look() -> None:
    chain = with_looks(build(sample_of()), sample_of(), 1, plain=False)
    early = chain.model_copy(update={"thinking": f"Image-2a: red ring. {chain.thinking}"})
    assert "no look before it" in failures(verify(sample_of(), early))["images_exist"]
    two = chain.model_copy(update={"thinking": chain.thinking.replace("</look>", f"</look>{look_markup(2, CROSS)}", 1)})
    assert "images_exist" not in failures(verify(sample_of(), two))
    first = chain.thinking.replace("</look>", f"</look>Image-2b: star. {look_markup(2, CROSS)}", 1)
    found = failures(verify(sample_of(), chain.model_copy(update={"thinking": first})))
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

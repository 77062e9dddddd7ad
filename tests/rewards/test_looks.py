"""Rewards for looks and citations: worked examples, and the laws that hold for any completion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.speed import grows_at_most
from mirg.answers.looks import Look, LookBudget, look_text
from mirg.answers.prompts import write_completion
from mirg.families import FAMILIES, QWEN3_VL
from mirg.rewards import score
from mirg.rewards.looks import PARTS, LookRewards, citations, look_functions, look_parts
from mirg.rewards.parts import Part
from mirg.samples.schema import ImageRef, ObjectNote, Sample, Target

RING, SHORT, CROSS = (0.10, 0.20, 0.15, 0.25), (0.6, 0.2, 0.7, 0.3), (0.5, 0.5, 0.6, 0.7)
NOTES = (ObjectNote(label="red ring", box=RING), ObjectNote(label="ring", box=SHORT))
SAMPLE = Sample(
    id="s",
    task="refer",
    images=(
        ImageRef(path="a", width=640, height=480, role="reference", objects=(ObjectNote(label="cross", box=CROSS),)),
        ImageRef(path="b", width=300, height=900, objects=NOTES),
        ImageRef(path="c", width=200, height=100),
    ),
    question="q",
    targets=(Target(image=2, box=RING, label="red ring"),),
)
NOTHING = SAMPLE.model_copy(update={"targets": (), "images": SAMPLE.images[1:]})
THREE = LookBudget(max_looks=3)
NEAR, ELSEWHERE, ALL = (2, (0.05, 0.1, 0.3, 0.4)), (2, (0.5, 0.1, 0.8, 0.4)), (2, (0.0, 0.0, 1.0, 1.0))


def text_of(*looks: tuple[int, tuple[float, ...]], chain: str = "") -> str:
    said = "".join(look_text(Look(k, box), SAMPLE.sizes, QWEN3_VL) for k, box in looks)  # type: ignore[arg-type]
    return f"<think>{chain}{said}</think><answer>Image-2: (100,200),(150,250)</answer>"


def values_of(text: str, sample: Sample = SAMPLE, budget: LookBudget = THREE) -> dict[str, float]:
    return {name: round(part.value, 3) for name, part in look_parts(text, sample, QWEN3_VL, budget).items()}


@pytest.mark.parametrize(
    ("looks", "image", "cover", "cost", "diversity", "why"),
    [
        ([], 0, 0, 1, 0, "no look"),
        ([NEAR], 1, 1, 0.667, 0.333, "the right look"),
        ([ELSEWHERE], 1, 0, 0.667, 0.333, "the right image, another place"),
        ([(3, NEAR[1])], 0, 0, 0.667, 0.333, "the right place, another image"),
        ([(1, NEAR[1])], 1, 0, 0.667, 0.333, "a reference matters, too"),
        ([ALL], 1, 0, 0.667, 0.333, "a look at everything covers nothing"),
        ([NEAR, NEAR], 1, 1, 0.333, 0.333, "the second one shows nothing new"),
        ([NEAR, (3, NEAR[1])], 0.5, 1, 0.333, 0.667, "the same box in another image is another place"),
        ([NEAR, ELSEWHERE, (3, NEAR[1]), NEAR], 0.75, 1, 0, 1, "one more than the budget"),
        ([(2, (0.1, 0.2, 0.125, 0.25))], 1, 0.5, 0.667, 0.333, "half of the target"),
        ([NEAR, (2, (0.3, 0.1, 0.05, 0.4))], 0.5, 1, 0.333, 0.333, "a look that is refused is a look, too"),
    ],
)
def test_what_looks_earn(looks, image, cover, cost, diversity, why) -> None:
    found = values_of(text_of(*looks))
    expected = {"look_image": image, "look_cover": cover, "look_cost": cost, "look_diversity": diversity}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=0.02), why


@pytest.mark.parametrize(
    ("chain", "grounded", "why"),
    [
        ("", 0, "nothing is cited"),
        ("The red ring Image-2 (100,200),(150,250).", 1, "the object of that name"),
        ("The red ring is at (100,200),(150,250) in Image-2.", 1, "the image behind its box"),
        ("Image-1 shows a cross. In Image-2, the red ring is at (100,200),(150,250).", 1, "in a sentence"),
        ("The two in Image-2 are at (600,200),(700,300) and (100,200),(150,250).", 1, "the next box of a list"),
        ("Image-2a shows the red ring, which is at (100,200),(150,250).", 1, "a crop is a part of its image"),
        ("The ring Image-2 (100,200),(150,250).", 0, "another object has that name"),
        ("It is Image-2 (100,200),(150,250).", 1, "no name is said"),
        ("The red ring Image-1 (100,200),(150,250).", 0, "nothing is there"),
        ("The red ring Image-7 (100,200),(150,250).", 0, "no such image"),
        ("As in Image-1, the red ring Image-2 (100,200),(150,250).", 1, "the image that is named last before it"),
        ("The red ring (100,200),(150,250).", 0, "no image"),
        ("The red ring Image-3 (100,200),(150,250).", 0, "an image without annotation is not judged"),
        ("Red ring Image-2 (100,200),(150,250). Cross Image-1 (500,500),(600,700). Ring Image-2 (1,1),(2,2).", 0.667, ""),  # noqa: E501
        ('[{"image": 2, "bbox_2d": [100, 200, 150, 250], "label": "x"}]', 1, "in JSON"),
    ],
)  # fmt: skip
def test_what_citations_earn(chain: str, grounded: float, why: str) -> None:
    part = look_parts(text_of(NEAR, chain=chain), SAMPLE, QWEN3_VL, THREE)["grounded"]
    assert part.value == pytest.approx(grounded, abs=1e-3), (why, part.reason)


def test_a_look_is_no_citation() -> None:
    assert not list(citations(text_of(NEAR, ALL).split("</think>")[0], SAMPLE, QWEN3_VL))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_a_citation_is_read_in_the_frame_of_its_family(family) -> None:
    """Written by the writer of the trajectories, read by the reward."""
    chain = "The ring Image-2 <box image=2>0.48,0.2,0.76,0.4</box>."
    big = SAMPLE.model_copy(update={"targets": (Target(image=2, box=(0.48, 0.2, 0.76, 0.4), label="ring"),)})
    text = write_completion(chain, big.targets, big.sizes, family)
    assert look_parts(text, big, family, THREE)["grounded"] == Part(1.0)


@pytest.mark.parametrize(
    "piece", ["<look>", "</look>", "<look>x</look>", "red ring Image-2 (100,200),(150,250) ", "Image-2 ("]
)
def test_scoring_looks_takes_linear_time(piece: str) -> None:
    short, long = ("<think>" + piece * n + "</think><answer>none</answer>" for n in (200, 1600))
    once, more = (lambda text=text: values_of(text) for text in (short, long))
    assert grows_at_most(20, once, more, spare=0.005)


def test_without_targets_no_look_is_wrong() -> None:
    found = values_of("<think></think><answer>none</answer>", NOTHING)
    assert (found["look_image"], found["look_cover"]) == (1.0, 1.0)


places = st.tuples(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.05, 0.9), st.floats(0.05, 0.9))
looks = st.tuples(st.integers(1, 3), places.map(lambda v: (v[0], v[1], min(v[0] + v[2], 1.0), min(v[1] + v[3], 1.0))))
pieces = st.sampled_from(["<look>", "</look>", "</think>", "Image-2", "(1,2),(30,400)", " red ring ", "[", "nan", "."])


@given(st.lists(pieces, max_size=30).map("".join), st.integers(0, 4))
def test_every_part_is_in_range_and_says_why(text: str, most: int) -> None:
    for part in look_parts(text, SAMPLE, QWEN3_VL, LookBudget(max_looks=most)).values():
        assert 0.0 <= part.value <= 1.0 and (part.reason is None) == (part.value == 1.0)


@given(st.lists(looks, min_size=1, max_size=2), looks)
def test_laws(some, more) -> None:
    """A further look never costs less, and never uncovers a target; a look that is made again shows nothing new."""
    before, after = values_of(text_of(*some)), values_of(text_of(*some, more))
    assert after["look_cost"] <= before["look_cost"] and after["look_cover"] >= before["look_cover"]
    again = values_of(text_of(*some, some[-1]))
    assert again["look_diversity"] == before["look_diversity"]
    assert values_of(text_of(*some))["look_image"] == values_of(text_of(*reversed(some)))["look_image"]


@given(st.lists(looks, max_size=4))
def test_looks_do_not_change_the_reward_of_the_answer(some) -> None:
    plain, seen = (score(text, SAMPLE, QWEN3_VL, looks=True) for text in (text_of(), text_of(*some)))
    assert (plain.total, plain.values) == (seen.total, seen.values)


def test_functions_for_trl_say_why() -> None:
    weights = LookRewards(look_image=0.2, grounded=0.1)
    found = look_functions(weights, QWEN3_VL, THREE)
    assert [(one.__name__, weight) for one, weight in found] == [("look_image", 0.2), ("grounded", 0.1)]
    text = text_of(NEAR, (3, NEAR[1]))
    first, second = (one for one, _ in found)
    assert first(completions=[text, text_of(NEAR)], sample=[SAMPLE, SAMPLE]) == [0.5, 1.0]
    assert first.reason(text, SAMPLE) == "1 of 2 looks are at an image that matters"  # type: ignore[attr-defined]
    assert second(completions=[text], record=[SAMPLE.model_dump_json()]) == [0.0]
    assert list(PARTS) == list(LookRewards.model_fields) and not LookRewards().weights

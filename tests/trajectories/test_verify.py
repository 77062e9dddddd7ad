"""The checks of a trajectory: correct chains pass, every planted defect is found by the check meant for it."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fakes.speed import grows_at_most, takes_at_most
from mirg.answers.markup import box_markup
from mirg.families import FAMILIES
from mirg.samples import ImageRef, ObjectNote, Sample, Target, Trajectory
from mirg.trajectories.checks import VerifyConfig, checks_of, failures, verify

RING = (0.1, 0.2, 0.4, 0.5)  # in Image-2
CROSS = (0.6, 0.6, 0.9, 0.9)  # in Image-2
STAR = (0.2, 0.2, 0.5, 0.5)  # in Image-1 and Image-3
AT_RING, AT_CROSS = box_markup(2, RING), box_markup(2, CROSS)
AT_STAR = box_markup(3, STAR)
AT_NOTHING, AT_SHIFTED = box_markup(2, (0.0, 0.7, 0.2, 1.0)), box_markup(2, (0.25, 0.2, 0.55, 0.5))


def image(name: str, *objects: tuple[str, tuple[float, float, float, float]]) -> ImageRef:
    notes = tuple(ObjectNote(label=label, box=box) for label, box in objects)
    return ImageRef(path=f"images/{name}.png", width=640, height=480, objects=notes)


IMAGES = (
    image("a", ("green star", STAR)),
    image("b", ("red ring", RING), ("blue cross", CROSS)),
    image("c", ("green star", STAR)),
)
ANSWER = (Target(image=2, box=RING, label="red ring"),)
SAMPLE = Sample(
    id="s", task="group_grounding", images=IMAGES, question="Find the red ring.", targets=ANSWER, image_hidden=True
)
NOWHERE = SAMPLE.model_copy(update={"task": "none", "targets": ()})
TWO = SAMPLE.model_copy(update={"targets": (*ANSWER, Target(image=3, box=STAR, label="green star"))})

TERSE = f"Target: red ring. Found: red ring Image-2. Box: Image-2 red ring {AT_RING}."


def chain(thinking: str, answer: tuple[Target, ...] = ANSWER) -> Trajectory:
    return Trajectory(thinking=thinking, answer=answer, writer="test")


def failed(trajectory: Trajectory, sample: Sample = SAMPLE, config: VerifyConfig | None = None) -> dict[str, str]:
    chosen = config or VerifyConfig()
    results = verify(sample, trajectory, config=chosen)
    assert list(results) == list(checks_of(chosen))
    return failures(results)


GOOD = [
    ("the rule writer's chain", SAMPLE, TERSE, ANSWER),
    (
        "free prose of a teacher",
        SAMPLE,
        "The first image shows a green star, the third image as well. Image 2 has a ring and a cross. "
        f"Only the ring is red, so the object is in Image-2, left of the middle: the red ring at {AT_RING}.",
        ANSWER,
    ),
    (
        "a verdict per image with a list of images",
        SAMPLE,
        "Images 1 and 3 hold no ring.\nImage-2 does.\n"
        f"The red ring is at {AT_RING}, beside the blue cross at {AT_CROSS}.",
        ANSWER,
    ),
    (
        "words of leaks, used honestly",
        SAMPLE,
        "We are given three images and a question. The given images are compared. Image-1 has a hint of green. "
        "As specified in the question, the target is a red ring; no ring is labelled 'gtx'. Image-1: no. Image-2: yes. "
        f"Image 3 no longer shows it. The red ring is at {AT_RING}.",
        ANSWER,
    ),
    ("a box a little off", SAMPLE, TERSE.replace("0.1,", "0.12,"), (Target(image=2, box=(0.12, 0.2, 0.4, 0.5)),)),
    (
        "in none of them",
        NOWHERE,
        "Target: yellow disc. Found: yellow disc in none of the images.",
        (),
    ),
    ("in none of them, image by image", NOWHERE, "Image-1: no. Image-2: no. Image-3: no. It is in no image.", ()),
    (
        "two images found in one line",
        TWO,
        f"Found: it Image-2, Image-3. Box: Image-2 red ring {AT_RING}. Box: Image-3 green star {AT_STAR}.",
        TWO.targets,
    ),
    (
        "two targets in two images, in any order",
        TWO,
        "Image-1: no. Image-2: yes. Image-3: yes. "
        f"In Image-2 the red ring is at {AT_RING}. In Image-3 the green star is at {AT_STAR}.",
        tuple(reversed(TWO.targets)),
    ),
    ("the odd one", SAMPLE, f"Image-1: star. Odd: Image-2. In Image-2 the red ring is at {AT_RING}.", ANSWER),
    ("found here and not there", SAMPLE, f"Found: the ring in Image-2, not in Image-3. It is at {AT_RING}.", ANSWER),
    (
        "the odd one, by name",
        SAMPLE,
        f"Odd: red ring. Found: red ring Image-2. Box: Image-2 red ring {AT_RING}.",
        ANSWER,
    ),
    ("a verdict per image", SAMPLE, f"Image-1: no. Image-2: yes. Image-3: no. In Image-2 it is at {AT_RING}.", ANSWER),
    ("verdicts in capitals", SAMPLE, f"IMAGE-1: No. Image-2: YES. image-3: NO. In Image-2 it is at {AT_RING}.", ANSWER),
    (
        "its place is given by another object",
        SAMPLE,
        f"Image-1: no. Image-2: yes. Left of the blue cross it lies at {AT_RING}.",
        ANSWER,
    ),
    (
        "a supposition about another image",
        SAMPLE,
        f"Image-1: no. If the target is in Image-3, it must be red. It is not. In Image-2 the ring is at {AT_RING}.",
        ANSWER,
    ),
    (
        "the same said of every image",
        SAMPLE,
        " ".join(f"In Image-{k} a wall, a floor, a lamp, two chairs and a round table." for k in (1, 2, 3))
        + f" Then Image-1 again: a wall, a floor. The red ring of Image-2 is at {AT_RING}.",
        ANSWER,
    ),
    (
        "the same sentence about every image",
        SAMPLE,
        f"Image-1 is dark. No ring is to be seen. Image-2 is bright. It has one at {AT_RING}. Image-3 is dark. "
        "No ring is to be seen. Before, in Image-1: no ring is to be seen.",
        ANSWER,
    ),
    (
        "images named by what the question has them for",
        SAMPLE.model_copy(update={"question": "Where in Image-2 is the region?"}),
        f"First I look at the region image. It shows a ring. The source image has the same ring at {AT_RING}.",
        ANSWER,
    ),
    ("image by image", SAMPLE, f"I look at each image one by one. Image-1: no. In Image-2 it is at {AT_RING}.", ANSWER),
    (
        "what it is in one image, and in another",
        SAMPLE,
        f"The wall in Image-2 has a ring, while in Image-1, it is bare. The ring is at {AT_RING}.",
        ANSWER,
    ),
    (
        "a box that is drawn in an image",
        SAMPLE.model_copy(update={"question": "What in Image-2 fits the object marked with a red box in Image-1?"}),
        f"Image-1 shows a star. What corresponds to the red box in Image-1 is the red ring of Image-2 at {AT_RING}.",
        ANSWER,
    ),
    (
        "the box of the question",
        SAMPLE.model_copy(update={"question": f"What fits {box_markup(2, (0.0, 0.7, 0.2, 1.0))}?"}),
        f"Image-2 points at {AT_NOTHING}. What fits the given box of Image-2 is the red ring {AT_RING}.".replace(
            "Image-2 points", "Image-1: no. Image-2 points"
        ),
        ANSWER,
    ),
    (
        "prose in German",
        SAMPLE,
        f"Bild 1 zeigt einen Stern, das dritte Bild auch. Im zweiten Bild liegt der Ring bei {AT_RING}.",
        ANSWER,
    ),
]


@pytest.mark.parametrize(("why", "sample", "thinking", "answer"), GOOD, ids=[row[0] for row in GOOD])
def test_correct_chains_pass_every_check(why: str, sample: Sample, thinking: str, answer: tuple[Target, ...]) -> None:
    assert failed(chain(thinking, answer), sample) == {}


SEEN = "Image-1: no. Image-2: yes. Image-3: no."
IN_3 = (Target(image=3, box=STAR),)

# (why, thinking, answer, check that must fail, words of its reason)
PLANTED = [
    ("an answer in the wrong image", TERSE, IN_3, "final_image_set", "names Image-3, the truth is Image-2"),
    ("one image too many", TERSE, (*ANSWER, *IN_3), "final_image_set", "Image-2, Image-3"),
    ("no answer although there is a target", TERSE, (), "final_image_set", "names none"),
    ("a shifted box", TERSE, (Target(image=2, box=(0.3, 0.4, 0.6, 0.7)),), "iou", "Image-2: 0 of 1"),
    ("the same box twice", TERSE, (*ANSWER, *ANSWER), "iou", "2 boxes, the truth 1"),
    ("the right box in the wrong image", TERSE, (Target(image=1, box=RING),), "iou", "Image-1: 0 of 1"),
    ("an image that is not there", f"Image-4: no. {TERSE}", ANSWER, "images_exist", "Image-4 does not exist"),
    ("... in prose", f"The fifth picture is empty. {TERSE}", ANSWER, "images_exist", "Image-5"),
    ("... in words", f"In image seven there is a ring. {TERSE}", ANSWER, "images_exist", "Image-7"),
    ("... in a list, the first of two", f"Images 1, 9 and 7 are dark. {TERSE}", ANSWER, "images_exist", "Image-7"),
    ("... in a span", f"Images 1-6 are alike. {TERSE}", ANSWER, "images_exist", "Image-6"),
    ("... counted from 0", f"Image-0: no. {TERSE}", ANSWER, "images_exist", "Image-0"),
    ("... ranked by number", f"The 8th image is dark. {TERSE}", ANSWER, "images_exist", "Image-8"),
    ("... in a citation", f"{SEEN} At {box_markup(6, RING)}.", ANSWER, "images_exist", "Image-6"),
    ("... in the answer", TERSE, (Target(image=9, box=RING),), "images_exist", "Image-9 does not exist"),
    ("a citation of nothing", f"{SEEN} It is at {AT_NOTHING}.", ANSWER, "citations", "agrees with nothing"),
    ("a shifted citation", f"{SEEN} It is at {AT_SHIFTED}.", ANSWER, "citations", "best IoU 0.33"),
    ("the box of another object", f"{SEEN} The red ring is at {AT_CROSS}.", ANSWER, "citations", "'red ring' is"),
    ("an object of another image", f"{SEEN} The green star is at {AT_RING}.", ANSWER, "citations", "'green star'"),
    ("a verdict against the answer", f"Image-2: no. {TERSE}", ANSWER, "verdicts", "Image-2: no"),
    ("a verdict for another image", f"Image-3: yes. {TERSE}", ANSWER, "verdicts", "Image-3: yes"),
    ("... in capitals", f"IMAGE-3: YES. {TERSE}", ANSWER, "verdicts", "Image-3: yes"),
    ("found in another image", TERSE.replace("ring Image-2", "ring Image-1"), ANSWER, "verdicts", "found: Image-1"),
    ("found in one too many", TERSE.replace("Image-2.", "Image-2, Image-3."), ANSWER, "verdicts", "found: Image-3"),
    ("found in none, answered", TERSE.replace("Image-2.", "in none of the images."), ANSWER, "verdicts", "none of"),
    ("another image chosen", f"{SEEN} Odd: Image-1. It is at {AT_RING}.", ANSWER, "verdicts", "Odd: Image-1"),
    ("found nowhere, answered", f"{SEEN} It is in none of the images. {AT_RING}", ANSWER, "verdicts", "none of"),
    ("no image-level part", f"Target: red ring. The red ring is at {AT_RING}.", ANSWER, "levels", "no image-level"),
    ("the answer is another image", f"{SEEN} So the answer is Image-3. {AT_RING}", ANSWER, "verdicts", "is img3"),
    ("... by rank", f"{SEEN} The match must be in the third image. {AT_RING}", ANSWER, "verdicts", "img3"),
    ("a German image that is not there", f"Bild 9 ist leer. {TERSE}", ANSWER, "images_exist", "Image-9"),
    ("... by rank", f"Das fünfte Bild ist leer. {TERSE}", ANSWER, "images_exist", "Image-5"),
    ("the answer's box is not cited", f"{SEEN} The blue cross is at {AT_CROSS}.", ANSWER, "levels", "not cited"),
    ("the sign of a box", f"{SEEN} It is at \u25a1. {AT_RING}", ANSWER, "grammar", "stands for a box"),
    ("named without saying", f"Surely it is in Image-2. {TERSE}", ANSWER, "no_leak", "concludes before"),
    ("no object-level part", f"Target: red ring. {SEEN}", ANSWER, "levels", "no object-level part"),
    ("the box first", f"In Image-2 the red ring is at {AT_RING}. {SEEN}", ANSWER, "levels", "before any statement"),
    ("empty", "", ANSWER, "length", "0 words"),
    ("too short", "Image-2.", ANSWER, "length", "1 words"),
    ("too many words", TERSE + " well" * 900, ANSWER, "length", "words"),
    ("too many characters", TERSE + " " + "x" * 20_000, ANSWER, "length", "characters"),
    ("a sentence again and again", TERSE + " A ring." * 2 + " A RING.", ANSWER, "repetition", "sentence occurs 3"),
    ("one word in a row", f"{SEEN} no no no no no no no no. At {AT_RING}.", ANSWER, "repetition", "in a row"),
    ("... in capitals or not", f"{SEEN} no No NO no No NO no No. At {AT_RING}.", ANSWER, "repetition", "in a row"),
    ("... about one image", f"{TERSE} In Image-1: a ring." * 3, ANSWER, "repetition", "sentence occurs 3"),
    ("a loop", TERSE + " it is red and round and near the upper left edge," * 6, ANSWER, "repetition", "one phrase"),
    ("an end of thinking inside", f"{TERSE} </think><answer>none</answer>", ANSWER, "grammar", "</think>"),
    ("a vision token inside", f"{TERSE} <|image_pad|>", ANSWER, "grammar", "<|image_pad|>"),
    ("broken markup", f"{SEEN} At <box image=2>0.1,0.2,0.4</box>.", ANSWER, "grammar", "markup"),
    ("an end of markup too many", f"{SEEN} At {AT_RING}.</box>", ANSWER, "grammar", "broken"),
    ("markup of another spelling", f"{SEEN} At <box>0.1,0.2,0.4,0.5</box> {AT_RING}.", ANSWER, "grammar", "broken"),
    ("an inverted box", f"{SEEN} At <box image=2>0.4,0.2,0.1,0.5</box>.", ANSWER, "grammar", "inverted"),
    ("numbers of one family's frame", f"{SEEN} At (100,200),(400,500) {AT_RING}.", ANSWER, "grammar", "no frame"),
    ("an answer in no image", TERSE, (Target(image=9, box=RING),), "grammar", "Image-9"),
    ("conclusion first", f"The answer is Image-2. {TERSE}", ANSWER, "no_leak", "concludes before"),
    ("conclusion first, other words", f"Target is in Image-2. {TERSE}", ANSWER, "no_leak", "concludes before"),
    ("conclusion first, by number", f"Image-2 is the correct image. {TERSE}", ANSWER, "no_leak", "concludes before"),
    ("final answer first", f"Final answer: the ring. {TERSE}", ANSWER, "no_leak", "concludes before"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("why", "thinking", "answer", "check", "words"), PLANTED, ids=[f"{row[3]}: {row[0]}" for row in PLANTED]
)
def test_planted_defects_are_found(why: str, thinking: str, answer: tuple[Target, ...], check: str, words: str) -> None:
    reasons = failed(chain(thinking, answer))
    assert words in reasons.get(check, ""), reasons


LEAKING = [
    "According to the ground truth it is in Image-2.",
    "The ground-truth box lies on the left.",
    "The ground\u2011truth says so.",
    "The gro\u200bund tru\u200bth says so.",
    "The GT box is on the left.",
    "The annotation places it in Image-2.",
    "Image-2 is annotated with a red ring.",
    "Per the annotators, it is the ring.",
    "The bounding box is provided.",
    "The bounding box was given to me.",
    "I compare with the provided bounding box.",
    "Using the given coordinates, I look at the left.",
    "Given the answer, I look at the left.",
    "The coordinates I was given fit the ring.",
    "The answer has been supplied.",
    "I was told that it is in Image-2.",
    "We have been given the box.",
    "I am shown the solution.",
    "According to the metadata it is the second.",
    "According to the reference answer it is Image-2.",
    "The label says Image-2.",
    "The dataset lists it, and the record confirms it.",
    "As provided, it is on the left.",
    "As already given, it is on the left.",
    "I already know where it is.",
    "The answer, known beforehand, is the ring.",
    "We know the correct answer.",
    "This matches the expected box.",
    "It is consistent with the label.",
    "I must pretend that I have not seen it.",
    "I reason as if I didn't know it.",
    "Without revealing the solution, I look left.",
    "The hidden label is the ring.",
    "The hint points to Image-2.",
    "The answer key has Image-2.",
    "The correct box lies on the left.",
    "The list attached to the images has a ring.",
    "The additional information has a ring.",
    "From what I had before, it is a ring.",
]


@pytest.mark.parametrize("sentence", LEAKING)
def test_leaks_are_found_in_many_wordings(sentence: str) -> None:
    # After an honest image-level statement, so that only the wording can give it away.
    assert "no_leak" in failed(chain(f"Image-1: no. {sentence} {TERSE}"))


HONEST = [
    "We are given three images.",
    "I was asked for the ring, I am shown three pictures.",
    "The provided images differ in the background.",
    "There is a hint of red in the corner.",
    "As specified in the question, the ring is red.",
    "Image-3 matches the background of Image-1.",
    "The ring agrees with the crop in colour and shape.",
    "A box-like shape is near a sign with letters.",
    "The colour is known from the crop.",
    "So the target must be the ring.",
    "Compared with Image-1 the light is warmer.",
    "It is the same object, shown from the side.",
    "The ring is attached to a wall.",
    "So the correct bounding box for the ring in Image-2 should be around its edge.",
    "Now I can determine the correct coordinates of the ring.",
    "I ignore the background details.",
    "Sticky notes cover the wall.",
    "A board displays information.",
    "What I have to find is the ring.",
]


@pytest.mark.parametrize("sentence", HONEST)
def test_honest_wordings_are_not_taken_for_leaks(sentence: str) -> None:
    assert failed(chain(f"Image-1: no. {sentence} {TERSE}")) == {}


def test_an_image_that_the_question_names_may_be_named_first() -> None:
    told = SAMPLE.model_copy(update={"question": "Find the red ring in Image-2."})
    for first in ("The object to find is in Image-2.", "The target must lie in Image-2."):
        assert failed(chain(f"{first} {TERSE}"), told) == {}
        assert "no_leak" in failed(chain(f"{first} {TERSE}"))
    assert "no_leak" in failed(chain(f"The answer is Image-2. {TERSE}"), told)
    other = SAMPLE.model_copy(update={"question": "Find what Image-3 lacks."})
    assert "verdicts" not in failed(chain(f"{SEEN} The target is in Image-3. {TERSE}"), other), "the question places it"
    assert "verdicts" in failed(chain(f"{SEEN} The answer is Image-3. {TERSE}"), other)


def test_sizes_may_be_unknown_where_boxes_are_thousandths() -> None:
    refs = tuple(ref.model_copy(update={"width": 0, "height": 0}) for ref in IMAGES)
    unknown = SAMPLE.model_copy(update={"images": refs})
    assert not failures(verify(unknown, chain(TERSE)))
    assert "size of Image-1" in failures(verify(unknown, chain(TERSE), family="qwen2.5-vl"))["grammar"]


def test_the_language_is_looked_at_only_where_one_is_asked_for() -> None:
    german = "Das erste Bild zeigt einen Stern, und auch auf dem dritten ist nur ein Stern zu sehen. "
    text = f"{german} Im zweiten Bild ist ein roter Ring. Er liegt bei {AT_RING}."
    assert failed(chain(text)) == {} and failed(chain(text), config=VerifyConfig(language="de")) == {}
    assert set(failed(chain(text), config=VerifyConfig(language="en"))) == {"language"}


def test_a_single_image_needs_no_image_level_part() -> None:
    one = Sample(id="o", task="region", images=IMAGES[1:2], question="Find it.", targets=(Target(image=1, box=RING),))
    assert failed(chain(f"The red ring is at {box_markup(1, RING)}.", one.targets), one) == {}


def test_an_image_without_annotation_takes_any_citation() -> None:
    bare = SAMPLE.model_copy(update={"images": (image("a"), *IMAGES[1:])})
    at = box_markup(1, (0.7, 0.7, 0.8, 0.8))
    text = f"Image-1: no. Image-2: yes. A tree at {at} is no ring. The red ring is at {AT_RING}."
    assert failed(chain(text), bare) == {}


def test_each_box_of_the_answer_must_be_cited() -> None:
    both = (*ANSWER, Target(image=2, box=CROSS, label="blue cross"))
    sample = SAMPLE.model_copy(update={"targets": both})
    reasons = failed(chain(f"{SEEN} The red ring is at {AT_RING}.", both), sample)
    assert reasons == {"levels": "a box of the answer in Image-2 is not cited in the thinking"}


LOWEST = {"min_words": 0, "max_words": 1, "max_chars": 1, "max_same_sentence": 1, "max_same_word": 1,
          "phrase_words": 2, "max_same_phrase": 1}  # fmt: skip


def test_limits_of_the_settings() -> None:
    VerifyConfig(min_iou=1, citation_iou=1, **LOWEST)
    with pytest.raises(ValidationError, match="frozen"):
        VerifyConfig().min_iou = 0.5
    wrong = [*((name, least - 1) for name, least in LOWEST.items())]
    for name, value in [*wrong, *product(("min_iou", "citation_iou"), (0, 1.01))]:
        with pytest.raises(ValidationError, match=name):
            VerifyConfig.model_validate({name: value})


@pytest.mark.parametrize(
    ("check", "keys", "most", "more"),
    [
        ("repetition", {"max_same_sentence": 2}, "It is red. " * 2, "It is red. it IS red. It is red."),
        ("repetition", {"max_same_word": 3}, "a no no no b", "a no no no no b"),
        ("repetition", {"phrase_words": 2, "max_same_phrase": 2}, "a b c a b d", "a b c a b d a b"),
        ("length", {"min_words": 3}, "a b c", "a b"),
        ("length", {"max_words": 3}, "a b c", "a b c d"),
        ("length", {"max_chars": 7}, "a b c d", "a b c de"),
    ],
)
def test_the_last_text_that_passes_and_the_first_that_does_not(
    check: str, keys: dict[str, int], most: str, more: str
) -> None:
    assert check not in failed(chain(most), config=VerifyConfig(**keys))
    assert check in failed(chain(more), config=VerifyConfig(**keys))


# (why, thinking, question, image_level, leaks)
GIVES_AWAY = [
    ("a conclusion first, if statements about images are required", "The answer is Image-2.", "Find it.", True, True),
    ("... if they are not", "The answer is Image-2.", "Find it.", False, False),
    ("a leak in any case", "Image-1: no. According to the ground truth it is there.", "Find it.", False, True),
    ("an image that the question names", "The target is in Image-2.", "Find the ring in Image-2.", True, False),
    ("... or points into", "The target is in Image-2.", f"Find {AT_RING}.", True, False),
    ("the box pointed at", "Image-1: no. The given box of Image-2 is red.", f"Find {AT_RING}.", True, False),
    ("... at none", "Image-1: no. The given box of Image-2 is red.", "Find it in Image-2.", True, True),
    ("only the image of the answer is named", "My bet would be on Image-2.", "Find it.", True, True),
    ("only another image is named", "My bet would be on Image-1.", "Find it.", True, False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("why", "text", "question", "image_level", "leaks"), GIVES_AWAY, ids=[r[0] for r in GIVES_AWAY]
)
def test_what_gives_away_the_truth(why: str, text: str, question: str, image_level: bool, leaks: bool) -> None:
    sample = SAMPLE.model_copy(update={"question": question})
    found = failed(chain(f"{text} {TERSE}"), sample, VerifyConfig(image_level=image_level))
    assert ("no_leak" in found) is leaks, found


def test_a_label_may_be_spoken_of() -> None:
    thing = (Target(image=2, box=RING, label="hint"),)
    text = f"Image-1: no. The hint points to Image-2. The hint is at {AT_RING}."
    refs = (IMAGES[0], image("b", ("hint", RING)), IMAGES[2])
    assert "no_leak" in failed(chain(text))
    assert "no_leak" not in failed(chain(text, thing), SAMPLE.model_copy(update={"targets": thing, "images": refs}))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_correct_chain_passes_in_every_family(family: str) -> None:
    assert not failures(verify(SAMPLE, chain(TERSE), family=family))


PIECES = st.lists(
    st.sampled_from(
        [TERSE, AT_RING, "<box image=", "</box>", "Image-", "images 1, 2 and ", "9" * 30, "\u0662", "<think>",
         "the answer is ", "\u25a1", "\ud800", "\x00", "given ", "box ", ". ", "\n", "Image-2: yes.", "nan,inf",
         "(1,2),(3,4)", "the third image "]
    )
    | st.text(max_size=12),
    max_size=12,
)  # fmt: skip
BOXES = st.tuples(*[st.floats(0, 1)] * 4).filter(lambda b: b[0] < b[2] and b[1] < b[3])


@settings(max_examples=300)
@given(PIECES, st.lists(st.tuples(st.integers(1, 5), BOXES), max_size=3), st.sampled_from(sorted(FAMILIES)))
def test_any_text_and_answer_gives_verdicts_never_an_exception(
    pieces: list[str], boxes: list[tuple[int, tuple[float, float, float, float]]], family: str
) -> None:
    answer = tuple(Target(image=number, box=box) for number, box in boxes)
    try:
        trajectory = chain("".join(pieces), answer)
    except ValueError:  # pydantic refuses lone surrogates
        return
    results = verify(SAMPLE, trajectory, family=family)
    assert "" not in results.values()
    assert results == verify(SAMPLE, trajectory, family=family)


CRAFTED = {
    "given": "given the a ",
    "markup": "<box image=2>0.1,",
    "lists": "images 1, 2, 3, ",
    "words": "w" * 50,
    "one word": "a",
    "blanks": " ",
    "boxes": AT_RING,
    "sentences": "I. ",
    "brackets": "(1, 2, [",
    "ranked": "the first very ",
    "truth": "answer was been already me ",
    "told": "i was been already just ",
    "yes": "image-2 : ",
    "found": "found: image ",
}


@pytest.mark.parametrize("piece", CRAFTED.values(), ids=list(CRAFTED))
def test_time_grows_linearly(piece: str) -> None:
    small, large = (chain((piece * (size // len(piece) + 1))[:size]) for size in (16_000, 64_000))
    assert takes_at_most(2.0, lambda: verify(SAMPLE, large)), "64 kB of the worst text"
    assert grows_at_most(10, lambda: verify(SAMPLE, small), lambda: verify(SAMPLE, large), spare=0.1)

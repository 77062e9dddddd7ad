"""The reader of model output on answers with a known truth: it counts no wrong box, even if the answer is cut off."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict

import pytest

from fakes.spelled_rows import PICTURES, Maker, Row
from mirg.answers import Reading, read
from mirg.families import QWEN2_VL, QWEN3_VL, Family

FAMILIES = (QWEN3_VL, QWEN2_VL)
# Answers about what the reader cannot know: their boxes are numbers of another form, or their image is a question.
ELSEWHERE = ("b.png", "the question", "one image", "x, y, width, height", "five numbers", "two boxes", "a key twice")
NAMELESS = (
    *(
        "no image is named",
        "no image in the JSON",
        "two images beside",
        "two images in a list",
        "an unknown form",
        "a range",
    ),
    *(
        "a letter",
        "an unknown language",
        "a file of another",
        "an unknown key of an image",
        "a number beyond",
        "half a number",
    ),
    *("denied", "compared with", "the last but one", "from the right", "倒数第二张", "a key that may number"),
    *("two keys that disagree", "a polygon", "a centre"),
)


def completion(rng: random.Random, row: Row) -> str:
    if "<answer>" in row.answer:
        return row.answer
    thinking = rng.choice(("<think>Image-1 shows it.</think>", "", "<think>[1, 2, 3, 4]</think>\n"))
    return f"{thinking}<answer>{row.answer}</answer>"


def reading(text: str, row: Row, family: Family) -> Reading:
    found = read(text, [PICTURES[path] for path in row.truth.images], family)
    assert found.failure is None or (found.failure and not found.boxes)
    return found


def counted(found: Reading) -> list[tuple[int, tuple[float, ...]]]:
    return [(box.image, tuple(round(v, 6) for v in box.box)) for box in found.boxes if box.problem is None]


def truths(row: Row) -> list[tuple[int, tuple[float, ...]]]:
    return [(image, tuple(round(round(v * 1000) / 1000, 6) for v in box)) for image, box in row.truth.targets]


def trial(count: int) -> None:
    rng = random.Random(0)
    table: dict[str, Counter[str]] = defaultdict(Counter)
    wrong: list[str] = []
    for k, row in enumerate(Maker(rng, 1, "relative_1000").rows(count)):
        if any(words in row.spelling for words in ELSEWHERE):
            continue
        family = FAMILIES[k % len(FAMILIES)]
        text = completion(rng, row)
        found, true = counted(reading(text, row, family)), truths(row)
        tally = table[row.spelling]
        tally["rows"] += 1
        tally["right"] += found == true
        tally["refused"] += not found
        if not set(found) <= set(true) or (any(words in row.spelling for words in NAMELESS) and found):
            tally["wrong"] += 1
            wrong.append(f"{row.spelling}: {text!r}: {found}, not {true}")
        if row.refused:
            continue
        for _ in range(4):  # what a limit of tokens does
            cut = text[: rng.randint(text.index("<answer>"), len(text) - 1)]
            found = counted(reading(cut, row, family))
            tally["cut"] += 1
            if not set(found) <= set(true):
                tally["wrong"] += 1
                wrong.append(f"{row.spelling}, cut: {cut!r}: {found}, not {true}")
    clear = {name: tally for name, tally in table.items() if not name.startswith("ambiguous")}
    print(f"\n{'spelling':78} {'rows':>6} {'right':>6} {'refused':>8} {'cut':>6} {'wrong':>6}")
    for name, tally in sorted(table.items()):
        print(
            f"{name:78}"
            + "".join(
                f" {tally[key]:{w}}"
                for key, w in zip(("rows", "right", "refused", "cut", "wrong"), (6, 6, 8, 6, 6), strict=True)
            )
        )
    rows, right = (sum(tally[key] for tally in clear.values()) for key in ("rows", "right"))
    print(f"{len(table)} spellings, {rows} clear answers, {right / rows:.2%} read completely and rightly")
    assert not wrong, "\n".join(wrong[:10])
    assert right >= 0.97 * rows


def test_no_answer_is_misread() -> None:
    trial(1500)


@pytest.mark.slow
def test_no_answer_of_ten_thousand_is_misread() -> None:
    trial(12_000)


def test_any_damage_is_read_in_linear_time() -> None:
    """Characters are taken out, doubled and moved; ten times the answer takes at most about ten times as long."""
    rng = random.Random(1)
    for row in Maker(rng, 1, "relative_1000").rows(300):
        letters = list(completion(rng, row))
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(letters))
            letters[at] = rng.choice(("", letters[at] * 2, rng.choice(letters), rng.choice("[]{}()\"',:0")))
        text = "".join(letters)
        reading(text, row, QWEN3_VL)
        if rng.random() < 0.1:
            seconds = []
            for times in (20, 200):
                start = time.thread_time()
                reading(
                    f"<answer>{text.replace('answer>', '')}" * 1 + text.replace("answer>", "") * times, row, QWEN3_VL
                )
                seconds.append(time.thread_time() - start)
            assert seconds[1] <= 25 * seconds[0] + 0.02, text

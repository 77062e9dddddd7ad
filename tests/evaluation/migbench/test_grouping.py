"""One prompt about several images: which items it is about, what it asks, and whose part of the answer is whose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fakes.migbench_tree import ROWS, TOGETHER, revised, right_answer
from mirg.data.importers.migbench import Annotations, load_annotations
from mirg.evaluation.migbench.grouping import divide, group_of, groups, indices, joined
from mirg.evaluation.migbench.official import score_response as official
from mirg.evaluation.migbench.strict import score_response as strict
from mirg.evaluation.migbench.summary import Frame, score_item
from mirg.families import FAMILIES, GEMMA_4

QWEN3 = FAMILIES["qwen3-vl"]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Annotations:
    file = tmp_path_factory.mktemp("truth") / "a.json"
    file.write_text(json.dumps(ROWS))
    return load_annotations(file)


def test_which_items_are_asked_together(truth: Annotations) -> None:
    assert indices(groups(truth.items, together=True)) == TOGETHER
    alone = groups(truth.items, together=False)
    assert indices(alone) == [] and [group[0].index for group in alone] == list(range(len(ROWS)))
    asked = [item.index for group in groups(truth.items, together=True) for item in group]
    assert sorted(asked) == list(range(len(ROWS))), "every item is asked once"


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([2, 3, 4], "in the 1th image, the 2th image and the 3th image. Give one box for each of them, in this order."),
        ([10, 11, 12], "Locate it in the 2th image and the 3th image. Give one box"),
        ([15, 14], "locate the 1th region and the 2th region picture in the source. Give one box"),
        ([13], "Locate it in the 2th image. "),
    ],
)
def test_what_is_asked(truth: Annotations, members: list[int], says: str) -> None:
    group = group_of(members, truth.items)
    assert group is not None and says in joined(group).question
    assert "(<|box_start|>" in joined(group).question or group[0].task != "multi_view"


@pytest.mark.parametrize("members", [[2, 7], [0, 1], [10, 13], [2, 99], [16, 14]])
def test_what_is_no_prompt(truth: Annotations, members: list[int]) -> None:
    assert group_of(members, truth.items) is None


CUP, YARD, DESK = [2, 3, 4], [15, 14], [10, 11, 12]
DIVIDED = [
    # members, answer, parts in the order of the members
    (CUP, "Image-3: (7,8),(9,10)\nImage-1: (1,2),(3,4)", ["Image-1: (1,2),(3,4)", "", "Image-3: (7,8),(9,10)"]),
    (CUP, "(1,2),(3,4) (5,6),(7,8)", ["(1,2),(3,4)", "(5,6),(7,8)", ""]),
    (
        CUP,
        "[1, 2, 3, 4][5, 6, 7, 8][9, 10, 11, 12](2,2),(3,3)",
        ["(1,2),(3,4)", "(5,6),(7,8)", "(9,10),(11,12)\n(2,2),(3,3)"],
    ),
    (CUP, "Image-2: (1,2),(3,4),(5,6),(7,8)", ["", "Image-2: (1,2),(3,4)\nImage-2: (5,6),(7,8)", ""]),
    (CUP, '[{"image": 2, "bbox_2d": [1, 2, 3, 4]}]', ["", '{"image": 2, "bbox_2d": [1, 2, 3, 4]}', ""]),
    (CUP, '[{"image": 2, "box_2d": [2, 1, 4, 3]}]', ["", '{"image": 2, "bbox_xyxy": [1, 2, 3, 4]}', ""]),
    (CUP, "In the second image it is at (1,2),(3,4).", ["", "Image-2: (1,2),(3,4)", ""]),
    (CUP, "In the last image: (1,2),(3,4)", ["", "", "Image-3: (1,2),(3,4)"]),
    (CUP, "in the 3th image: (0.1,0.2),(0.3,0.4)", ["", "", "Image-3: (0.1,0.2),(0.3,0.4)"]),
    (CUP, "Image-9: (1,2),(3,4)", ["", "", ""]),
    (CUP, "I cannot see it", ["I cannot see it"] * 3),
    (CUP, "none", ["none"] * 3),
    (CUP, "<think>Image-1: (1,2),(3,4)</think>", [""] * 3),
    (CUP, "<think>Image-1: (1,2),(3,4)</think><answer>none</answer>", ["none"] * 3),
    (YARD, "Image-1: (1,2),(3,4)\nImage-1: (5,6),(7,8)", ["Image-1: (1,2),(3,4)", "Image-1: (5,6),(7,8)"]),
    (YARD, "(1,2),(3,4)\n(5,6),(7,8)", ["(1,2),(3,4)", "(5,6),(7,8)"]),
    (YARD, "Image-2: (1,2),(3,4)", ["", ""]),
    (DESK, "(1,2),(3,4)\n(5,6),(7,8)", ["(1,2),(3,4)", "(5,6),(7,8)", "(5,6),(7,8)"]),
]


@pytest.mark.parametrize(("members", "answer", "parts"), DIVIDED)
def test_whose_part_is_whose(truth: Annotations, members: list[int], answer: str, parts: list[str]) -> None:
    group = group_of(members, truth.items)
    assert group is not None
    assert divide(answer, group) == dict(zip(members, parts, strict=True))


@pytest.mark.parametrize("key", ["box_2d", "bbox_2d"])
def test_a_family_that_writes_y_first(truth: Annotations, key: str) -> None:
    """Each item gets its box in the right order, by every protocol; under the key of others, no box counts."""
    group = group_of(CUP, truth.items)
    assert group is not None
    rows = []
    for item in group:
        x1, y1, x2, y2 = (round(1000 * v) for v in item.answer)
        rows.append({"image": item.targets[0], key: [y1, x1, y2, x2]})
    parts = divide(f"<answer>{json.dumps(rows)}</answer>", group)
    for item in group:
        protocols = ("official", "strict", "strict-box")
        found = score_item(item, parts[item.index], protocols, Frame(GEMMA_4), "original")
        whole = score_item(item, json.dumps(rows[item.index - group[0].index]), protocols, Frame(GEMMA_4), "original")
        assert found.official > 0.9 and whole.official > 0.9
        assert (found.strict.iou > 0.9) == (whole.strict.iou > 0.9) == (key == "box_2d")


@pytest.mark.parametrize("version", ["original", "revised"])
def test_the_truth_is_right_for_every_item(tmp_path: Path, version: str) -> None:
    rows = ROWS if version == "original" else revised()
    (tmp_path / "a.json").write_text(json.dumps(rows))
    truth = load_annotations(tmp_path / "a.json", revised=version == "revised")
    for group in groups(truth.items, together=True):
        parts = divide(right_answer(group), group) if len(group) > 1 else {group[0].index: right_answer(group)}
        for item in group:
            if version == "original" and item.index == 5:  # inverted: nothing can be right
                continue
            found = strict(parts[item.index], item, QWEN3)
            assert found.iou > 0.9 and found.image_ok, (item.index, parts[item.index], found)
            if len(group) > 1:  # the thinking is no part of it
                assert official(parts[item.index], item.answer, "revised" if truth.revised else "original") > 0.9

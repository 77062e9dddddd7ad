"""Conversations of LLaMA-Factory: every spelling of an answer, any names of columns, an open frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from fakes.importing import NO_FILES, imported, only, pictures, refused, spoiled, survives, write_rows
from mirg.data.importers.formats import SOURCES
from mirg.data.importers.raw import RawBox, RawSample
from mirg.errors import DataError

AB = ["a.png", "b.png"]
Q = "<image><image>Where is the dog in Image-2?"
OPEN = "Image-1: <image>\nImage-2: <image>\nFind the dog."


def row(question: str, answer: str, images: list[str] | None = None, **more: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": said, "images": AB if images is None else images, **more}


JSON_ANSWER = json.dumps([{"image": 2, "bbox_2d": [10, 20, 300, 400], "label": "dog"}])
GOOD = [
    row(Q, "(10,20),(300,400)", id=7),
    row(OPEN, f"<think>Image-2 shows one at [10, 20, 300, 400].</think><answer>{JSON_ANSWER}</answer>"),
    row(OPEN, "The dog lies in the second image: <|box_start|>(10,20),(300,400)<|box_end|>."),
    row(OPEN, "none"),
    {
        "conversations": [
            {"from": "system", "value": "You are a helpful assistant."},
            {"from": "human", "value": "<image>Find it."},
            {"from": "gpt", "value": "[10, 20, 300, 400]"},
            {"from": "human", "value": "<image>And in the second image?"},
            {"from": "gpt", "value": "[11, 20, 300, 400]"},
        ],
        "images": AB,
    },
]


def places(sample: RawSample) -> list[tuple[int, tuple[float, ...], str]]:
    return [(box.image, box.numbers, box.label) for box in sample.targets]


BOX = (10, 20, 300, 400)
BOTH = [(1, (1, 2, 3, 4), ""), (2, BOX, "")]


@pytest.mark.parametrize(
    ("answer", "expected", "why"),
    [
        ("Image-2: (10,20),(300,400)", [(2, BOX, "")], "mirg's own text style"),
        (JSON_ANSWER, [(2, BOX, "dog")], "JSON with a label"),
        (f"```json\n{JSON_ANSWER}\n```", [(2, BOX, "dog")], "inside a fence"),
        ('{"bbox_2d": [10, 20, 300, 400]}', [(2, BOX, "")], "JSON without an image: the question's"),
        ("It's in the first image. [10,20,300,400]", [(1, BOX, "")], "words, then a box: the answer's image counts"),
        ("<box>[[10, 20, 300, 400]]</box>", [(2, BOX, "")], "InternVL's spelling"),
        ("<ref>dog</ref><box>(10,20),(300,400)</box>", [(2, BOX, "dog")], "Qwen-VL's spelling"),
        ("<think>Hm.</think>(10,20),(300,400)", [(2, BOX, "")], "reasoning without answer tags"),
        ("None", [], "an explicit none"),
        ("[]", [], "none in JSON"),
        ("(10,20),(300,400) (11,20),(300,400)", [(2, BOX, ""), (2, (11, 20, 300, 400), "")], "two dogs"),
    ],
)
def test_answers(answer: str, expected: list[object], why: str) -> None:
    sample = only("sharegpt", row(Q, answer))
    assert places(sample) == expected, why
    assert all(box.frame is None for box in sample.targets), "the frame is found out over all rows"


def test_questions_lose_their_placeholders() -> None:
    assert only("sharegpt", row(OPEN, "none")).question == ("Find the dog.",)
    inline = row("Compare <image> with <image> and find the dog.", "Image-1: (1,2),(3,4)")
    assert only("sharegpt", inline).question == ("Compare Image-1 with Image-2 and find the dog.",)
    shown = only("sharegpt", row("<image><image>What lies at [1, 2, 30, 40] of the first image?", "none"))
    assert [part for part in shown.question if isinstance(part, RawBox)] == [RawBox(1, (1, 2, 30, 40))]


def test_an_image_is_not_seen_before_it_is_shown() -> None:
    first, second = SOURCES["sharegpt"].convert(GOOD[4], NO_FILES)
    assert isinstance(first, RawSample) and isinstance(second, RawSample)
    assert [image.path for image in first.images] == ["a.png"] and places(first) == [(1, BOX, "")]
    assert len(second.images) == 2 and places(second)[0][0] == 2


def test_a_question_that_cannot_be_used_leaves_the_next_one() -> None:
    value = row("Image-2: <image>\nFind it.", "(1,2),(3,4)")
    value["messages"] += row("<image>And in the second image?", "(10,20),(300,400)")["messages"]
    first, second = SOURCES["sharegpt"].convert(value, NO_FILES)
    assert not isinstance(first, RawSample) and "introduced as" in first.reason
    assert isinstance(second, RawSample) and places(second) == [(2, BOX, "")]


def test_the_order_of_coordinates_that_a_system_message_states() -> None:
    value = row(Q, "[20, 10, 400, 300]")
    value["messages"].insert(0, {"role": "system", "content": "A box is [ymin, xmin, ymax, xmax]."})
    assert places(only("sharegpt", value)) == [(2, BOX, "")]


def test_an_answer_in_all_images_hides_none() -> None:
    assert not only("sharegpt", row(OPEN, "Image-1: (1,2),(3,4)\nImage-2: (10,20),(300,400)")).image_hidden


def test_columns() -> None:
    value = {
        "name": "n1",
        "kind": "dogs",
        "dialog": [{"who": "me", "says": Q}, {"who": "it", "says": "(1,2),(3,4)"}],
        "pictures": AB,
    }
    columns = {
        "messages": "dialog", "images": "pictures", "id": "name", "task": "kind", "role": "who", "content": "says",
        "user": "me", "assistant": "it",
    }  # fmt: skip
    sample = only("sharegpt", value, NO_FILES.model_copy(update={"columns": columns}))
    assert (sample.id, sample.task, places(sample)) == ("n1-1", "dogs", [(2, (1, 2, 3, 4), "")])


@pytest.mark.parametrize(
    ("value", "field", "reason", "why"),
    [
        (None, "row", "not an object", "no row"),
        (row(OPEN, "(1,2),(3,4)"), "answer", "which of the 2 images", "named nowhere"),
        (row(OPEN, "Image-3: (1,2),(3,4)"), "answer", "does not exist", "no third image"),
        (row(OPEN, "A dog."), "answer", "holds no box", "another task"),
        (row(OPEN, ""), "answer", "holds no box", "nothing"),
        (row(OPEN, "<think>a dog"), "answer", "never ends", "cut off"),
        (row(OPEN, '[{"image": 1, "bbox_2d": [1, 2, 3]}]'), "answer", "holds no box", "three numbers"),
        (row(OPEN, f"<think>At (1,2),(3,4).</think>{'Image-1: (1,2),(3,9) Image-2: (1,2),(3,9)'}"), "thinking",
         "which of the 2", "a box of the reasoning in no image"),
        (row("<image>Image-1: <image>\nFind it.", "none"), "messages", "introduced as", "a label of another image"),
        (row(Q, "(1,2),(3,4)", ["a.png"]), "images", "2 placeholders for 1", "an image is missing"),
        (row(Q, "Image-1, then the first image (Image-2): (1,2),(3,4)"), "answer", "two numbers", "1 or 2"),
        ({"images": AB}, "conversations", "missing", "no messages"),
        ({"images": AB, "messages": [{"role": "user", "content": 3}]}, "messages.0", "not a text", "no text"),
    ],
)  # fmt: skip
def test_refused(value: object, field: str, reason: str, why: str) -> None:
    found = refused("sharegpt", value)
    assert found.field == field and reason in found.reason, f"{why}: {found}"


@given(spoiled(GOOD))
def test_no_row_stops_an_import(value: object) -> None:
    survives("sharegpt", value)


def many(answer: str, count: int = 30) -> list[dict[str, Any]]:
    return [row(Q, answer, id=f"r{k}") for k in range(count)]


def test_import_finds_the_frame(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data", AB)
    file = write_rows(tmp_path / "rows.jsonl", [*GOOD, row(OPEN, "A dog.")], lines=True)
    report, samples = imported("sharegpt", file, tmp_path / "out", root)
    assert (report.frame, report.samples, report.rows_refused) == ("relative_1000", 6, 1)
    assert samples[0].id == "7-1" and samples[0].targets[0].box == (0.01, 0.02, 0.3, 0.4)
    trajectory = samples[1].trajectory
    assert trajectory is not None and "<box image=2>0.01,0.02,0.3,0.4</box>" in trajectory.thinking


@pytest.mark.parametrize(
    ("rows", "says", "why"),
    [
        (many("(10,20),(30,40)"), "may be", "inside the image and below 1000: either"),
        (many("(10,20),(300,400)", 40) + many("[0.1,0.2,0.5,0.5]", 40), "mixed", "two kinds in one file"),
    ],
)
def test_an_unclear_frame_is_refused(tmp_path: Path, rows: list[object], says: str, why: str) -> None:
    root = pictures(tmp_path / "data", AB)
    with pytest.raises(DataError, match=says):
        imported("sharegpt", write_rows(tmp_path / "rows.json", rows), tmp_path / "out", root)
    assert not (tmp_path / "out").exists(), why
    report, _ = imported(
        "sharegpt", write_rows(tmp_path / "rows.json", many("(10,20),(30,40)")), tmp_path / "out", root, frame="pixels"
    )
    assert report.frame == "pixels"


@pytest.mark.parametrize(
    ("answer", "expected", "why"),
    [
        (f"The dog lies on the bed:\n```json\n{JSON_ANSWER}\n```", [(2, BOX, "dog")], "prose and a fence"),
        (JSON_ANSWER.replace("}]", "},]"), [(2, BOX, "dog")], "a comma at the end"),
        (repr(json.loads(JSON_ANSWER)), [(2, BOX, "dog")], "Python's spelling"),
        (JSON_ANSWER.replace("bbox_2d", "coordinates"), [(2, BOX, "dog")], "another key"),
        ('[{"img_idx": "2", "bbox_2D": [[10, 20], [300, 400]]}]', [(2, BOX, "")], "another case, corners"),
        ('[{"image": 2, "box_2d": [20, 10, 400, 300]}]', [(2, BOX, "")], "Gemini's order belongs to its key"),
        ('[{"image": "shelf/b.png", "bbox_2d": [10, 20, 300, 400]}]', [(2, BOX, "")], "the name of a file"),
        ("Image-2：（10，20），（300，400）", [(2, BOX, "")], "full-width punctuation"),
        ('{"image_1": [], "image_2": [10, 20, 300, 400]}', [(2, BOX, "")], "a key for each image"),
        ('{"image_1": [[1, 2, 3, 4]], "image_2": [[10, 20, 300, 400]]}', BOTH, "the same, lists"),
        ('{"image_1": [1, 2, 3, 4], "image_2": [10, 20, 300, 400]}', BOTH, "a box under each"),
        ('{"image_1_bbox": [1, 2, 3, 4], "image_2_bbox": [10, 20, 300, 400]}', BOTH, "and what it holds"),
        ('{"bbox_image1": [1, 2, 3, 4], "bbox_image2": [10, 20, 300, 400]}', BOTH, "the other way round"),
        ('{"first_image": [1, 2, 3, 4], "second_image": [10, 20, 300, 400]}', BOTH, "ordinals"),
        ('{"bboxes": {"image_1": [[1, 2, 3, 4]], "image_2": [[10, 20, 300, 400]]}}', BOTH, "under the key of boxes"),
        ('{"a.png": [[1, 2, 3, 4]], "b.png": [[10, 20, 300, 400]]}', BOTH, "files"),
        ("Image 1: [1, 2, 3, 4]\nImage 2: [10, 20, 300, 400]", BOTH, "lines"),
        ("狗在第二张图片中，位置为[10, 20, 300, 400]", [(2, BOX, "")], "Chinese"),
        ("In Image-2, box_2d: [20, 10, 400, 300]", [(2, BOX, "")], "the key of another order without JSON"),
    ],
)
def test_answers_of_other_tools(answer: str, expected: list[object], why: str) -> None:
    question = "<image><image>Image-1 shows a dog. Find the same dog in the other image."
    assert places(only("sharegpt", row(question, answer))) == expected, why


@pytest.mark.parametrize(
    ("answer", "reason", "why"),
    [
        ("[10, 20, 300, 400]", "which of the 2 images", "the question only names the object"),
        ('[{"image": 2, "bbox_xywh": [10, 20, 290, 380]}]', "unknown form", "a form that is not read"),
        ('[{"image": 2, "points": [[10, 20], [300, 20], [300, 400]]}]', "holds no box", "a polygon"),
        ('[{"image": 2, "bbox": [10, 20, 300, 400], "bbox_2d": [1, 2, 30, 40]}]', "differ", "which of the two?"),
        ('[{"image_slot": 2, "bbox_2d": [10, 20, 300, 400]}]', "unknown way", "a key that looks like an image"),
        ('[{"image": "c.png", "bbox_2d": [10, 20, 300, 400]}]', "is not an image of the row", "a file of another row"),
        (f"{JSON_ANSWER[:-1]}, {JSON_ANSWER[1:30]}", "cut off", "not all boxes of the truth are there"),
        ('[{"image": 2, "bbox_2d": ][10, 20, 300, 400]}]', "does not parse", "the bare numbers are not read"),
        ("Image-2 and Image-1: [10, 20, 300, 400]", "several images", "which of them?"),
        ("It is not in Image-2. [10, 20, 300, 400]", "several images", "denied"),
        ("Kuva 2: [10, 20, 300, 400]", "may name an image", "a language that is not known"),
        ("Image-2: [10, 20, 300, 400] as [x, y, width, height]", "width and a height", "stated to be another form"),
        ('{"2": [10, 20, 300, 400]}', "numbers as keys", "image 2, or the second object"),
        ('{"box_2d": {"image_2": [20, 10, 400, 300]}}', "object without its corners", "y first, and a key inside"),
        ('{"image_2_bbox": [1, 2, 3, 4], "bbox_image_2": [10, 20, 300, 400]}', "key twice", "one image, two boxes"),
        ('{"image_2_width": [10, 20, 300, 400]}', "is not understood", "another value of an image"),
        ('[{"bbox_2d": [10, 20, 300, 400], "label": "dog in image 2"}]', "the key 'label'", "named in the label"),
        ('[{"bbox_2d": [10, 20, 300, 400], "source": "b.png"}]', "the key 'source'", "a file under another key"),
        ("[1, 2, 3, 4] and [10, 20, 300, 400] in the first and second image.", "several images", "respectively"),
        ("In image 1 and image 2: [1, 2, 3, 4], [10, 20, 300, 400]", "several images", "one each, or both in both"),
        ("| 2 | [10, 20, 300, 400] |", "may name an image", "a table"),
        ("<loc0020><loc0010><loc0400><loc0300> dog", "was not understood: '<loc0020>", "PaliGemma"),
        ("<patch_index_0044><patch_index_0863>", "was not understood", "Kosmos-2"),
        ("dog {<10><20><30><40>}", "was not understood", "MiniGPT-v2"),
        ("dog [0.1,0.2,0.3,0.4;0.5,0.5,0.6,0.6]", "was not understood", "Shikra"),
        ("x=10, y=20, width=300, height=400", "was not understood", "numbers with their names"),
        ("[[10, 20, 300, 400, 0.93]]", "was not understood", "a confidence inside the box"),
    ],
)
def test_what_is_not_understood_is_refused(answer: str, reason: str, why: str) -> None:
    question = "<image><image>Image-1 shows a dog. Find the same dog in the other image."
    found = refused("sharegpt", row(question, answer))
    assert reason in found.reason, f"{why}: {found}"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("Both images show it: [10, 20, 300, 400]", "in which of them is the box?"),
        ("One in each: [10, 20, 300, 400]", "the question names one image, the answer speaks of several"),
        ("On the right-hand picture: [10, 20, 300, 400]", "a place instead of a number"),
        ("It is not in this image, but there: [10, 20, 300, 400]", "denied"),
        ("View II: [10, 20, 300, 400]", "a Roman numeral"),
        ("在右图：[10, 20, 300, 400]", "the right one, Chinese"),
        ("在后一张：[10, 20, 300, 400]", "the next one"),
        ("两张图都有：[10, 20, 300, 400]", "both"),
        ("Pies jest na drugim zdjęciu: [10, 20, 300, 400]", "Polish"),
        ("Kuvassa kaksi: [10, 20, 300, 400]", "Finnish"),
        ("Ảnh thứ hai: [10, 20, 300, 400]", "Vietnamese"),
        ("الصورة الثانية: [10, 20, 300, 400]", "Arabic"),
        ("दूसरी छवि: [10, 20, 300, 400]", "Hindi"),
        ('ikinci resimde: {"bbox_2d": [10, 20, 300, 400]}', "Turkish, beside JSON"),
        ("[[], [[10, 20, 300, 400]]]", "what may be one list for each image"),
        ("[[[1, 2, 30, 40]], [[10, 20, 300, 400]]]", "the same, both with boxes"),
    ],
)
def test_the_image_of_the_question_is_not_taken_if_the_answer_may_name_another(answer: str, why: str) -> None:
    assert refused("sharegpt", row("<image><image>Find the dog in Image-1.", answer)).field == "answer", why


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("The dog is at [10, 20, 300, 400], near the window.", "English"),
        ("Der Hund ist bei [10, 20, 300, 400].", "German"),
        ("狗位于 [10, 20, 300, 400]。", "Chinese"),
        ('{"坐标": [10, 20, 300, 400]}', "a Chinese key"),
    ],
)
def test_the_image_of_the_question_is_taken_if_the_answer_names_none(answer: str, why: str) -> None:
    assert places(only("sharegpt", row(Q, answer))) == [(2, BOX, "")], why


@pytest.mark.parametrize(
    "question",
    [
        "Znajdź psa z Image-1 na drugim zdjęciu.",
        "Image-1 bir köpek gösteriyor. Onu ikinci resimde bul.",
        "หาสุนัขจาก Image-1 ในภาพที่สอง",
        "ابحث عن كلب Image-1 في الصورة الثانية",
    ],
)
def test_a_question_in_an_unknown_language_tells_no_image(question: str) -> None:
    found = refused("sharegpt", row(f"<image><image>{question}", "(1,2),(3,4)"))
    assert "which of the 2 images" in found.reason
    assert only("sharegpt", row(f"<image><image>{question}", "Image-2: (1,2),(3,4)")).targets[0].image == 2


@pytest.mark.parametrize(
    "said",
    [
        "its top-left corner, width and height",
        "the top-left corner and the size (width and height)",
        "[center_x, center_y, width, height]",
        "(x_center, y_center, w, h)",
        "cx, cy, w, h",
        "its center point followed by its width and height",
        "[x, y, box_width, box_height]",
        "输出中心点坐标和宽高",
    ],
)
def test_sizes_instead_of_corners_in_words(said: str) -> None:
    question = f"<image>Find the dog: {said}."
    assert "width and a height" in refused("sharegpt", row(question, "[10, 20, 300, 400]", ["a.png"])).reason


@pytest.mark.parametrize(
    "asked",
    [
        {"query": "<image><image>Find it.", "response": "Image-2: (10,20),(300,400)"},
        {"instruction": "<image><image>Find it.", "input": "", "output": "Image-2: (10,20),(300,400)"},
        {"instruction": "<image><image>Find it", "input": "in Image-2.", "output": "(10,20),(300,400)"},
    ],
)
def test_question_and_answer_in_columns(asked: dict[str, Any]) -> None:
    assert places(only("sharegpt", {**asked, "images": AB})) == [(2, BOX, "")]


@pytest.mark.parametrize(
    ("question", "image"),
    [
        ("The dog is not in image 1. Where is it?", None),
        ("Find the dog that isn't visible in image 2.", None),
        ("Except for image 1, find the dog.", None),
        ("Find the dog (not in image 1).", None),
        ("Find the dog in the image after image 1.", None),
        ("Look at image 1 and find the dog in the next image.", None),
        ("Image 1 is a reference. Find the dog.", None),
        ("Image 1 is the query. Find the dog.", None),
        ("Given image 1, find the same dog.", None),
        ("Given the dog in image 1, find it.", None),
        ("Based on image 1, detect the dog.", None),
        ("Find what matches image 1.", None),
        ("Find the dog that appears in image 1.", None),
        ("Find the dog similar to the one in image 1.", None),
        ("Find the dog similar to the one in image 1 in image 2.", None),
        ("Image 1 was taken before. Find the dog.", None),
        ("See image 1. Find the dog.", None),
        ("Query: image 1. Find the same dog.", None),
        ("参考图1，找出狗。", None),
        ("找出与图1相同的狗。", None),
        ("Bild 1 ist die Referenz. Finde den Hund.", None),
        ("La imagen 1 es la referencia. Encuentra el perro.", None),
        ("Of image 1, image 2: find the dog in image 2.", 2),
        ("Image 2: where is the dog?", 2),
        ("Image 2 - where is the dog?", 2),
        ("Search image 2 for the dog.", 2),
        ("Using image 1 as reference, find the dog in image 2.", 2),
        ("在图2中找出狗。", 2),
        ("Finde den Hund im zweiten Bild.", 2),
        ("Trouve le chien dans l'image 2.", 2),
        ("Encuentra el perro en la segunda imagen.", 2),
        ("Найди собаку на втором изображении.", 2),
        ("두 번째 이미지에서 개를 찾으세요.", 2),
        ("2枚目の画像で犬を見つけて。", 2),
        ("Find the dog that is not in image 1 but in image 2.", None),
        ("除了第一张图，狗在哪里？", None),
        ("Which of the dogs is not brown? Look in image 2.", 2),
        ("Find the dog that is not sitting in image 2.", 2),
        ("Find what is in image 2 and not in image 1.", 2),
        ("Where in image 2 is the dog? It is a reference to a film.", 2),
    ],
)
def test_an_image_that_is_excluded_is_not_the_one_that_is_asked_about(question: str, image: int | None) -> None:
    value = row(f"<image><image>{question}", "[10, 20, 300, 400]")
    if image is None:
        assert "which of the 2 images" in refused("sharegpt", value).reason
    else:
        assert places(only("sharegpt", value)) == [(image, BOX, "")]


def shown_in_parts(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A row whose question is a list of parts, as chat templates take it."""
    asked = [*parts, {"type": "text", "text": "Where is the dog in Image-2?"}]
    answer = [{"type": "text", "text": "(10,20),(300,400)"}]
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}], **more}


IN_PARTS = ({"type": "image", "image": "b.png"}, {"type": "image", "image": "file://a.png"})


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        (shown_in_parts(*IN_PARTS), ["b.png", "a.png"]),
        (
            shown_in_parts(
                {"type": "image_url", "image_url": {"url": "b.png"}}, {"type": "image_url", "image_url": "a.png"}
            ),
            ["b.png", "a.png"],
        ),
        (shown_in_parts({"type": "image"}, {"type": "image"}, images=AB), AB),
        (shown_in_parts(*IN_PARTS, images=["b.png", "a.png"]), ["b.png", "a.png"]),
    ],
)
def test_images_that_the_messages_name(value: dict[str, Any], paths: list[str]) -> None:
    sample = only("sharegpt", value)
    assert [image.path for image in sample.images] == paths
    assert places(sample) == [(2, BOX, "")]


def test_images_of_the_messages_and_of_the_row_in_another_order() -> None:
    assert "in their order" in refused("sharegpt", shown_in_parts(*IN_PARTS, images=AB)).reason


def test_a_history_of_questions() -> None:
    history = [["<image><image>Find it in Image-1.", "(1,2),(3,4)"]]
    value = {"query": "And in Image-2?", "response": "(10,20),(300,400)", "history": history, "images": AB}
    samples = SOURCES["sharegpt"].convert(value, NO_FILES)
    assert [places(sample) for sample in samples if isinstance(sample, RawSample)] == [
        [(1, (1, 2, 3, 4), "")],
        [(2, BOX, "")],
    ]


def test_an_answer_that_counts_from_0_beside_a_question_that_counts_from_1(tmp_path: Path) -> None:
    rows = [
        row(f"<image><image>Find it in Image-{n}.", f'{{"image_id": {n - 1}, "bbox_2d": [1, 2, 3, 4]}}') for n in (1, 2)
    ]
    root = pictures(tmp_path / "data", AB)
    with pytest.raises(DataError, match="may count from 1"):
        imported("sharegpt", write_rows(tmp_path / "rows.json", rows), tmp_path / "out", root, frame="relative_1000")


def counted(numbers: list[int]) -> list[dict[str, Any]]:
    question = "<image><image>Find the dog of Image-{}."
    return [row(question.format(n), f"Image-{n}: [10,20,300,400]", id=k) for k, n in enumerate(numbers)]


def test_a_single_zero_settles_what_images_are_counted_from(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data", AB)
    file = write_rows(tmp_path / "rows.json", counted([1, 1, 0, 1, 2]))
    report, samples = imported("sharegpt", file, tmp_path / "out", root, frame="relative_1000")
    assert (report.image_index_from, report.rows_refused) == (0, 1), "image 2 of 2 does not exist, counted from 0"
    assert [sample.targets[0].image for sample in samples] == [2, 2, 1, 2]
    assert samples[0].question == "Find the dog of Image-2.", "the prompt counts from 1"
    report, samples = imported("sharegpt", file, tmp_path / "one", root, frame="relative_1000", image_index_from=1)
    assert (report.rows_refused, [sample.targets[0].image for sample in samples]) == (1, [1, 1, 1, 2])


def test_a_zero_behind_the_rows_that_were_looked_at_stops_the_import(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("mirg.data.importers.run._PEEKED", 2)
    root = pictures(tmp_path / "data", AB)
    file = write_rows(tmp_path / "rows.json", counted([1, 1, 1, 0]))
    with pytest.raises(DataError, match="row 4 names image 0") as stopped:
        imported("sharegpt", file, tmp_path / "out", root, frame="relative_1000")
    assert "--image-index-from" in stopped.value.hint and not (tmp_path / "out").exists()


def test_a_file_that_counts_in_two_ways_is_refused(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data", AB)
    file = write_rows(tmp_path / "rows.json", counted([1, 2, 2, 0]))
    with pytest.raises(DataError, match="name image 0"):
        imported("sharegpt", file, tmp_path / "out", root, frame="relative_1000")

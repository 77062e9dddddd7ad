"""The task folder for lmms-eval: what its files say, and its functions on both versions. lmms-eval is not needed."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from datasets import Dataset, NamedSplit

from fakes.drawn_migbench import write_tree
from fakes.official import random_response
from mirg.data.importers.migbench import PAPER_NAMES, load_annotations
from mirg.evaluation.migbench.responses import Responses
from mirg.evaluation.migbench.summary import COLUMNS, PROTOCOLS, Frame, score_all, summarise
from mirg.frames import to_frame

FOLDER = "integrations/lmms_eval/migbench"
VERSIONS = {"migbench": "original", "migbench_revised": "revised"}
FILES = {"original": "MIG_data.json", "revised": "revised_MIG_bench.json"}
PIXELS = {"family": "qwen2.5-vl", "max_pixels": "12544"}  # images are resized, and boxes are pixels of the result


class Loader(yaml.SafeLoader):
    """Reads ``!function utils.NAME`` as the text ``utils.NAME``."""


Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def config_of(path: Path) -> dict[str, Any]:
    """A file with what it includes, as lmms-eval merges them."""
    found = yaml.load(path.read_text(encoding="utf-8"), Loader)
    included = found.pop("include", None)
    return (config_of(path.parent / included) if included else {}) | found


@pytest.fixture(scope="module")
def configs(repository: Path) -> dict[str, dict[str, Any]]:
    """Every task and group by the name of its file."""
    return {path.stem: config_of(path) for path in (repository / FOLDER).glob("*.yaml")}


@pytest.fixture(scope="module")
def utils(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script(f"{FOLDER}/utils.py")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("tree"), each=2)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tree: Path) -> Callable[..., None]:
    """``environment(family="qwen2-vl")`` sets MIGBENCH_FAMILY; the root is that of the tree."""

    def set_names(**values: str) -> None:
        for name, value in {"root": str(tree), **values}.items():
            monkeypatch.setenv(f"MIGBENCH_{name.upper()}", value)

    set_names()
    return set_names


def docs(utils: ModuleType, version: str, task: str) -> list[dict[str, Any]]:
    """The documents as lmms-eval makes them: the split is named after the task, and its rows come from elsewhere."""
    dataset = Dataset.from_list([{"task": "rows of datasets"}], split=NamedSplit(task))
    return getattr(utils, f"{version}_docs")(dataset).to_list()


def test_every_task_is_there_once(configs: dict[str, dict[str, Any]]) -> None:
    """A group per version with its ten tasks in the order of the papers; a task is a split."""
    expected = {f"{group}_{task}": (group, task) for group in VERSIONS for task in PAPER_NAMES}
    assert configs.keys() == {*VERSIONS, *expected}
    for name, (group, task) in expected.items():
        assert (configs[name]["task"], configs[name]["test_split"]) == (name, task)
        assert configs[name]["task_alias"] == PAPER_NAMES[task]
        assert configs[name]["dataset_kwargs"]["data_files"] == f"utils.{VERSIONS[group]}"
        assert configs[name]["process_docs"] == f"utils.{VERSIONS[group]}_docs"
    for group in VERSIONS:
        assert configs[group]["task"] == [f"{group}_{task}" for task in PAPER_NAMES]


def test_the_metrics_of_a_group_are_those_of_its_tasks(configs: dict[str, dict[str, Any]]) -> None:
    """The mean is that of the tasks, not of the items; lmms-eval finds a metric of a group by a part of its name."""
    known = {f"{protocol}_{column}" for protocol in PROTOCOLS for column in (*COLUMNS, "image_accuracy")}
    known |= {"unanswered"}
    for name, config in configs.items():
        listed = config.get("metric_list") or config["aggregate_metric_list"]
        names = [metric["metric"] for metric in listed]
        assert set(names) <= known and not [n for n in names for other in names if n != other and n in other], name
        if name in VERSIONS:
            assert all(m["aggregation"] == "mean" and m["weight_by_size"] is False for m in listed)
            assert names == [metric["metric"] for metric in configs[f"{name}_diff"]["metric_list"]]


def test_nothing_is_cut_from_a_response(configs: dict[str, dict[str, Any]]) -> None:
    for name in configs.keys() - VERSIONS.keys():
        assert configs[name]["reasoning_tags"] == "none", "the official protocol reads boxes in the thinking"
        assert configs[name]["generation_kwargs"]["until"] == [], "a blank line does not end an answer"


def test_every_name_in_the_files_exists(repository: Path, utils: ModuleType, environment: Callable[..., None]) -> None:
    texts = [p.read_text(encoding="utf-8") for p in (repository / FOLDER).iterdir() if p.name.endswith("yaml")]
    names = {name for text in texts for name in re.findall(r"!function utils\.(\w+)", text)}
    assert len(names) >= 9 and not [name for name in names if not hasattr(utils, name)]
    assert not hasattr(utils, "other")


@pytest.mark.parametrize("version", FILES)
def test_a_document_is_an_item(version: str, utils: ModuleType, tree: Path, environment: Callable[..., None]) -> None:
    """Fields bit for bit, in the order of the file, with images of different sizes."""
    assert getattr(utils, version) == dict.fromkeys(PAPER_NAMES, str(tree / FILES[version]))
    items = load_annotations(tree / FILES[version], revised=version == "revised").items
    found = [doc for task in PAPER_NAMES for doc in docs(utils, version, task)]
    assert [doc["index"] for doc in found] == list(range(len(items)))
    for doc, item in zip(found, items, strict=True):
        assert (doc["task"], doc["question"], tuple(doc["answer"])) == (item.task, item.question, item.answer)
        assert doc["targets"] == list(item.targets) and len(item.targets) >= 1
        images = utils.doc_to_visual(doc)
        assert [list(image.size) for image in images] == doc["sizes"] and len(images) == len(item.images)
        assert doc["sizes"][0] != doc["sizes"][1]


def test_the_prompt_is_that_of_an_evaluation(utils: ModuleType, environment: Callable[..., None]) -> None:
    """Labels, images in their places, the question with its box in the frame of the family, and how to answer."""
    environment(family="qwen2.5-vl", max_pixels="12544", instructions="short")
    doc = docs(utils, "original", "object_tracking")[1]
    (message,) = utils.doc_to_messages(doc)
    kinds = [part["type"] for part in message["content"]]
    assert kinds == [kind for _ in doc["files"] for kind in ("text", "image")] + ["text"]
    shown = [part["url"].tobytes() for part in message["content"] if part["type"] == "image"]
    assert shown == [image.tobytes() for image in utils.doc_to_visual(doc)]
    text = utils.doc_to_text(doc)
    assert text.startswith("Image-1: <image>\nImage-2: <image>\n") and "Answer as <think>" in text
    assert "<|box_start|>" not in text and text.count("<image>") == len(doc["files"])
    assert "[6,7,56,44]" in text.replace(" ", ""), "(40,80),(400,520) in pixels of an image of 140 x 84"


def test_prompts_as_published(utils: ModuleType, environment: Callable[..., None]) -> None:
    environment(prompts="published", family="qwen2-vl")
    doc = docs(utils, "revised", "diff")[0]
    (message,) = utils.doc_to_messages(doc)
    assert [part["type"] for part in message["content"]] == ["image", "image", "text"]
    assert message["content"][-1]["text"].startswith(f"{doc['question']}Format:<|box_start|>(x1,y1),(x2,y2)<|box_end|>")


@pytest.mark.parametrize("names", [{"family": "qwen3-vl"}, PIXELS], ids=["qwen3-vl", "qwen2.5-vl"])
@pytest.mark.parametrize("version", FILES)
def test_scores_equal_those_of_mirg_score(
    version: str, names: dict[str, str], utils: ModuleType, tree: Path, environment: Callable[..., None]
) -> None:
    """To the last digit, for responses with thinking, several boxes, other frames, or no box; per task."""
    environment(**names)
    rng = random.Random(7)
    truth = load_annotations(tree / FILES[version], revised=version == "revised")
    found = {task: docs(utils, version, task) for task in PAPER_NAMES}
    asked, texts, sizes = utils.settings(), {}, {}
    for doc in (doc for task in found.values() for doc in task):
        target = doc["targets"][0]
        x1, y1, x2, y2 = to_frame(doc["answer"], doc["sizes"][target - 1], asked.family, asked.limits)
        right = f"<think>(1,2),(3,4)</think><answer>Image-{target}: ({x1},{y1}),({x2},{y2})</answer>"
        texts[doc["index"]] = right if rng.random() < 0.3 else random_response(rng)
        sizes[doc["index"]] = [tuple(size) for size in doc["sizes"]]
    frame = Frame(asked.family, asked.limits, sizes)
    expected = summarise(truth, r := Responses(texts, len(texts), ()), score_all(truth, r, PROTOCOLS, frame))
    for task, rows in found.items():
        scores = [utils.process_results(doc, [texts[doc["index"]]]) for doc in rows]
        assert [(s["index"], s["response"]) for s in scores] == [(d["index"], texts[d["index"]]) for d in rows]
        for protocol in PROTOCOLS:
            row = expected[protocol]["tasks"][task]
            columns = [c for c in (*COLUMNS, "image_accuracy") if c in row]
            assert {c: utils.percent([s[f"{protocol}_{c}"] for s in scores]) for c in columns} == {
                c: row[c] for c in columns
            }
    assert 0 < expected["strict"]["mean"]["mean_iou"] < 100


@pytest.mark.parametrize("said", ["[LMMS_EVAL_REQUEST_FAILED after 5 retries] (0,0),(999,999)", "(0,0),(999,999)"])
def test_a_failed_request_is_no_response(said: str, utils: ModuleType, environment: Callable[..., None]) -> None:
    """lmms-eval puts the message of the error in the place of the answer; a box in it must not count."""
    (doc, _) = docs(utils, "original", "group_grounding")
    scores = utils.process_results(doc, [said])
    failed = said.startswith("[")
    assert (scores["response"], scores["unanswered"]) == ((None, 1.0) if failed else (said, 0.0))
    assert (scores["official_mean_iou"] == 0) == failed


REFUSALS: list[tuple[dict[str, str], str, str]] = [
    ({"root": ""}, "MIGBENCH_ROOT is not set", "no folder"),
    ({"root": "nowhere"}, "MIGBENCH_ROOT is 'nowhere', which is not a folder", "no such folder"),
    ({"family": "qwen-3"}, "unknown model family 'qwen-3'", "a family that is not known"),
    ({"instructions": "long"}, "MIGBENCH_INSTRUCTIONS is 'long'", "instructions that do not exist"),
    ({"prompts": "publishd"}, "unknown prompts 'publishd'", "prompts that do not exist"),
    ({"max_pixels": "1.5e6"}, "MIGBENCH_MAX_PIXELS is '1.5e6'", "no integer"),
    ({"min_pixels": "99999999"}, "min_pixels (99999999) is larger than max_pixels", "limits that exclude each other"),
]


@pytest.mark.parametrize(("names", "said", "why"), REFUSALS, ids=[r[2] for r in REFUSALS])
def test_refusals(
    names: dict[str, str], said: str, why: str, utils: ModuleType, environment: Callable[..., None]
) -> None:
    environment(**names)
    with pytest.raises(SystemExit) as end:
        docs(utils, "original", "diff")
    assert str(end.value).startswith("error: ") and said in str(end.value) and str(end.value).endswith(")")


@pytest.mark.parametrize("missing", ["annotations", "image", "other version", "task"])
def test_refusals_of_a_folder(
    missing: str, utils: ModuleType, tmp_path: Path, environment: Callable[..., None]
) -> None:
    """The other version of the benchmark may be absent, and is refused if it is given in its place."""
    root = write_tree(tmp_path, each=1)
    environment(root=str(root))
    file, rows = root / "MIG_data.json", json.loads((root / "MIG_data.json").read_text(encoding="utf-8"))
    if missing == "annotations":
        (root / "revised_MIG_bench.json").unlink()
        assert len(docs(utils, "original", "region")) == 1
        with pytest.raises(SystemExit, match="holds no revised_MIG_bench.json"):
            _ = utils.revised
        return
    if missing == "image":
        (root / rows[5]["images"][-1]).unlink()
    if missing == "other version":
        file.write_bytes((root / "revised_MIG_bench.json").read_bytes())
    if missing == "task":
        file.write_text(json.dumps([row for row in rows if row["task"] != "region"]), encoding="utf-8")
    said = {"image": "lacks 1 of", "other version": "REVISED MIG-Bench", "task": "no item of the task region"}[missing]
    with pytest.raises(SystemExit, match=said):
        docs(utils, "original", "region")

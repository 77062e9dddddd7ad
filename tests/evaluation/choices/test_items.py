"""Benchmarks in the layouts of the hub become items, and what cannot be used is listed with its reason."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.choices import (
    NO_ANSWER,
    blink_rows,
    muir_rows,
    picture,
    vlm2_rows,
    write_blink,
    write_muir,
    write_parquet,
    write_vlm2_archive,
    write_vlm2_table,
)
from mirg.answers.prompts import prompt_text
from mirg.data.importers import hf
from mirg.errors import AnswerError, ConfigError, DataError, EvaluationError
from mirg.evaluation.choices.items import PROMPTS, key_of
from mirg.evaluation.choices.load import find, prepared, rejections
from mirg.evaluation.choices.sets import SETS
from mirg.families import FAMILIES
from mirg.samples import DatasetFolder, Sample

QWEN3 = FAMILIES["qwen3-vl"]


def made(name: str, root: Path) -> tuple[DatasetFolder, dict[str, Sample]]:
    data = prepared(find(name, root), root.parent / f"data-{root.name}")
    return data, {sample.id: sample for sample in data.read()}


def asked(sample: Sample, prompts: str = "published") -> str:
    return prompt_text(PROMPTS[prompts](sample, QWEN3, None, "none"))


def test_blink(tmp_path: Path) -> None:
    """Every subtask, the split with answers, images before the prompt of the authors."""
    data, samples = made("blink", write_blink(tmp_path / "blink"))
    rows = {row["idx"]: row for task, n in (("Counting", 4), ("Jigsaw", 5)) for row in blink_rows(task, n)}
    assert samples.keys() == rows.keys() and not rejections(data), "and none of the split without answers"
    assert data.card.tasks == {"Counting": 4, "Jigsaw": 5}
    for name, row in rows.items():
        sample, key = samples[name], key_of(samples[name])
        images = [row[f"image_{k}"] for k in range(1, 5) if row[f"image_{k}"]]
        assert [data.image_path(ref).read_bytes() for ref in sample.images] == [image["bytes"] for image in images]
        assert f"({key.answer})" == row["answer"] and list(key.options.values()) == row["choices"]
        letters = ", ".join(key.options)
        opening = f"Note: You only need to respond with {letters} without providing any additional information.\n"
        assert asked(sample) == "<image>" * len(images) + opening + row["prompt"]
    assert asked(samples["val_Jigsaw_2"], "reasoned").endswith(
        "(C) blue things\nFirst reason about the images. Write the reasoning between <think> and </think>, then only "
        "the letter of the option between <answer> and </answer>."
    )


def test_muirbench(tmp_path: Path) -> None:
    """Images at their places, also in the options; the two items of a pair are one image set."""
    data, samples = made("muirbench", write_muir(tmp_path / "muir"))
    rows = {row["idx"]: row for row in muir_rows()}
    assert list(samples) == list(rows) and not rejections(data)
    for name, row in rows.items():
        key = key_of(samples[name])
        assert key.answer == row["answer"]
        unanswerable = row["options"]["ABC".index(row["answer"])] == NO_ANSWER
        assert (
            key.side
            == ("unanswerable" if unanswerable else "answerable")
            == ("answerable", "unanswerable")[int(name) % 2]
        )
        assert key_of(samples[row["counterpart_idx"]]).pair == key.pair == samples[name].image_set
        assert asked(samples[name]).count("<image>") == len(row["image_list"])
    assert asked(samples["2"]) == (
        "Question: <image> What of this is also in <image> , case-2?\nChoices:\n(A) <image>\n"
        "(B) None of the choices provided\n(C) <image>\n"
        "Hint: Please provide the correct option letter, such as A, B, C, D, directly.\nAnswer:"
    )
    assert key_of(samples["2"]).options == {"A": "", "B": NO_ANSWER, "C": ""}


@pytest.mark.parametrize("write", [write_vlm2_table, write_vlm2_archive])
def test_vlm2(write: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table and the archive give the same items: questions in pairs, counts, and options listed in the question."""
    monkeypatch.setitem(hf._TABS, "chunksize", 2)  # parts of the table have numbers where others have texts
    data, samples = made("vlm2", write(tmp_path / "vlm2"))
    rows = vlm2_rows()
    assert not rejections(data), "questions about videos are left out, and not refused"
    assert {(s.task, s.question, key_of(s).answer) for s in samples.values()} == {
        (row["category"], row["question"], row["answer"].strip("(")) for row in rows
    }
    assert len(samples) == len(rows)
    for sample in samples.values():
        row = next(row for row in rows if (row["category"], row["question"]) == (sample.task, sample.question))
        assert len(sample.images) == len(row["image"]) and asked(sample).endswith(row["question"])
    assert samples["pc-grp_2"].images[2].size != samples["pc-grp_2"].images[0].size
    assert key_of(samples["pc-grp_1"]).options == {
        "A": "image 1 and image 2", "B": "image 2 and image 3", "C": "none",
    }  # fmt: skip
    pairs = [key_of(sample) for sample in samples.values() if key_of(sample).pair]
    assert sorted((key.side, key.answer) for key in pairs) == [("false", "F")] * 4 + [("true", "T")] * 4
    assert len({key.pair for key in pairs}) == 4


def changed(number: int, **fields: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: rows[number].update(fields)


@pytest.mark.parametrize(
    ("name", "change", "reason", "why"),
    [
        ("blink", changed(1, answer="hidden"), r"'hidden' is not one of the options A, B, C \(the answers", "test"),
        ("blink", changed(1, answer="(D)"), "answer: '\\(D\\)' is not one of the options A, B, C", "no such option"),
        ("blink", changed(1, choices=["one"]), "options: 1 of them", "nothing to choose from"),
        ("blink", changed(1, choices=None), "choices: is missing", "no options"),
        ("blink", changed(1, prompt=None), "prompt: is missing", "nothing is asked"),
        ("blink", changed(1, image_1=None, image_2=None, image_3=None), "images: 0 of them for 0 places", "no image"),
        ("blink", changed(1, image_1={"bytes": picture(3)[:80], "path": None}), "images: .*image", "a damaged picture"),
        ("blink", changed(1, idx="val_Counting_1"), "id: .*written already", "two items of one name"),
        ("muirbench", changed(1, question="<image> only?"), "images: 2 of them for 1 places", "an image without place"),
        ("muirbench", changed(1, image_list=["1-1.png", "gone.png"]), "images: .*gone.png", "a file that is not there"),
        ("muirbench", changed(1, image_list=["1-1.png", "../x.png"]), "../x.png lies outside", "elsewhere"),
        ("muirbench", changed(1, image_list="a.png"), "image_list: 'a.png' is not a list", "one path"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_listed(
    name: str, change: Callable[[list[dict[str, Any]]], None], reason: str, why: str, tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = blink_rows() if name == "blink" else muir_rows()
    (tmp_path / "src").mkdir()
    (tmp_path / "x.png").write_bytes(picture(1))
    if name == "muirbench":
        for row in rows:
            names = [f"{row['idx']}-{number}.png" for number, _ in enumerate(row["image_list"])]
            for file, image in zip(names, row["image_list"], strict=True):
                (tmp_path / "src" / file).write_bytes(image["bytes"])
            row["image_list"] = names
    change(rows)
    if name == "muirbench":
        (tmp_path / "src/rows.json").write_text(json.dumps(rows))
    else:
        write_parquet(tmp_path / "src/Counting/val-0.parquet", rows, [f"image_{k}" for k in range(1, 5)])
    data, samples = made(name, tmp_path / "src")
    (found,) = rejections(data)
    assert re.search(reason, str(found)) and found.row == 2, f"{why}: {found}"
    assert len(samples) == len(rows) - 1


def test_made_once(tmp_path: Path) -> None:
    """A folder that was made is read again, also as the root of another evaluation, and another one is refused."""
    root = write_muir(tmp_path / "muir")
    first = prepared(find("muirbench", root), tmp_path / "out/data")
    before = (tmp_path / "out/data/samples.jsonl").stat().st_mtime_ns
    for again in (prepared(find("muirbench", root), tmp_path / "out/data"),
                  prepared(find("muirbench", tmp_path / "out/data"), tmp_path / "other/data")):  # fmt: skip
        assert again.root == first.root and again.card.digest == first.card.digest
    assert (tmp_path / "out/data/samples.jsonl").stat().st_mtime_ns == before and not (tmp_path / "other").exists()
    with pytest.raises(EvaluationError, match="holds MuirBench from"):
        prepared(find("muirbench", write_muir(tmp_path / "again")), tmp_path / "out/data")
    with pytest.raises(DataError, match="not of BLINK"):
        prepared(find("blink", tmp_path / "out/data"), tmp_path / "x")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["data"], "pictures are not kept twice"


def test_roots(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a folder") as raised:
        find("blink", tmp_path / "no/where")
    assert "BLINK-Benchmark/BLINK" in raised.value.hint
    with pytest.raises(DataError, match="holds no file of BLINK"):
        find("blink", write_muir(tmp_path / "muir"))
    (tmp_path / "bad/data").mkdir(parents=True)
    (tmp_path / "bad/data/test-0.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"test-0\.parquet cannot be read"):
        prepared(find("muirbench", tmp_path / "bad"), tmp_path / "d")
    (tmp_path / "none").mkdir()
    (tmp_path / "none/rows.json").write_text(json.dumps([{"idx": "1"}, 7]))
    with pytest.raises(DataError, match=r"no item of BLINK can be used; first: rows\.json:1"):
        prepared(find("blink", tmp_path / "none"), tmp_path / "d")


def test_a_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every configuration of the benchmark is streamed by name, with the split whose answers are published."""
    import datasets

    local = write_blink(tmp_path / "blink")
    real, asked_for = datasets.load_dataset, []

    def load(name: str, config: str | None = None, **options: Any) -> Any:
        if name != SETS["blink"].hub:
            return real(name, config, **options)
        asked_for.append((config, options))
        task = "Counting" if config == "Counting" else "Jigsaw"
        table = real(
            "parquet", data_files=str(local / task / "val-00000-of-00001.parquet"), split="train", streaming=True
        )
        return table.map(lambda row: row | {"idx": f"{config} {row['idx']}", "sub_task": config})

    monkeypatch.setattr(datasets, "load_dataset", load)
    data = prepared(find("blink", Path("BLINK-Benchmark/BLINK")), tmp_path / "data")
    assert [config for config, _ in asked_for] == list(SETS["blink"].configs) and len(data.card.tasks) == 14
    assert all(options == {"split": "val", "streaming": True} for _, options in asked_for)
    table = hf.open_table(write_vlm2_table(tmp_path / "vlm2"), "train", data_file="VLM2Bench_img.tsv")
    assert [row["index"] for row in table] == [row["index"] for row in vlm2_rows()], "a file of a dataset"
    monkeypatch.undo()
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *given, **options: (_ for _ in ()).throw(ConnectionError("no network"))
    )
    with pytest.raises(DataError, match="no network"):
        prepared(find("muirbench", Path("MUIRBENCH/MUIRBENCH")), tmp_path / "muir")


def test_image_tokens_in_a_question_are_refused(tmp_path: Path) -> None:
    _, samples = made("blink", write_blink(tmp_path / "blink", ["Counting"], 1))
    bad = next(iter(samples.values())).model_copy(update={"question": "<|image_pad|> which?"})
    with pytest.raises(AnswerError, match="image_pad"):
        asked(bad)

"""Small multiple-choice benchmarks of the project's own, in the layouts of the published ones, with drawn images.

Every question holds another number, ``case-17``, by which :class:`fakes.faulty_api.FaultyApi` finds its reply.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from mirg.evaluation.choices.items import key_of
from mirg.samples import DatasetFolder

NO_ANSWER = "None of the choices provided"
COLOURS = ("red", "green", "blue", "orange", "purple")


def picture(number: int, kind: str = "PNG") -> bytes:
    """A drawn image whose size and colour depend on its number; no two sizes are square."""
    image = Image.new("RGB", (40 + number % 7 * 6, 34 + number % 3 * 4), (240, 240, 10 * (number % 25)))
    left = number % 13
    ImageDraw.Draw(image).rectangle((left, 4, left + 16, 24), fill=COLOURS[number % 5], outline=(0, 0, number % 256))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def cell(number: int) -> dict[str, Any]:
    """An image as a parquet file of the hub holds it."""
    return {"bytes": picture(number), "path": f"{number}.png"}


def blink_rows(task: str = "Counting", n: int = 4, split: str = "val") -> list[dict[str, Any]]:
    """Rows as those of BLINK: two to four images, two to four choices, the right one going round."""
    rows = []
    for k in range(n):
        choices = [f"{colour} things" for colour in COLOURS[: 2 + k % 3]]
        listed = "\n".join(f"({'ABCD'[i]}) {text}" for i, text in enumerate(choices))
        images: list[Any] = [cell(10 * k + i) if i < 2 + k % 3 else None for i in range(4)]
        rows.append(
            {
                "idx": f"{split}_{task}_{k + 1}",
                "question": "Which things are shown more often?",
                "sub_task": task,
                **{f"image_{i + 1}": image for i, image in enumerate(images)},
                "choices": choices,
                "answer": f"({'ABCD'[k % len(choices)]})",
                "prompt": f"Which are more frequent in case-{len(task)}{k}? Select from the choices.\n{listed}",
                "explanation": "",
            }
        )
    return rows


def muir_rows(n_pairs: int = 3) -> list[dict[str, Any]]:
    """Rows as those of MuirBench: an answerable item and its counterpart, image options in every second pair."""
    rows = []
    for k in range(n_pairs):
        for side in (0, 1):
            options = ["<image>", "<image>"] if k % 2 else ["three rings", "two rings"]
            options.insert(k % 3, NO_ANSWER)
            right = options.index(NO_ANSWER) if side else next(i for i, o in enumerate(options) if o != NO_ANSWER)
            numbers = [100 + 10 * k + side, 105 + 10 * k] + ([106 + 10 * k, 107 + 10 * k] if k % 2 else [])
            rows.append(
                {
                    "idx": str(2 * k + side),
                    "task": ("Counting", "Visual Retrieval")[k % 2],
                    "image_relation": "Independent",
                    "image_type": "Graphics",
                    "question": f"<image> What of this is {('also', 'not')[side]} in <image> , case-{2 * k + side}?",
                    "options": options,
                    "answer": "ABC"[right],
                    "image_list": [cell(number) for number in numbers],
                    "counterpart_idx": str(2 * k + 1 - side),
                }
            )
    return rows


def vlm2_rows() -> list[dict[str, Any]]:
    """Rows as those of VLM2Bench_img.tsv, except that ``image`` is a list of numbers of pictures."""
    rows: list[dict[str, Any]] = []
    for task in ("gc-mat", "oc-cpr"):
        for k in (1, 2):
            for side, answer in (("p", "T"), ("n", "F")):
                question = f"Is the thing in both images, case-{len(rows)}? Answer with T(True) or F(False)."
                rows.append({"index": f"{task}_{k}_{side}", "category": task, "question": question, "answer": answer,
                             "image": [200 + k, 210 + k]})  # fmt: skip
    for k, answer in ((1, 1), (2, 3), (3, 4)):
        rows.append({"index": f"oc-cnt_{k}", "category": "oc-cnt", "answer": str(answer), "image": [220, 221, 222, 223],
                     "question": f"How many things are in case-{len(rows)}? Answer with a number."})  # fmt: skip
    for k, answer in ((1, "B"), (2, "C")):
        question = (
            f"Which images of case-{len(rows)} are alike?\n(A) image 1 and image 2\n(B) image 2 and image 3\n(C) none\n"
        )
        rows.append({"index": f"pc-grp_{k}", "category": "pc-grp", "question": question, "answer": f"({answer}",
                     "image": [230, 231, 232 + k]})  # fmt: skip
    return rows


def write_parquet(file: Path, rows: Sequence[dict[str, Any]], images: Sequence[str]) -> Path:
    """Rows as a parquet file whose ``images`` columns are pictures, as the hub writes it."""
    import datasets

    table = datasets.Dataset.from_list(list(rows))
    for name in images:
        one = datasets.Image()
        table = table.cast_column(name, datasets.List(one) if isinstance(rows[0][name], list) else one)
    file.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(str(file))
    return file


def write_blink(root: Path, tasks: Sequence[str] = ("Counting", "Jigsaw"), n: int = 4) -> Path:
    """A folder as the hub has it: a folder per subtask, a file per split."""
    names = [f"image_{k}" for k in range(1, 5)]
    for place, task in enumerate(tasks):
        write_parquet(root / task / "val-00000-of-00001.parquet", blink_rows(task, n + place), names)
        hidden = [row | {"answer": "hidden"} for row in blink_rows(task, 1, "test")]
        write_parquet(root / task / "test-00000-of-00001.parquet", hidden, names)
    return root


def write_muir(root: Path, n_pairs: int = 3) -> Path:
    """A folder as the hub has it, in two files."""
    rows = muir_rows(n_pairs)
    for part, some in enumerate((rows[:3], rows[3:])):
        write_parquet(root / f"data/test-0000{part}-of-00002.parquet", some, ["image_list"])
    return root


def write_vlm2_table(root: Path) -> Path:
    """The table of all image cases, images in base64."""
    root.mkdir(parents=True, exist_ok=True)
    rows = vlm2_rows()
    with (root / "VLM2Bench_img.tsv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t")
        writer.writeheader()
        for row in rows:
            images = [base64.b64encode(picture(number)).decode() for number in row["image"]]
            writer.writerow(row | {"image": str(images)})
    return root


def write_vlm2_archive(root: Path) -> Path:
    """The developers' archive: questions in ``jsonl/``, images in ``data/``; it also has questions about videos."""
    places = {"gc": "data/gc/processed", "oc": "data/oc/original_obj", "pc": "data/pc/image/picks_face"}
    files: dict[str, list[dict[str, Any]]] = {}
    for row in vlm2_rows():
        part = row["category"][:2]
        names = [f"{number}.png" for number in row["image"]]
        for number, name in zip(row["image"], names, strict=True):
            file = root / places[part] / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(picture(number))
        name = row["index"].removeprefix(f"{row['category']}_")
        name = name[:-2] if part == "gc" else name  # both questions of a pair have one name there
        answer = int(row["answer"]) if row["category"] == "oc-cnt" else row["answer"]
        found = {"q_id": name, "question": row["question"], "images": names, "gt_answer": answer}
        files.setdefault(f"jsonl/{part}/vanilla/{row['category'].replace('-', '_')}.jsonl", []).append(found)
    files["jsonl/pc/vanilla/pc_vid.jsonl"] = [{"q_id": "1", "question": "Describe the video.", "video": "a.mp4"}]
    for name, rows in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return root


SPELLINGS = (
    "{}", "({})", "{}.", "Answer: {}", "<think>A, B, T or F? 1 or 2?</think><answer>{}</answer>", "\\boxed{{{}}}",
    "**{}**", "The answer is {}.", "<think>No.</think>{}",
)  # fmt: skip


def replies(data: DatasetFolder, *, wrong: bool = False) -> dict[str, str]:
    """The right answer to every case in several spellings, or a wrong one."""
    found = {}
    for number, sample in enumerate(data.read()):
        key = key_of(sample)
        others = [o for o in key.options or map(str, range(1, len(sample.images) + 1)) if o != key.answer]
        answer = others[number % len(others)] if wrong else key.answer
        case = re.search(r"case-(\d+)", sample.question)
        assert case, sample.question
        found[case[1]] = SPELLINGS[number % len(SPELLINGS)].format(answer)
    return found


WRITERS: dict[str, Callable[[Path], Path]] = {"blink": write_blink, "muirbench": write_muir, "vlm2": write_vlm2_table}

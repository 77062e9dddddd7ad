"""Which answers about photographs a page shows, and whose they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fakes.engines import ScriptedEngine
from mirg.answers import write_completion
from mirg.engines.base import Generation, Request
from mirg.evaluation.page_photos import ANSWERS, DATA, best
from mirg.evaluation.pages import collect, report_from_run
from mirg.evaluation.records import Record
from mirg.evaluation.runner import evaluate
from mirg.samples import DatasetFolder, DatasetWriter, Sample, Target

BOX = (0.2, 0.2, 0.8, 0.6)


def evaluated(data: Path, out: Path, source: str, n_right: int) -> None:
    with DatasetWriter(data, name="test") as writer:
        for k in range(16):
            images = tuple(
                writer.add_image(Image.new("RGB", (40 + j, 30), (9 * k, 70 * j, 3)), f"{k}-{j}") for j in (0, 1)
            )
            target = (Target(image=1 + k % 2, box=BOX, label="patch"),)
            meta = {"image_set": str(k)}
            more = {"question": "Where?", "targets": target, "image_hidden": True, "source": source, "meta": meta}
            writer.add(Sample(id=f"s{k:02d}", task=("refer", "region")[k % 2], images=images, **more))
    rows = {s.id: s for s in DatasetFolder.open(data)}

    def answer(request: Request, _: Generation) -> str:
        sample = rows[request.sample_id]
        wrong = int(request.sample_id[1:]) >= n_right
        return write_completion("Seen.", [Target(image=2, box=BOX)] if wrong else sample.targets, sample.sizes, family)

    family = ScriptedEngine(lambda *_: "").family
    evaluate(ScriptedEngine(answer, name="m"), DatasetFolder.open(data), out)


@pytest.mark.parametrize(
    ("data", "out", "source", "title"),
    [
        ("data/test", "eval/rl", "photos", "Answers about photographs"),
        ("data/test", "eval/rl", "scenes", None),
        (str(DATA), str(ANSWERS), "photos", "On photographs"),
    ],
)
def test_the_section_is_there_if_photographs_were_asked_about(
    data: str, out: str, source: str, title: str | None, tmp_path: Path
) -> None:
    if out == str(ANSWERS):  # a demo on scenes has its own evaluations
        evaluated(tmp_path / "data/test", tmp_path / "eval/rl", "scenes", 3)
    evaluated(tmp_path / data, tmp_path / out, source, 8)
    page = collect(tmp_path)
    assert page.table is not None and [row.name for row in page.table.rows] == ["RL"], "the table is that of the run"
    assert (page.answers and page.answers.title) == title
    if page.answers is not None:
        assert page.notes == () and " of 16 answers of " in page.answers.note
        (_, chosen), (_, drawn) = page.answers.groups
        assert len(chosen.items) == len(drawn.items) == 6
        assert {example.answers[0].outcome for example in chosen.items} == {"right"}
        assert collect(tmp_path).answers == page.answers, "the same page every time"
        html = report_from_run(tmp_path).read_text(encoding="utf-8")
        assert all(
            words in html for words in (page.answers.title, "Chosen answers", drawn.items[0].answers[0].sample_id)
        )


def test_the_best_answers_come_from_all_tasks_in_turn(make_one: Callable[..., Record]) -> None:
    near, far = (f"<think>a</think><answer>Image-2: (100,200),(500,{y})</answer>" for y in (600, 420))
    rows = [("a0", "a", far), ("a1", "a", near), ("a2", "a", near), ("b0", "b", far), ("b1", "b", "no idea")]
    records = [make_one(text, name=name, task=task) for name, task, text in rows]
    chosen = best(records, 5)
    assert [record.task for record in chosen] == ["a", "b", "a", "b", "a"]
    assert [chosen[1].id, chosen[3].id, chosen[4].id] == ["b0", "b1", "a0"]
    assert best(records, 5) == best(records[::-1], 5)

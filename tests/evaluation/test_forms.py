from __future__ import annotations

from collections.abc import Callable

import pytest

from mirg.data.scenes.generate import iter_samples
from mirg.data.scenes.tasks import TASKS
from mirg.evaluation.chance import LEAST, given_boxes, groups, named_images, wording
from mirg.evaluation.records import Record, load_records, question_form
from mirg.samples import Sample

MARKED = "Track the object at <box image=1>0.1,0.2,0.3,0.4</box> of Image-1. Find it in Image-12."


@pytest.mark.parametrize(
    ("question", "subject", "form", "why"),
    [
        ("Find the red ring.", "red ring", "Find the [...].", "the subject is what has to be found"),
        ("red ring or red ring?", "red ring", "[...] or [...]?", "everywhere"),
        ("Find the object of Image-1.", "red ring", "Find the object of Image-1.", "the question does not say it"),
        ('Find "the man on the left".', None, "Find [...].", "without a subject: what is quoted"),
        (
            "Find “the man”, and his dog's ball.",
            None,
            "Find [...], and his dog's ball.",
            "an apostrophe quotes nothing",
        ),
        (MARKED, None, MARKED, "numbers stay: a policy may repeat them"),
        ("Find the dog.", "", "Find the dog.", "an empty subject masks nothing"),
    ],
)
def test_the_form_of_a_question(
    make_sample: Callable[..., Sample], question: str, subject: str | None, form: str, why: str
) -> None:
    assert question_form(make_sample(question=question, subject=subject)) == form, why


def test_wordings_are_without_numbers(make_one: Callable[..., Record]) -> None:
    assert wording(MARKED) == "Track the object at [box] of Image-N. Find it in Image-N."
    record = make_one("", question=MARKED)
    assert named_images(record) == [1, 12]
    assert given_boxes(record) == [(0.1, 0.2, 0.3, 0.4)]
    bad = make_one("", question="<box image=1>0.5,0.2,0.3,0.4</box> and <box image=1>1,2</box>")
    assert given_boxes(bad) == [] and "0.5" not in wording(bad.form)


def test_no_wording_of_the_scenes_tells_its_objects() -> None:
    samples = [sample for sample, _ in iter_samples(n=200, split="validation")]
    wordings = {wording(question_form(sample)) for sample in samples}
    assert len(wordings) <= 2 * (len(TASKS) - 1), "two wordings of each task; none borrows its own"
    named = {str(sample.meta[key]) for sample in samples for key in ("subject", "mark") if key in sample.meta}
    assert not any(name in text for name in named for text in wordings)


def test_every_record_is_in_one_group(make_one: Callable[..., Record]) -> None:
    records = [
        make_one("", name=f"{n}-{k}", question="Find it.", n_images=n)
        for n, size in ((3, LEAST), (4, 3))
        for k in range(size)
    ]
    found = groups(records)
    assert [(name, len(members), len(users)) for (name, members), users in found] == [
        ("Find it.", LEAST + 3, 3),
        ("Find it. (3 images)", LEAST, LEAST),
    ]


def test_rows_without_a_form_are_read(make_one: Callable[..., Record], tmp_path) -> None:
    row = make_one("").model_dump_json(exclude={"form"})
    (tmp_path / "records.jsonl").write_text(row + "\n")
    assert load_records(tmp_path)[0].form == ""

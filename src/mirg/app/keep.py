"""What is kept of a page: samples of a dataset folder, and the history of a session as one HTML file."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from mirg.answers.image_names import names_in
from mirg.answers.markup import cited, markup_problem, replaced
from mirg.app.session import FEWEST, Answer, Picture, Turn
from mirg.errors import AnswerError, ConfigError, DataError
from mirg.report.sheet import SheetBox, SheetData, SheetImage, SheetSample, write_sheet
from mirg.samples import DatasetFolder, DatasetWriter, Rejection, Sample, Target
from mirg.samples.schema import ImageRef
from mirg.samples.writer import Carrier
from mirg.storage import digest_bytes

CREATED_BY = "mirg app"
TASK = "asked"
_one_save = threading.Lock()


def save_sample(folder: Path, pictures: Sequence[Picture], question: str, targets: Sequence[Target]) -> int:
    """Append a sample to the dataset in ``folder``, which is made if it does not exist; returns how many it has.

    ``targets`` empty means that the answer is in none of the images. DataError, ConfigError or AnswerError if it cannot
    be a sample, if the folder was not made by this page, or if it holds a row that would be lost.
    """
    if len(pictures) < FEWEST or not question.strip():
        raise ConfigError("a sample has a question and at least two images", hint="add what is missing")
    if problem := markup_problem(question, len(pictures)):
        raise AnswerError(f"the question: {problem}", hint="draw the box again, or remove it from the question")
    with _one_save:
        old = DatasetFolder.open(folder) if folder.exists() and any(folder.iterdir()) else None
        if old is not None and old.card.created_by != CREATED_BY:
            raise DataError(f"{folder} was not made by this page", hint="start the page with another --save")
        with DatasetWriter(
            folder,
            name=folder.resolve().name,
            description="Questions and answers that were given on the page of mirg app.",
            created_by=CREATED_BY,
            overwrite=True,
        ) as writer:
            if old is not None:
                carrier = Carrier(old, writer, "own")
                for sample in old.read(_refuse):
                    writer.add(carrier.carry(sample))
            refs = [writer.add_image(picture.image, picture.path.stem) for picture in pictures]
            writer.add(_sample(refs, question, targets))
        return len(DatasetFolder.open(folder))


def _refuse(rejection: Rejection) -> None:
    raise DataError(
        f"row {rejection.row} of the dataset cannot be read: {rejection.reason}",
        hint="mirg data check lists what is wrong with it; nothing was written",
    )


def _sample(refs: Sequence[ImageRef], question: str, targets: Sequence[Target]) -> Sample:
    said = {name.number for name in names_in(replaced(question, lambda image, box: ""))}
    row = Sample(
        id="sample",
        task=TASK,
        images=tuple(refs),
        question=question.strip(),
        targets=tuple(targets),
        image_hidden=not said & {target.image for target in targets},
        source=CREATED_BY,
    )
    # The same question, images and targets are the same sample: it is refused if it is saved twice.
    return row.model_copy(update={"id": f"asked-{digest_bytes(row.model_dump_json().encode())[:16]}"})


def write_history(path: Path, turns: Sequence[Turn]) -> Path:
    """Write the page of a session: one card for each question and model, with images, boxes, reasoning and answer."""
    cards = [_card(number, turn, answer) for number, turn in enumerate(turns, 1) for answer in turn.answers]
    notes = ("Orange and dashed: the answer. The task of a card is the name of its model.",)
    write_sheet(path, SheetData("Session", f"{len(turns)} questions asked on the page of mirg app.", cards, notes))
    return path


def _card(number: int, turn: Turn, answer: Answer) -> SheetSample:
    grounding = answer.grounding
    found = grounding.drawn if grounding else ()
    lines = [f"Image-{box.image} {box.pixels or box.problem}" for box in found]
    if grounding and grounding.failure is None and grounding.reading.none:
        lines = ["none"]
    images = tuple(
        SheetImage(
            picture.path,
            f"Image-{place}",
            caption=picture.name,
            boxes=(
                *(SheetBox("given", box, "given in the question") for k, box in cited(turn.question) if k == place),
                *(SheetBox("predicted", box.box, answer.model) for box in found if box.pixels and box.image == place),
            ),
        )
        for place, picture in enumerate(turn.pictures, 1)
    )
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(turn.asked))
    facts = {"asked": when, "status": answer.status, "problem": answer.problem, "completion": answer.text}
    return SheetSample(
        id=f"{number}",
        task=answer.model,
        question=replaced(turn.question, lambda image, box: f"[box in Image-{image}]"),
        images=images,
        tags=(answer.status,),
        targets=tuple(lines),
        chain=(grounding.reading.thinking if grounding else "") or answer.text,
        answer=tuple(lines),
        written=f"written by {answer.model} in {answer.seconds:.1f} s",
        facts=tuple((name, value) for name, value in facts.items() if value),
    )

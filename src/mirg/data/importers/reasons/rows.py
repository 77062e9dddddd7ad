"""Reasons about texts, answers, fields and whole rows."""

from __future__ import annotations

from mirg.data.importers.reasons.entry import Reason

ANSWERS = (
    Reason(
        ("holds no box", "holds no box that can be used: …", "neither boxes nor an answer"),
        "The answer gives no box, or was cut off or written so that its boxes cannot be read with certainty.",
        "Only questions that ask for boxes can be used. Correct answers that were cut off.",
    ),
    Reason(
        ("holds a box that was not understood: …", "holds a box outside of its JSON"),
        "The answer holds numbers that look like a box and were not read as one. The others would not be the whole "
        "answer.",
        "Write all boxes of an answer in the same form, as [x1, y1, x2, y2].",
    ),
    Reason(
        ("holds … boxes, one is expected",),
        "The format has one box in every answer, and it is not known which one is meant.",
        "Keep one box, or import the file as a format whose answers hold several, such as sharegpt.",
    ),
    Reason(
        ("the same box occurs twice",),
        "One object is listed twice in the answer, or two objects were given the same box.",
        "Remove one of them, or correct it.",
    ),
    Reason(
        ("the thinking never ends",),
        "The reasoning begins with a tag and has no end, so that the text holds no answer.",
        "Add the end of the reasoning and the answer, or leave the row out.",
    ),
    Reason(
        ("… placeholders for … images",),
        "The texts have more or fewer placeholders than the row has images, so that it is not known where each image "
        "is shown.",
        "Write one <image> for every image, or none at all if the format allows that.",
    ),
    Reason(
        ("an answer without a question", "a question without an answer", "is not one question and its answer",
         "the role … neither asks nor answers", "is no list of messages",
         "is no list of a question and an answer each"),
        "A conversation is a list of messages in which questions and answers alternate.",
        "Correct the messages. --columns user=NAME,assistant=NAME says which roles ask and answer.",
    ),
    Reason(
        ("holds …, which would not be read as text",),
        "The text holds a token of a model family or a tag, which a tokenizer reads as an image or a turn.",
        "Remove it from the text.",
    ),
    Reason(
        ("holds no question that can be answered",),
        "Nothing in the row is a question with an answer.",
        "Leave the row out, or import the file as another format.",
    ),
    Reason(
        ("are not two of the listed images", "… annotations of a text that is not listed",
         "… is not an image of the pair", "is …, and there are … annotations",
         "the text does not say which image holds the answer", "same as item …"),
        "The item of the benchmark contradicts itself, or is there twice. Such defects of published files are listed.",
        "Nothing needs to be done: the item is left out of the benchmark.",
    ),
)  # fmt: skip

ROWS = (
    Reason(
        ("line is cut off", "not JSON: …", "not UTF-8: …"),
        "The line of the file is not JSON, perhaps because the file was cut off or two programs wrote to it.",
        "Copy or write the file again: every line is one JSON object.",
    ),
    Reason(
        ("cannot be read: …",),
        "The file of the annotation cannot be opened or decoded.",
        "Check the permissions of the file, and save it as UTF-8.",
    ),
    Reason(
        ("is missing", "is empty", "… is not a text", "… is not a whole number", "… is not an object"),
        "A field that the format needs is missing or of another type.",
        "Fill in the field. For other names of fields use --columns.",
    ),
    Reason(
        ("holds half of a surrogate pair", "its question holds a null character"),
        "The text holds a character that cannot be written as UTF-8, or that no text has.",
        "Write the file again with a correct encoding.",
    ),
    Reason(
        ("holds no text or number: …", "would replace meta.…: …"),
        "--meta keeps fields of rows in meta. It keeps texts, numbers and truth values, under names that meta does not "
        "hold yet.",
        "Choose another field, or another name with --meta NAME=FIELD.",
    ),
    Reason(
        ("is not a sample of mirg: …: …", "is about … images, the row has …", "its reasoning cannot be used: …"),
        "The column record holds a sample that mirg data export wrote, and the record was changed after that.",
        "Export the dataset again, or leave the column out.",
    ),
    Reason(
        ("id was used by an earlier row",),
        "In a dataset folder every sample has its own id, since later files name samples by it.",
        "Make the ids unique. An import of another format does this itself.",
    ),
    Reason(
        ("Field required…", "Extra inputs are not permitted…", "Input should be …", "String should have at least …",
         "Tuple should have at least …", "width and height come together, or not at all…"),
        "The row does not have the fields of a sample. The report names the field, and how many more are wrong.",
        "See the fields of a sample in docs/concepts/samples.md. Additional fields belong into meta.",
    ),
)  # fmt: skip

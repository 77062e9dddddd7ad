"""One grammar for answers: prompts that label the images, a writer, and a reader that never raises."""

from mirg.answers.markup import Style, box_markup, cited, markup_problem, render, replaced
from mirg.answers.prompts import (
    Instructions,
    instruction_text,
    messages,
    prompt_text,
    question_text,
    write_answer,
    write_completion,
)
from mirg.answers.read import READER_VERSION, ReadBox, Reading, read

__all__ = [
    "READER_VERSION",
    "Instructions",
    "ReadBox",
    "Reading",
    "Style",
    "box_markup",
    "cited",
    "instruction_text",
    "markup_problem",
    "messages",
    "prompt_text",
    "question_text",
    "read",
    "render",
    "replaced",
    "write_answer",
    "write_completion",
]

"""The tags around a completion's two blocks, and the tokens that no text may carry into a prompt or a completion."""

from __future__ import annotations

from mirg.errors import AnswerError
from mirg.frames import Family

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
TAGS = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)

# What a decoder may leave at the end of a completion; it says nothing about the format.
END_TOKENS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|user|>", "<|observation|>", "</s>", "<eos>")


def forbid(text: str, tokens: tuple[str, ...], where: str) -> None:
    """Raise :class:`AnswerError` if ``text`` holds one of ``tokens``; ``where`` says whose text it is.

    A vision token inside a text would become one placeholder more than there are images; a tag inside the
    thinking would end it early.
    """
    for token in tokens:
        if token in text:
            raise AnswerError(f"{where} holds {token!r}", hint="remove it: it would be read as a token, not as text")


def forbid_vision(text: str, family: Family, where: str) -> None:
    """Raise :class:`AnswerError` if ``text`` holds a token that the family reserves for images and turns."""
    forbid(text, family.vision_tokens, where)

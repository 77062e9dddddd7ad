"""A small tokenizer, trained on the spot, with the special tokens of the Qwen-VL families.

Byte-level BPE, so any text encodes and decodes without loss. What a tiny model has to look up or to copy is ONE token
each: image labels (``Image-3``), object names (``red ring``) and the coordinates of the 0-1000 grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
# The order of Qwen's own tokenizers; none of these may ever be sampled into a completion but TURN_END.
SPECIAL_TOKENS = (
    END_OF_TEXT,
    TURN_START,
    TURN_END,
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
GRAMMAR_TOKENS = ("<think>", "</think>", "<answer>", "</answer>")


def train_tokenizer(
    corpus: Iterable[str],
    *,
    names: Sequence[str],
    coordinates: Sequence[int],
    max_images: int = 8,
    vocab_size: int = 640,
) -> PreTrainedTokenizerFast:
    """Train on ``corpus``; ``names`` (with a leading blank), ``coordinates`` and image labels become whole tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(corpus, trainer)
    core.add_tokens([AddedToken(token, normalized=False) for token in GRAMMAR_TOKENS])
    labels = [f"Image-{n}" for n in range(1, max_images + 1)]
    # single_word: "Image-1" must not match inside "Image-12", nor "40" inside "1040".
    core.add_tokens([AddedToken(t, normalized=False, single_word=True) for t in (*labels, *map(str, coordinates))])
    # With their blank, so that what follows a name is decided at the name itself, not one token later.
    core.add_tokens([AddedToken(f" {word}", normalized=False) for word in (*labels, *names)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
        extra_special_tokens=list(SPECIAL_TOKENS),
    )
    tokenizer.padding_side = "left"
    return tokenizer

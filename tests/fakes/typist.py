"""An engine that writes its completion word by word, so that tests see it grow, cancel it, and let it fail."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fakes.engines import ScriptedEngine
from mirg.engines.base import Completion, Generation, Request, Watch

THOUGHT = "The red square is in the second image, above the middle."
ANSWER = f"<think>{THOUGHT}</think><answer>Image-2: (100,200),(500,600)</answer>"


@dataclass
class Typist(ScriptedEngine):
    """``pause`` seconds between two words; ``error`` is raised after ``words`` of them."""

    pause: float = 0.0
    words: int = 10**9
    error: Exception | None = None

    def complete_watched(self, request: Request, settings: Generation, watch: Watch) -> Completion:
        written: list[str] = []
        for number, word in enumerate(self.script(request, settings).split(" ")):
            if self.error is not None and number >= self.words:
                raise self.error
            written.append(word)
            watch(" ".join(written))
            time.sleep(self.pause)
        return Completion(" ".join(written), len(written), "stop")


def typist(name: str = "typist", text: str = ANSWER, **more: object) -> Typist:
    """A typist who always writes ``text``, in the frame of Qwen3-VL (0 to 1000)."""
    return Typist(lambda request, settings: text, name=name, **more)  # type: ignore[arg-type]

"""What the refusal of an endpoint means: what to do about it, and whether any other request could succeed."""

from __future__ import annotations

import re
from typing import NamedTuple

from mirg.engines.endpoint import Fault

# In the words of vLLM, SGLang, llama.cpp, LiteLLM, Ollama and the large providers.
_NO_MODEL = re.compile(r"(invalid|unknown|no) model|model\b.*\b(not found|(does )?not exist)", re.IGNORECASE)
_TOO_LONG = re.compile(r"context length|maximum (model|prompt|input) length|max_model_len|too (long|many tokens)", re.I)
_IMAGES = re.compile(r"image|vision|multimodal|pixel", re.IGNORECASE)


class Meaning(NamedTuple):
    """``hint`` says what to do. ``all_requests``: as long as none was answered, every request will be refused."""

    hint: str = ""
    all_requests: bool = False


def meaning(fault: Fault, model: str, images: int, *, has_key: bool) -> Meaning:
    """What is behind a refusal of a request with so many ``images``. ``model`` is its name at the endpoint."""
    said = fault.message
    if fault.blind:
        hint = f"{model!r} does not accept images there: serve a vision-language model, or check the name"
        return Meaning(hint, all_requests=True)
    if fault.status == 401:
        hint = "check the key, and the name of its environment variable"
        return Meaning(hint if has_key else "name the environment variable with the key: --key-env", all_requests=True)
    if fault.status == 403:
        return Meaning(f"check that the key may use the model {model!r}", all_requests=True)
    if fault.status == 404 or _NO_MODEL.search(said):
        hint = f"check that the endpoint has a model {model!r}, and that the address ends with /v1"
        return Meaning(hint, all_requests=True)
    if "no switch for thinking" in said:
        return Meaning("leave --thinking out", all_requests=True)
    if _TOO_LONG.search(said):
        return Meaning("start the server with a longer context, or lower --max-pixels or --max-new-tokens")
    if fault.status == 413 or _IMAGES.search(said):
        accepts = f"check that {model!r} accepts {images} images of this size"
        return Meaning(f"{accepts}: raise the limit of the server, or send smaller images with --max-pixels")
    return Meaning()

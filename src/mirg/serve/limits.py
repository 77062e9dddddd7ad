"""The limits of the server, and the refusal of a request with the error body that OpenAI's clients expect."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mirg.errors import MirgError
from mirg.images import ImageLimits


class ServeLimits(BaseModel):
    """Bytes, images, pixels, tokens, waiting requests and seconds. Every bound is inclusive."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    body_bytes: int = Field(default=32 * 2**20, ge=1, description="Of one request.")
    held_bytes: int = Field(default=256 * 2**20, ge=1, description="Of all requests that are being answered.")
    values: int = Field(default=50_000, ge=1, description="Quotes, commas and brackets in a body.")
    messages: int = Field(default=64, ge=1)
    text: int = Field(default=100_000, ge=1, description="Characters of all texts of a request.")
    images: int = Field(default=32, ge=0, description="Of one request.")
    image_pixels: int = Field(default=25_000_000, ge=1, description="Of one image.")
    pixels: int = Field(default=50_000_000, ge=1, description="Of all images of a request.")
    prompt_tokens: int = Field(default=32_768, ge=1, description="Estimated: images exactly, text rather too many.")
    new_tokens: int = Field(default=2048, ge=1, description="Of one completion.")
    choices: int = Field(default=16, ge=1, description="Completions of one request.")
    queue: int = Field(default=128, ge=1, description="Requests that wait for the model.")
    queue_pixels: int = Field(default=200_000_000, ge=1, description="Of the images of waiting requests.")
    batch: int = Field(default=8, ge=1, description="Waiting requests that are answered in one forward pass.")
    connections: int = Field(default=256, ge=1)
    read_seconds: float = Field(default=30.0, gt=0, description="Until a request has arrived.")
    answer_seconds: float = Field(default=300.0, gt=0, description="Until it is answered, waiting included.")

    @property
    def image(self) -> ImageLimits:
        """The limits of one image."""
        return ImageLimits(max_bytes=self.body_bytes, max_pixels=self.image_pixels)


_KINDS = {
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "timeout_error",
}


class Refused(MirgError):
    """``status`` is the HTTP status, ``param`` the wrong part of the request, ``code`` a key for programs."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, retry: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.retry = retry

    @property
    def body(self) -> bytes:
        """The error as JSON; everything beyond ASCII is escaped."""
        kind = _KINDS.get(self.status, "invalid_request_error")
        error: dict[str, Any] = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return json.dumps({"error": error}).encode("ascii")

    @property
    def headers(self) -> dict[str, str]:
        """The headers: when to try again (seconds), and that a half-read request ends its connection."""
        found = {"content-type": "application/json"}
        if self.retry is not None:
            found["retry-after"] = str(self.retry)
        if self.status in {408, 413}:
            found["connection"] = "close"
        return found

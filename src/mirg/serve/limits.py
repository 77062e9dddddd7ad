"""The limits of the server; requests beyond them are refused before they cost anything."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

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

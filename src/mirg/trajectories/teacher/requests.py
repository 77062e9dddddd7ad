"""One request: the images that are sent, its identity, its largest cost, and its body.

Images are sent within the limits of the recipe, upright and without metadata, as data URIs. The sent size depends only
on the size of the original, so the frame of the boxes in a prompt is known without opening a file. A sample whose
images have the sent sizes (:func:`as_sent`) gives the right numbers, since scaling does not change boxes in fractions.
"""

from __future__ import annotations

import base64
import io
import json
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mirg.answers.looks import Look, crop_pixels, crop_size, joined
from mirg.engines.limits import Cost
from mirg.engines.looking import cut
from mirg.errors import ImageError
from mirg.families import family
from mirg.images import Size, image_digest
from mirg.samples import DatasetFolder, ImageRef, Sample
from mirg.storage import digest_bytes
from mirg.trajectories.teacher.recipe import ImageSettings, TeacherRecipe
from mirg.trajectories.teacher.render import Message, TeacherPrompt

if TYPE_CHECKING:
    from PIL import Image

LOSSLESS_PIXELS = 512 * 512  # images up to this size are sent as PNG, which keeps the lines of drawn scenes sharp
QUALITIES = (92, 85, 75, 65, 55, 45)  # of JPEG, tried in this order until the bytes fit
CACHE_BYTES = 256 * 2**20
SMALLER = "a smaller images.max_side sends smaller images"


def sent_size(size: Size, settings: ImageSettings) -> Size:
    """(width, height) in pixels that an image of ``size`` is sent with; never larger than the original."""
    width, height = size
    scale = min(1.0, settings.max_side / max(size), math.sqrt(settings.max_pixels / (width * height)))
    return (max(1, math.floor(width * scale + 1e-9)), max(1, math.floor(height * scale + 1e-9)))


def as_sent(sample: Sample, settings: ImageSettings) -> Sample:
    """The sample with the image sizes that are sent; its boxes are fractions and do not change.

    DataError if the row does not give the size of an image.
    """
    images = []
    for ref in sample.images:
        width, height = sent_size(ref.size, settings)
        images.append(ref if (width, height) == ref.size else ref.model_copy(update={"width": width, "height": height}))
    return sample.model_copy(update={"images": tuple(images)})


def image_tokens(sample: Sample, settings: ImageSettings) -> int:
    """Estimated tokens of the images of a sample from :func:`as_sent`; one per ``pixels_per_token``, rounded up."""
    return sum(math.ceil(ref.width * ref.height / settings.pixels_per_token) + 4 for ref in sample.images)


class ImageCache:
    """A cache of the encoded images of one dataset; the most recent ones are kept. It is thread-safe."""

    def __init__(self, source: DatasetFolder, settings: ImageSettings, keep: int = CACHE_BYTES) -> None:
        """``keep``: bytes of encoded images that stay in memory."""
        self._source, self._settings, self._keep = source, settings, keep
        self._held = 0
        self._uris: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def ready(self, sample: Sample) -> list[str] | None:
        """The images of a sample if all of them are in the cache, else None."""
        with self._lock:
            if not all(ref.path in self._uris for ref in sample.images):
                return None
            for ref in sample.images:
                self._uris.move_to_end(ref.path)
            uris = [self._uris[ref.path] for ref in sample.images]
        return self._together(uris, sample.id)

    def uris(self, sample: Sample) -> list[str]:
        """The images of a sample as data URIs, Image-1 first.

        ImageError, naming the sample, if a file cannot be opened or exceeds the allowed bytes.
        """
        return self._together([self._uri(ref, sample.id) for ref in sample.images], sample.id)

    def crops(self, request: Request) -> list[str]:
        """The crops that a request shows, cut from the originals, as data URIs. Errors as :meth:`uris`."""
        sample, made = request.sample, list[str]()
        for look in request.looks:
            image = self._source.open_image(sample.images[look.image - 1], sample.id)
            pixels = crop_pixels(look.box, image.size)
            size = (pixels[2] - pixels[0], pixels[3] - pixels[1])
            shown = crop_size(size, family(request.recipe.family), request.recipe.look)
            made.append(encode(cut(image, pixels, shown), self._settings, f"sample {sample.id}: a crop"))
        return made

    def _uri(self, ref: ImageRef, sample_id: str) -> str:
        with self._lock:
            found = self._uris.get(ref.path)
        if found is not None:
            return found
        uri = encode(self._source.open_image(ref, sample_id), self._settings, f"sample {sample_id}: image {ref.path}")
        with self._lock:
            if ref.path not in self._uris:
                self._uris[ref.path] = uri
                self._held += len(uri)
            while self._held > self._keep and len(self._uris) > 1:
                self._held -= len(self._uris.popitem(last=False)[1])
        return uri

    def _together(self, uris: list[str], sample_id: str) -> list[str]:
        total, most = sum(map(len, uris)), self._settings.max_total_bytes
        if total > most * 4 / 3 + 64 * len(uris):
            raise ImageError(
                f"sample {sample_id}: its {len(uris)} images take {total * 3 // 4:,} bytes together, "
                f"images.max_total_bytes is {most:,}",
                hint=SMALLER,
            )
        return uris


def encode(image: Image.Image, settings: ImageSettings, owner: str = "the image") -> str:
    """An RGB image as a data URI of :func:`sent_size`. ImageError, beginning with ``owner``, if no quality fits."""
    from PIL import Image as Pillow

    width, height = size = sent_size(image.size, settings)
    if size != image.size:
        image = image.resize(size, Pillow.Resampling.LANCZOS)
    tries = [("png", {"compress_level": 6})] if width * height <= LOSSLESS_PIXELS else []
    tries += [("jpeg", {"quality": quality}) for quality in QUALITIES]
    data = b""
    for kind, saving in tries:
        buffer = io.BytesIO()
        image.save(buffer, format=kind.upper(), **saving)
        data = buffer.getvalue()
        if len(data) <= settings.max_bytes:
            return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    raise ImageError(
        f"{owner} takes {len(data):,} bytes at {width} x {height} pixels, images.max_bytes is {settings.max_bytes:,}",
        hint=SMALLER,
    )


# Bytes of text per token: about 4 in prose. Two is less than any tokenizer's average over prose, numbers and markup, so
# that the reservation is not less than the bill.
PROSE, WORST = 4, 2
IMAGE_MARGIN = 1.3
OVERHEAD = 32  # tokens of roles and separators


@dataclass(frozen=True)
class Request:
    """Draw ``draw`` (from 0) of a sample; ``step`` is "first" or "repair". ``sample`` has the sizes that are sent.

    A further turn of a reply continues what was written ``before``; ``looks`` are those whose crops are sent.
    """

    sample: Sample
    prompt: TeacherPrompt
    draw: int
    step: str
    images: tuple[str, ...]  # SHA-256 of the files
    recipe: TeacherRecipe
    fixed: str  # :func:`fixed_part` of the recipe
    before: str = ""
    turns: int = 1
    looks: tuple[Look, ...] = ()

    def whole(self, text: str | None) -> str | None:
        """The reply with what was written ``before``, up to its first look if it may look."""
        if text is None or not self.recipe.look.max_looks:
            return text
        return self.before + joined(["", text] if self.before else [text])

    @cached_property
    def hash(self) -> str:
        """What a reply depends on, as SHA-256: model, prompt, images and how they are sent, sampling, and the draw.

        Neither the sample's id nor the address is part of it, so the same question has the same hash in every dataset.
        """
        parts = [self.fixed, self.prompt.digest, self.images, self.sample.sizes, self.draw]
        return digest_bytes(json.dumps(parts).encode())

    def expected_input(self) -> int:
        """Tokens of the input, estimated: a quarter of the bytes of the text, and the images."""
        return self._text_bytes // PROSE + self._image_tokens + OVERHEAD

    def most(self, calibration: float = 1.0) -> Cost:
        """The largest cost of one attempt; ``calibration`` (1 or more) is how much inputs have exceeded it so far."""
        images = IMAGE_MARGIN * self._image_tokens
        inside = int(calibration * (self._text_bytes / WORST + images + OVERHEAD)) + 1
        out = self.recipe.sampling.max_tokens
        return Cost(1, inside + out, self.recipe.price.of(inside, out))

    def body(self, uris: list[str]) -> dict[str, Any]:
        """The JSON that is sent; ``uris`` are the images, Image-1 first."""
        sampling = self.recipe.sampling
        body: dict[str, Any] = {
            "model": self.recipe.model,
            "messages": [_message(message, uris, self.recipe.images.detail) for message in self.prompt.messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            sampling.max_tokens_key: sampling.max_tokens,
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed + self.draw
        return body | self.recipe.extra

    @property
    def _image_tokens(self) -> int:
        crop = math.ceil(self.recipe.look.crop_pixels / self.recipe.images.pixels_per_token) + 4
        return image_tokens(self.sample, self.recipe.images) + crop * len(self.looks)

    @cached_property
    def _text_bytes(self) -> int:
        texts = (part for message in self.prompt.messages for part in message.parts if isinstance(part, str))
        return sum(len(text.encode("utf-8", "replace")) for text in texts)


def fixed_part(recipe: TeacherRecipe) -> str:
    """What all requests of a recipe have in common, as JSON."""
    sampling = recipe.sampling.model_dump(mode="json")
    parts = {"model": recipe.model, "sampling": sampling, "extra": recipe.extra, "detail": recipe.images.detail}
    parts |= {"look": recipe.look.model_dump()} if recipe.look.max_looks else {}
    return json.dumps(parts, sort_keys=True)


class Digests:
    """SHA-256 of the images of a dataset: from its rows, else from the files, each of which is read once."""

    def __init__(self, source: DatasetFolder) -> None:
        self._source = source
        self._seen: dict[str, str] = {}

    def of(self, sample: Sample) -> tuple[str, ...]:
        """Digests of the images, Image-1 first. ImageError if a file cannot be read."""
        for ref in sample.images:
            if ref.sha256 is None and ref.path not in self._seen:
                self._seen[ref.path] = image_digest(self._source.image_path(ref, sample.id))
        return tuple(ref.sha256 or self._seen[ref.path] for ref in sample.images)


def _message(message: Message, uris: list[str], detail: str | None) -> dict[str, Any]:
    if all(isinstance(part, str) for part in message.parts):  # not every server takes a list for a system message
        return {"role": message.role, "content": message.text}
    content: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, str):
            content.append({"type": "text", "text": part})
        else:
            url = {"url": uris[part - 1]} | ({"detail": detail} if detail else {})
            content.append({"type": "image_url", "image_url": url})
    return {"role": message.role, "content": content}

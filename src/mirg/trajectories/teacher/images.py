"""Images for a teacher: within the limits of the recipe, upright, without metadata, as data URIs.

The sent size depends only on the size of the original. So the frame of the boxes in a prompt is known without opening
a file. A sample whose images have the sent sizes (:func:`as_sent`) gives the right numbers: boxes are fractions, which
scaling does not change.
"""

from __future__ import annotations

import base64
import io
import math
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from mirg.errors import ImageError
from mirg.images import Size
from mirg.samples import DatasetFolder, ImageRef, Sample
from mirg.trajectories.teacher.recipe import ImageSettings

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

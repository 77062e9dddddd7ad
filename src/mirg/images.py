"""Opening images from untrusted sources.

For every file, :func:`open_image` gives a plain RGB image with the EXIF rotation applied, or raises ImageError
with the sample's id. Limits are checked on the header, before any pixel is decoded, so that a bomb costs nothing.
"""

from __future__ import annotations

import contextlib
import io
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from mirg.errors import ImageError, StorageError
from mirg.geometry import Box
from mirg.image_metadata import refusal
from mirg.storage import digest_file

if TYPE_CHECKING:
    from PIL import Image

Size = tuple[int, int]

# Decoders that photographs come in; JPEG covers MPO, the two-picture files of some cameras. The rest (EPS runs
# Ghostscript, PSD, FITS, ...) only widens the attack surface.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
# Browsers save JPEG files as .jfif, cameras write .mpo.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".mpo", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm"}
)

_EXIF_ORIENTATION = 0x0112
_TIFF_WIDTH, _TIFF_HEIGHT = 0x0100, 0x0101
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_NOTES = frozenset({b"eXIf", b"tEXt", b"zTXt", b"iTXt"})
_SWAPS_SIDES = frozenset({5, 6, 7, 8})
# EXIF orientation -> number of the PIL.Image.Transpose that sets the picture upright
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
_USUAL_SCANS = 16

# What a viewer does with a photograph of each EXIF orientation before it is seen upright.
ORIENTATION_WORDS = {
    2: "mirrored left to right",
    3: "rotated by 180 degrees",
    4: "mirrored top to bottom",
    5: "mirrored and rotated by 90 degrees",
    6: "rotated by 90 degrees clockwise",
    7: "mirrored and rotated by 270 degrees",
    8: "rotated by 90 degrees counterclockwise",
}


# What files named like images often are instead: by the brand of their container, and by how they begin.
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "HEIC: convert it to JPEG first"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF: convert it to JPEG first"),
}
_STARTS = {
    b"<!doctype": "a web page, perhaps the error of a download",
    b"<html": "a web page, perhaps the error of a download",
    b"<svg": "an SVG drawing",
    b"<?xml": "an XML file, perhaps an SVG drawing",
    b"%pdf": "a PDF document",
    b"version https://git-lfs": "a pointer of Git LFS: fetch the files with `git lfs pull`",
    b"\xff\x0a": "JPEG XL: convert it to JPEG first",
    b"\x00\x00\x00\x0cjxl ": "JPEG XL: convert it to JPEG first",
}


class Header(NamedTuple):
    """What the header of an image file says: (width, height) in pixels after EXIF rotation, and the orientation.

    ``orientation`` is 1 for a picture that is stored upright, 2 to 8 as EXIF counts.
    """

    width: int
    height: int
    orientation: int = 1

    @property
    def size(self) -> Size:
        """(width, height) in pixels of the upright picture."""
        return (self.width, self.height)


@dataclass(frozen=True)
class ImageLimits:
    """What is accepted: ``max_bytes`` of file, ``max_pixels`` and ``max_side`` of the picture.

    A file that promises more than ``free_pixels`` must bring one byte per ``max_expansion`` of them: photographs bring
    one per 2 to 40, a bomb one per 1,000. Memory at the peak is about 10 bytes per pixel.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 50_000_000
    max_side: int = 16_384
    free_pixels: int = 4_000_000
    max_expansion: int = 150


DEFAULT_LIMITS = ImageLimits()


def open_image(path: str | Path, *, limits: ImageLimits = DEFAULT_LIMITS, sample_id: str | None = None) -> Image.Image:
    """Decode ``path`` to RGB, upright. Transparency is laid on white; of an animation the first frame is taken.

    Raises ImageError, naming the file and ``sample_id``, for anything missing, damaged, too large or not an image.
    """
    with _named(path, sample_id):
        _check_file(Path(path), limits)
        with Path(path).open("rb") as stream:
            data = stream.read(limits.max_bytes + 1)
    return decode_image(data, path, limits=limits, sample_id=sample_id)


def decode_image(data: bytes, name: str | Path, *, limits: ImageLimits, sample_id: str | None = None) -> Image.Image:
    """:func:`open_image` for the bytes of a file; ``name`` is its name in errors."""
    from PIL import Image

    with _named(name, sample_id):
        _check_bytes(len(data), limits)
        with _opened(io.BytesIO(data), len(data), limits) as image:
            # The marker FFDA of a scan cannot occur inside coded data.
            scans = data.count(b"\xff\xda") if image.format in {"JPEG", "MPO"} else 0
            if scans > _USUAL_SCANS and scans * image.width * image.height > 8 * limits.free_pixels:
                raise ImageError(f"is a bomb: {scans} scans of {image.width} x {image.height} pixels")
            image.load()
            plain = to_rgb(image)
            turn = _TURNS.get(_orientation(image))
    return plain if turn is None else plain.transpose(Image.Transpose(turn))


def image_size(path: str | Path, *, limits: ImageLimits = DEFAULT_LIMITS, sample_id: str | None = None) -> Size:
    """(width, height) after EXIF rotation, from the header without decoding pixels. ImageError as above."""
    return image_header(path, limits=limits, sample_id=sample_id).size


def image_header(path: str | Path, *, limits: ImageLimits = DEFAULT_LIMITS, sample_id: str | None = None) -> Header:
    """Upright size and EXIF orientation, only from the header: pixels are not decoded. ImageError as above."""
    with _named(path, sample_id):
        size = _check_file(Path(path), limits)
        with Path(path).open("rb") as stream:
            return _header(stream, size, limits)


def header_of(data: bytes, name: str | Path) -> Header:
    """:func:`image_header` for the bytes of a file; ``name`` is its name in errors."""
    with _named(name, None):
        return _header(io.BytesIO(data), len(data), DEFAULT_LIMITS)


def stored_size(size: Size, orientation: int) -> Size:
    """(width, height) of the stored pixels, of a picture whose upright size is ``size``."""
    return (size[1], size[0]) if orientation in _SWAPS_SIDES else size


def upright_box(box: Box, orientation: int) -> Box:
    """A box in fractions of the stored pixels as fractions of the upright picture.

    >>> upright_box((0.0, 0.0, 0.5, 0.25), 6)
    (0.75, 0.0, 1.0, 0.5)
    """
    x1, y1, x2, y2 = box
    if orientation in _SWAPS_SIDES:
        x1, y1, x2, y2 = y1, x1, y2, x2
    if orientation in {2, 3, 6, 7}:
        x1, x2 = 1.0 - x2, 1.0 - x1
    if orientation in {3, 4, 7, 8}:
        y1, y2 = 1.0 - y2, 1.0 - y1
    return (x1, y1, x2, y2)


def image_digest(path: str | Path) -> str:
    """SHA-256 of the file's bytes, hexadecimal: images with equal names may differ."""
    try:
        return digest_file(path)
    except StorageError as error:
        raise ImageError(error.message, hint=error.hint) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """A plain 8-bit RGB copy: 16-bit is scaled (not clipped), transparency laid on white, CMYK and palettes converted.

    ``image.info`` is dropped, so that no metadata of the file travels on.
    """
    from PIL import Image

    if image.mode in {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}:
        plain = _grey_to_8_bit(image).convert("RGB")
    elif image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        plain = Image.new("RGB", image.size, (255, 255, 255))
        plain.paste(layer, mask=layer.getchannel("A"))
    else:
        plain = image.convert("RGB") if image.mode != "RGB" else image.copy()
    plain.info = {}
    return plain


# Pillow's decoders raise all of these on damaged input (SyntaxError is what its PNG reader uses).
_DECODER_ERRORS = (
    *(OSError, ValueError, SyntaxError, TypeError, LookupError, AttributeError, EOFError),
    *(ArithmeticError, MemoryError, RuntimeError, struct.error, zlib.error),
)


@contextlib.contextmanager
def _named(path: str | Path, sample_id: str | None) -> Iterator[None]:
    """Let the ImageError of a check below name the sample and the file; an OSError becomes an ImageError."""
    owner = f"sample {sample_id}: " if sample_id else ""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{owner}image {path} {error.message}", hint=error.hint) from error.__cause__
    except OSError as error:
        raise ImageError(f"{owner}image {path} cannot be read: {error.strerror or error}") from error


def _check_file(path: Path, limits: ImageLimits) -> int:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        raise ImageError("does not exist" if missing else f"cannot be read: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("is not a file")
    return _check_bytes(status.st_size, limits)


def _check_bytes(size: int, limits: ImageLimits) -> int:
    if size == 0:
        raise ImageError("is empty")
    if size > limits.max_bytes:
        raise ImageError(f"has {size:,} bytes, {limits.max_bytes:,} are allowed")
    return size


@contextlib.contextmanager
def _opened(stream: BinaryIO, size: int, limits: ImageLimits) -> Iterator[Image.Image]:
    """The image of a file of ``size`` bytes, if its metadata and its header keep the limits. No pixel is decoded.

    What Pillow raises, also in the block, becomes an ImageError.
    """
    from PIL import Image

    if why := refusal(stream, size):  # the decoder would take far longer for them than for the pixels
        raise ImageError(f"is refused: {why}", hint="save it again as PNG or JPEG, without its metadata")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DecompressionBombWarning and odd metadata: our own limits decide
        try:
            stream.seek(0)
            with Image.open(stream, formats=FORMATS) as image:
                width, height = image.size
                pixels = width * height
                if pixels > limits.max_pixels or max(image.size) > limits.max_side:
                    allowed = f"{limits.max_pixels:,} pixels and {limits.max_side:,} a side are allowed"
                    raise ImageError(f"is too large: {width} x {height}; {allowed}", hint="make it smaller")
                if pixels > limits.free_pixels and pixels > size * limits.max_expansion:
                    raise ImageError(f"is a bomb: {width} x {height} pixels out of {size:,} bytes")
                yield image
        except (*_DECODER_ERRORS, Image.DecompressionBombError) as error:
            stream.seek(0)
            raise ImageError(_decoder_words(error, stream.read(64))) from error


def _header(stream: BinaryIO, size: int, limits: ImageLimits) -> Header:
    turned = _may_be_turned(stream)
    with _opened(stream, size, limits) as image:
        # For a TIFF, Pillow gives the upright size.
        tags = getattr(image, "tag_v2", {})
        width, height = int(tags.get(_TIFF_WIDTH, image.width)), int(tags.get(_TIFF_HEIGHT, image.height))
        orientation = _orientation(image) if turned else 1
    return Header(*stored_size((width, height), orientation), orientation)


def _may_be_turned(stream: BinaryIO) -> bool:
    """Whether a file can contain a rotation. For a PNG, this is known from the headers of its chunks: Pillow would
    decode every pixel to find out.
    """
    if stream.read(8) != _PNG_SIGNATURE:
        return True
    while len(head := stream.read(8)) == 8:
        if head[4:] in _PNG_NOTES:
            return True
        stream.seek(int.from_bytes(head[:4], "big") + 4, 1)
    return False


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 if it is missing or the metadata are broken (the pixels may still be fine)."""
    try:
        found = int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except _DECODER_ERRORS:
        return 1
    return found if found in _TURNS else 1


def _grey_to_8_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bit; 32-bit integers and floats by their range if they exceed 0-255 (0-1)."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image)
    if values.dtype.itemsize == 2:
        values = values.astype(np.uint16)
        values -= values >> 8  # now 0-65280, so that adding half a step below cannot overflow
        values += 128
        return Image.fromarray((values >> 8).astype(np.uint8), mode="L")
    values = np.nan_to_num(values.astype(np.float32))
    top = float(values.max(initial=0.0))
    if image.mode == "F" and 0.0 < top <= 1.0:
        values *= 255.0
    elif top > 255.0:
        values *= 255.0 / (65535.0 if image.mode == "I" and top <= 65535.0 else top)
    return Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8), mode="L")


def _decoder_words(error: BaseException, first: bytes) -> str:
    """What is wrong with a file that begins with ``first``."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        start = first.lstrip().lower()
        if first[4:8] == b"ftyp":
            kind = _BRANDS.get(first[8:12], "a film or a picture in a container (MP4, HEIF)")
        else:
            kind = next((words for mark, words in _STARTS.items() if start.startswith(mark)), "")
        return f"is not an image in a known format ({', '.join(FORMATS)})" + (f": it is {kind}" if kind else "")
    if isinstance(error, Image.DecompressionBombError):
        return "is too large"
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    return f"is damaged: {error or type(error).__name__}"

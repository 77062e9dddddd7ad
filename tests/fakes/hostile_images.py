"""Files that claim to be images: broken, lying, huge, or merely unusual."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image


def picture(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture with content: a gradient with a red upper left corner."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // width, y * 255 // height, (x * 7 + y * 13) % 256], axis=-1).astype(np.uint8)
    pixels[: height // 4, : width // 4] = (255, 0, 0)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    """``image`` as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One PNG chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def flat_png(width: int, height: int, *, bits: int = 8, colour_type: int = 2) -> bytes:
    """A black PNG of any size in a few bytes per row: what a decompression bomb looks like."""
    channels = {0: 1, 2: 3, 6: 4}[colour_type]
    row = b"\0" * (1 + width * channels * bits // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def huge_header_png() -> bytes:
    """20,000 x 20,000 pixels by its header, with hardly any data."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    body = png_chunk(b"IDAT", zlib.compress(b"\0" * 60_001))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + body + png_chunk(b"IEND", b"")


def text_bomb_png() -> bytes:
    """A small picture with a compressed comment of 200 MB."""
    plain = encoded(picture(), "PNG")
    packer = zlib.compressobj(9)
    comment = b"".join(packer.compress(b"\0" * 10**6) for _ in range(200)) + packer.flush()
    return plain[:33] + png_chunk(b"zTXt", b"Comment\0\0" + comment) + plain[33:]


def scan_bomb_jpeg(scans: int = 2_000, size: tuple[int, int] = (1900, 1900)) -> bytes:
    """A progressive JPEG whose last scan is repeated: each repetition costs a pass over the whole picture."""
    plain = encoded(Image.new("RGB", size, (9, 90, 190)), "JPEG", progressive=True)
    last = plain.rindex(b"\xff\xda")
    return plain[:last] + plain[last:-2] * scans + b"\xff\xd9"


def rotated_jpeg(orientation: int) -> bytes:
    """A JPEG whose stored pixels must be turned by its EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture(), "JPEG", exif=exif, quality=95)


def broken_exif_jpeg() -> bytes:
    """Good pixels behind metadata that point nowhere."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture(), "JPEG", exif=exif)
    at = data.index(b"Exif\0\0") + 6
    return data[: at + 4] + b"\xff\xff\xff\x7f" + data[at + 8 :]


def animated_gif() -> bytes:
    """Three frames of one colour each; the first is red."""
    frames = [Image.new("RGB", (40, 30), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)


def transparent_palette_png() -> bytes:
    """A palette picture whose entry 0 is transparent: left half transparent, right half blue."""
    image = Image.new("P", (40, 30), 0)
    image.putpalette([0, 0, 0, 0, 0, 255] + [0] * 762)
    image.paste(1, (20, 0, 40, 30))
    return encoded(image, "PNG", transparency=0)


def grey_16_bit_png() -> bytes:
    """A ramp from 0 to 65535: clipping instead of scaling turns nearly all of it white."""
    ramp = np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64)
    return encoded(Image.fromarray(ramp), "PNG")


HTML = b"<!DOCTYPE html><html><head><title>403 Forbidden</title></head><body>no</body></html>"
SVG = (
    b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'
)
ENTITY_BOMB_SVG = b'<!DOCTYPE s [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><svg>&b;</svg>'

# (name, bytes, why it must be refused)
REFUSED: list[tuple[str, Callable[[], bytes], str]] = [
    ("empty.png", lambda: b"", "nothing in it"),
    ("page.jpg", lambda: HTML, "an error page saved under the image's name"),
    ("drawing.png", lambda: SVG, "vector graphics hold scripts and outside references"),
    ("entities.svg", lambda: ENTITY_BOMB_SVG, "an entity bomb"),
    ("noise.jpg", lambda: bytes(range(256)) * 40, "no known signature"),
    ("signature.png", lambda: b"\x89PNG\r\n\x1a\n", "a signature and nothing else"),
    ("signature.jpg", lambda: b"\xff\xd8\xff\xe0", "a signature and nothing else"),
    ("script.eps", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript is a program"),
    ("header.png", huge_header_png, "20,000 x 20,000 by its header"),
    ("flat.png", lambda: flat_png(4_500, 4_500), "20 million pixels out of a few kB"),
    ("wide.png", lambda: flat_png(60_000, 1), "a side no decoder of a model expects"),
    ("comment.png", text_bomb_png, "a comment that inflates to 200 MB"),
    ("scans.jpg", scan_bomb_jpeg, "2,000 passes over the picture"),
    ("zero.png", lambda: flat_png(0, 0), "no pixels"),
]

# (name, bytes, why it is fine)
ACCEPTED: list[tuple[str, Callable[[], bytes], str]] = [
    ("plain.png", lambda: encoded(picture(), "PNG"), "ordinary"),
    ("plain.jpg", lambda: encoded(picture(), "JPEG", quality=95), "ordinary"),
    ("plain.webp", lambda: encoded(picture(), "WEBP", lossless=True), "ordinary"),
    ("plain.bmp", lambda: encoded(picture(), "BMP"), "ordinary"),
    ("plain.tif", lambda: encoded(picture(), "TIFF"), "ordinary"),
    ("wrong-suffix.jpg", lambda: encoded(picture(), "PNG"), "the content decides, not the name"),
    ("no-suffix", lambda: encoded(picture(), "PNG"), "the content decides, not the name"),
    ("progressive.jpg", lambda: encoded(picture(), "JPEG", progressive=True, quality=95), "ten scans are usual"),
    ("cmyk.jpg", lambda: encoded(picture().convert("CMYK"), "JPEG", quality=95), "print shops"),
    ("cmyk.tif", lambda: encoded(picture().convert("CMYK"), "TIFF"), "print shops"),
    ("broken-exif.jpg", broken_exif_jpeg, "the pixels are fine"),
]

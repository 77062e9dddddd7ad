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


def jpeg_with(*segments: tuple[int, bytes], between: bytes = b"") -> bytes:
    """A good JPEG behind ``segments`` of (marker, content), and bytes ``between`` them and the picture."""
    plain = encoded(picture(), "JPEG", quality=95)
    front = b"".join(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in segments)
    return plain[:2] + front + between + plain[2:]


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """A good PNG with further chunks of (kind, content) in front of its pixels."""
    plain = encoded(picture(), "PNG")
    return plain[:33] + b"".join(png_chunk(kind, data) for kind, data in chunks) + plain[33:]


def gif_with(block: bytes, times: int) -> bytes:
    """A good GIF with a comment of many blocks."""
    plain = encoded(picture().quantize(), "GIF")
    at = 13 + (6 << (plain[10] & 7))
    return plain[:at] + b"!\xfe" + (bytes([len(block)]) + block) * times + b"\0" + plain[at:]


def directory(tags: int, kind: int, count: int, offset: int = 8, first: int = 1_000) -> bytes:
    """A TIFF directory of ``tags`` whose values, ``count`` of type ``kind``, all lie at ``offset``."""
    rows = [struct.pack("<HHLL", (first + i) % 65_536, kind, count, offset) for i in range(tags)]
    return struct.pack("<H", tags) + b"".join(rows) + bytes(4)


def exif_block(tags: int, kind: int, count: int) -> bytes:
    """EXIF data whose tags share their values."""
    return b"II*\0\x08\0\0\0" + directory(tags, kind, count)


def exif_jpeg(tags: int, count: int, piece: int = 65_000, front: bytes = b"Exif\0\0") -> bytes:
    """EXIF tags that share ``count`` bytes, in as many segments of ``piece`` bytes as they need."""
    data = exif_block(tags, 1, count)
    return jpeg_with(*((0xE1, front + data[at : at + piece]) for at in range(0, len(data), piece)))


def tiff_with(tags: bytes = b"", strips: int = 1, tail: bytes = b"") -> bytes:
    """A good grey TIFF of 64 x 48 pixels; ``tail`` is the directory that its EXIF tag points to."""
    entries = [(256, 3, 1, 64), (257, 3, 1, 48), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, strips, 0)]
    entries += [(277, 3, 1, 1), (278, 3, 1, 48), (279, 4, strips, 64 * 48), (34_665, 4, 1, 0)]
    n = len(entries) + len(tags) // 12
    pixels = 8 + 2 + 12 * n + 4
    lists = pixels + 64 * 48
    if strips > 1:
        entries[5], entries[8] = (273, 4, strips, lists), (279, 4, strips, lists + 4 * strips)
        tail = struct.pack("<L", pixels) * strips + struct.pack("<L", 64 * 48) * strips + tail
    else:
        entries[5] = (273, 4, 1, pixels)
    entries[9] = (34_665, 4, 1, lists + (8 * strips if strips > 1 else 0))
    rows = b"".join(struct.pack("<HHLL", *row) for row in entries) + tags
    return b"II*\0\x08\0\0\0" + struct.pack("<H", n) + rows + bytes(4) + bytes(64 * 48) + tail


def rationals_tiff(numbers: int) -> bytes:
    """A TIFF whose EXIF directory has ten tags that share their fractions."""
    return tiff_with(tail=directory(10, 5, numbers // 10, first=40_000) + bytes(8 * numbers))


def tags_tiff(tags: int, count: int) -> bytes:
    """A TIFF whose own directory has many tags that share ``count`` bytes of their file."""
    return tiff_with(directory(tags, 1, count)[2:-4], tail=bytes(max(0, count - 12 * tags)))


def profile_png(tags: int, count: int) -> bytes:
    """EXIF tags in a compressed text, as ImageMagick writes them."""
    text = b"\nexif\n 1\n" + exif_block(tags, 1, count).hex().encode()
    return png_with((b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)))


def texts_png(texts: int) -> bytes:
    """Texts that inflate to 900 kB and take four times that: one of their characters is not in the basic plane."""
    packed = zlib.compress("\U0001f600".encode() + b"a" * 900_000)
    return png_with(*((b"iTXt", b"k%d\0\1\0\0\0" % i + packed) for i in range(texts)))


def run_length_bmp(steps: int) -> bytes:
    """A BMP whose coding says ``steps`` times to move by nothing."""
    head = struct.pack("<LHHL", 0, 0, 0, 1078) + struct.pack("<LllHHLLllLL", 40, 64, 48, 1, 8, 1, 0, 0, 0, 256, 0)
    return b"BM" + head + bytes(1024) + b"\0\2\0\0" * steps + b"\x40\1\0\0" * 48


def ppm(kind: bytes, side: int, comment: int = 0) -> bytes:
    """A square PPM: "P3" as text, "P6" with a maximum that no decoder in C reads; a comment of many bytes."""
    maximum = b"255" if kind == b"P3" or comment else b"254"
    pixels = b"1 " * (3 * side * side) if kind == b"P3" else b"1" * (3 * side * side)
    return kind + b"\n#" + b"x" * comment + b"\n%d %d %s\n" % (side, side, maximum) + pixels


# (name, a file whose metadata or coding grows with a number, a number that is still accepted, one that is not)
GROWING: list[tuple[str, Callable[[int], bytes], int, int]] = [
    ("tags.jpg", lambda n: exif_jpeg(n, 12 * n), 60, 60_000),
    ("nested.jpg", lambda n: exif_jpeg(n, 12 * n, front=b"Exif\0\0" * 3), 60, 60_000),
    ("pieces.jpg", lambda n: jpeg_with(*[(0xE1, b"Exif\0\0" + b"II*\0" * 4)] * n), 64, 100_000),
    ("segments.jpg", lambda n: jpeg_with(*[(0xE5, b"x")] * n), 1_900, 1_000_000),
    ("pictures.jpg", lambda n: jpeg_with((0xE2, b"MPF\0" + exif_block(n, 5, n))), 90, 3_000),
    ("resources.jpg", lambda n: jpeg_with(*[(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4" + bytes(6))] * n), 900, 100_000),
    ("frames.jpg", lambda n: jpeg_with(*[(0xC0, b"\x08\0\x30\0\x40\3" + bytes(60_000))] * n), 0, 500),
    ("junk.jpg", lambda n: jpeg_with((0xFE, b"x"), between=bytes(n)), 65_000, 20_000_000),
    ("comment.gif", lambda n: gif_with(b"x", n), 1_900, 2_000_000),
    ("long-comment.gif", lambda n: gif_with(b"x" * 255, n), 1_900, 16_000),
    ("chunks.png", lambda n: png_with(*[(b"teSt", b"")] * n), 1_900, 500_000),
    ("tags.png", lambda n: png_with((b"eXIf", exif_block(n, 1, 12 * n))), 60, 60_000),
    ("profile.png", lambda n: profile_png(n, 12 * n), 60, 40_000),
    ("texts.png", texts_png, 19, 60),
    ("tags.webp", lambda n: encoded(picture(), "WEBP", lossless=True, exif=exif_block(n, 1, 12 * n)), 60, 60_000),
    ("tags.tif", lambda n: tags_tiff(n, 12 * n), 60, 60_000),
    ("strips.tif", lambda n: tiff_with(strips=n), 49_000, 1_000_000),
    ("fractions.tif", rationals_tiff, 9_900, 200_000),
    ("run-length.bmp", run_length_bmp, 64_000, 2_000_000),
    ("text.ppm", lambda n: ppm(b"P3", n), 200, 1_900),
    ("maximum.ppm", lambda n: ppm(b"P6", n), 290, 1_900),
    ("comment.ppm", lambda n: ppm(b"P6", 48, n), 4_000, 20_000_000),
]


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
    ("tall-scans.jpg", lambda: scan_bomb_jpeg(100, (300, 9_000)), "its width is no measure of its area"),
    ("zero.png", lambda: flat_png(0, 5), "no pixels"),
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

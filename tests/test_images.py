"""Promise 14: a hostile image gives a typed error with the sample's id or a correct RGB image, at bounded cost."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fakes import hostile_images as hostile
from fakes.speed import takes_at_most
from mirg.errors import ImageError
from mirg.images import SUFFIXES, ImageLimits, image_digest, image_header, image_size, open_image, to_rgb

SECONDS = 0.2
BYTES = 200 * 2**20


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def is_quick(path: Path, look: Callable[[Path], object] = open_image) -> bool:
    """Whether a look at the file takes at most 0.2 s, refused or not.

    Pillow writes a line for every chunk if another test left logging at DEBUG, and that is not the cost of reading.
    """

    def work() -> None:
        with contextlib.suppress(ImageError):
            look(path)

    logging.disable(logging.DEBUG)
    try:
        return takes_at_most(SECONDS, work)
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize(("name", "make", "why"), hostile.REFUSED, ids=[row[0] for row in hostile.REFUSED])
def test_refused(tmp_path: Path, name: str, make, why: str) -> None:
    path = write(tmp_path, name, make())
    with pytest.raises(ImageError) as caught:
        open_image(path, sample_id="s-17")
    assert "s-17" in str(caught.value), why
    assert name in str(caught.value)
    if name in {"page.jpg", "drawing.png", "noise.jpg", "script.eps"}:
        assert "not an image in a known format" in str(caught.value)
    assert is_quick(path), why


@pytest.mark.parametrize(("name", "make", "why"), hostile.ACCEPTED, ids=[row[0] for row in hostile.ACCEPTED])
def test_accepted(tmp_path: Path, name: str, make, why: str) -> None:
    path = write(tmp_path, name, make())
    image = open_image(path)
    assert image.mode == "RGB" and type(image) is Image.Image, why
    assert image.size == (64, 48) == image_size(path)
    assert image.info == {}, "metadata of the file must not travel on"
    # JPEG and CMYK lose a little, a wrong conversion loses a lot
    difference = np.abs(np.asarray(image, dtype=int) - np.asarray(hostile.picture(), dtype=int))
    assert np.median(difference) <= 12, why
    assert is_quick(path)


@pytest.mark.parametrize(("name", "make", "usual", "unusual"), hostile.GROWING, ids=[r[0] for r in hostile.GROWING])
def test_metadata_costs_little_at_any_size(tmp_path: Path, name: str, make, usual: int, unusual: int) -> None:
    """Up to a limit the picture is read, in the time and room of any other; beyond it both ways in refuse the file."""
    path = write(tmp_path, name, make(usual))
    assert open_image(path).size == image_size(path)
    assert is_quick(path) and is_quick(path, look=image_size)
    path = write(tmp_path, name, make(unusual))
    for look in (open_image, image_size):
        with pytest.raises(ImageError, match=rf"sample s-9: image .*{name} is refused: .* (has|have|allowed|longer)"):
            look(path, sample_id="s-9")
        assert is_quick(path, look=look)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("tenth", range(1, 10))
def test_cut_off(tmp_path: Path, form: str, tenth: int) -> None:
    """Cut at every 10 %: an error; where a decoder finds all pixels before the cut, the whole right picture."""
    whole = write(tmp_path, "whole", hostile.encoded(hostile.picture((200, 150)), form))
    data = whole.read_bytes()
    cut = write(tmp_path, f"cut.{form.lower()}", data[: len(data) * tenth // 10])
    try:
        image = open_image(cut, sample_id="s-3")
    except ImageError as error:
        assert "s-3" in str(error)
        return
    assert image.tobytes() == open_image(whole).tobytes()


def test_missing_and_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"sample s-1: image .*nowhere\.png does not exist"):
        open_image(tmp_path / "nowhere.png", sample_id="s-1")
    with pytest.raises(ImageError, match="is not a file"):
        open_image(tmp_path)
    with pytest.raises(ImageError):
        image_size("a\0b.png")
    with pytest.raises(ImageError):
        image_digest(tmp_path / "nowhere.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="is not a file"):
        open_image(tmp_path / "pipe.png")


def test_too_many_bytes_are_refused_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "sparse.png"
    with path.open("wb") as stream:
        stream.truncate(10 * 2**30)  # sparse: takes no room on the disk
    with pytest.raises(ImageError, match="bytes"):
        open_image(path)


def test_too_many_pixels_by_the_callers_limits(tmp_path: Path) -> None:
    path = write(tmp_path, "a.png", hostile.encoded(hostile.picture(), "PNG"))
    with pytest.raises(ImageError, match="64 x 48"):
        open_image(path, limits=ImageLimits(max_pixels=3000))
    with pytest.raises(ImageError, match="64 x 48"):
        image_size(path, limits=ImageLimits(max_side=60))
    tall = write(tmp_path, "tall.png", hostile.encoded(hostile.picture().rotate(90, expand=True), "PNG"))
    with pytest.raises(ImageError, match="48 x 64"):
        image_size(tall, limits=ImageLimits(max_side=60))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_other_formats_may_be_turned_too(tmp_path: Path, suffix: str, orientation: int) -> None:
    """Pillow sets a TIFF upright by itself, its size included; the header says what the decoded image is."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    Image.new("RGB", (64, 48)).save(path, exif=exif)
    assert open_image(path).size == image_size(path) == ((48, 64) if orientation >= 5 else (64, 48))
    assert image_header(path).orientation == orientation


@pytest.mark.parametrize("compressed", [False, True])
def test_a_png_may_hold_its_rotation_as_text(tmp_path: Path, compressed: bool) -> None:
    """ImageMagick writes EXIF data as text with hexadecimal digits, in a chunk that may be compressed."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = exif.tobytes()
    notes = PngInfo()
    notes.add_text("Raw profile type exif", f"\nexif\n{len(data):8}\n{data.hex()}\n", zip=compressed)
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png", pnginfo=notes)
    assert image_header(tmp_path / "a.png") == (48, 64, 6)
    assert open_image(tmp_path / "a.png").size == (48, 64)


def _no_decoding(*_: object) -> None:
    pytest.fail("pixels are decoded")


def test_the_size_of_a_png_costs_no_pixel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cut.png"
    Image.effect_noise((400, 300), 80).save(path)
    path.write_bytes(path.read_bytes()[:2000])  # the header is whole, the pixels are not
    with monkeypatch.context() as patch:
        patch.setattr("PIL.PngImagePlugin.PngImageFile.load_prepare", _no_decoding)
        assert image_size(path) == (400, 300)
    with pytest.raises(ImageError, match="damaged"):
        open_image(path)


def test_a_flat_picture_is_measured_by_its_area(tmp_path: Path) -> None:
    """2.4 million pixels are few, although the longer side squared would be 36 million."""
    write(tmp_path, "wide.png", hostile.flat_png(6_000, 400))
    assert image_size(tmp_path / "wide.png") == open_image(tmp_path / "wide.png").size == (6_000, 400)


# The last one is a header of TIFF whose directory is cut off.
@pytest.mark.parametrize("value", [0, 9, 65_535, b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12"])
def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path: Path, value: int | bytes) -> None:
    exif: Image.Exif | bytes = Image.Exif()
    if isinstance(value, bytes):
        exif = value
    else:
        exif[0x0112] = value  # type: ignore[index]
    picture = Image.new("RGB", (64, 48))
    picture.paste("red", (0, 0, 32, 48))
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert image_header(tmp_path / "a.jpg").orientation == 1
    assert open_image(tmp_path / "a.jpg").getpixel((8, 24))[0] > 200  # type: ignore[index]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path: Path, orientation: int) -> None:
    """The oracle is Pillow's own exif_transpose; sizes from the header agree."""
    from PIL import ImageOps

    path = write(tmp_path, "turned.jpg", hostile.rotated_jpeg(orientation))
    image = open_image(path)
    with Image.open(path) as raw:
        assert image.tobytes() == ImageOps.exif_transpose(raw).convert("RGB").tobytes()
    assert image.size == image_size(path) == ((48, 64) if orientation >= 5 else (64, 48))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC: convert it"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF: convert it"),
        (b"\0\0\0\x1cftypisom\0\0\0\0", "a film"),
        (b"\n<!DOCTYPE html><title>404</title>", "a web page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\xff\x0a" + bytes(30), "JPEG XL"),
        (b"just text", "is not an image in a known format"),
    ],
)
def test_what_is_no_image_is_told_what_it_is(tmp_path: Path, data: bytes, words: str) -> None:
    """All of them are found under the name of a photograph."""
    path = write(tmp_path, "a.jpg", data)
    for look in (open_image, image_size):
        with pytest.raises(ImageError, match="is not an image in a known format") as caught:
            look(path)
        assert words in caught.value.message


@pytest.mark.parametrize("name", ["a.jfif", "b.JPE", "c.mpo"])
def test_jpeg_has_many_names(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, hostile.encoded(hostile.picture(), "JPEG"))
    assert path.suffix.lower() in SUFFIXES and open_image(path).size == image_size(path) == (64, 48)


def test_16_bit_is_scaled_not_clipped(tmp_path: Path) -> None:
    image = open_image(write(tmp_path, "deep.png", hostile.grey_16_bit_png()))
    values = np.asarray(image)[..., 0].reshape(-1).astype(int)
    expected = np.round(np.linspace(0, 65535, values.size) / 257)
    assert image.mode == "RGB"
    assert np.abs(values - expected).max() <= 1
    assert values[0] == 0 and values[-1] == 255


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("1", 1, 255),  # bilevel
        ("L", 77, 77),
        ("I", 77, 77),  # 32-bit integers that hold 8-bit values
        ("I", 1, 1),  # ... of which the largest is 1: they are no floats from 0 to 1
        ("I", 65535, 255),  # ... or 16-bit ones
        ("F", 1.0, 255),  # floats from 0 to 1
        ("F", 77.0, 77),
        ("F", float("nan"), 0),
    ],
)
def test_grey_modes(mode: str, value: float, expected: int) -> None:
    pixel = to_rgb(Image.new(mode, (2, 2), value)).getpixel((0, 0))
    assert pixel == (expected, expected, expected)


def test_integers_beyond_16_bits_are_scaled_by_their_largest() -> None:
    wide = Image.new("I", (3, 1))
    for column, value in enumerate((0, 250_000, 1_000_000)):
        wide.putpixel((column, 0), value)
    assert list(np.asarray(to_rgb(wide))[0, :, 0]) == [0, 64, 255]


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    image = open_image(write(tmp_path, "palette.png", hostile.transparent_palette_png()))
    assert image.getpixel((5, 5)) == (255, 255, 255)
    assert image.getpixel((30, 5)) == (0, 0, 255)
    assert to_rgb(Image.new("RGBA", (4, 4), (0, 0, 0, 128))).getpixel((0, 0)) == (127, 127, 127)
    assert to_rgb(Image.new("LA", (4, 4), (0, 0))).getpixel((0, 0)) == (255, 255, 255)


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    image = open_image(write(tmp_path, "moving.gif", hostile.animated_gif()))
    assert image.size == (40, 30)
    assert image.getpixel((10, 10)) == (255, 0, 0)


def test_digest_is_of_the_bytes(tmp_path: Path) -> None:
    first = write(tmp_path, "a.png", hostile.encoded(hostile.picture(), "PNG"))
    second = write(tmp_path, "b.jpg", first.read_bytes())
    assert image_digest(first) == image_digest(second)
    assert len(image_digest(first)) == 64


# Not ru_maxrss: a process that was started from a larger one begins with its maximum.
MEMORY_SCRIPT = """
import sys
from pathlib import Path
from PIL import Image
Image.preinit(); Image.init()
import numpy
from mirg.errors import ImageError
from mirg.images import image_header, open_image
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
before = peak()
for path in sorted(Path(sys.argv[1]).iterdir()):
    for look in (image_header, open_image):
        try:
            look(path)
        except ImageError:
            continue
sys.stdout.write(str((peak() - before) * 1024))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_of_all_of_them(tmp_path: Path) -> None:
    """One process opens every hostile file, and the dearest picture that still needs no proof of its size."""
    for name, make, _ in [*hostile.REFUSED, *hostile.ACCEPTED]:
        write(tmp_path, name, make())
    for name, make, usual, unusual in hostile.GROWING:
        write(tmp_path, f"usual-{name}", make(usual))
        write(tmp_path, f"unusual-{name}", make(unusual))
    write(tmp_path, "costly.png", hostile.flat_png(2_000, 2_000, colour_type=6))
    write(tmp_path, "deep.png", hostile.flat_png(2_000, 2_000, bits=16, colour_type=0))
    write(tmp_path, "deeper.png", hostile.flat_png(2_000, 2_000, bits=16, colour_type=2))
    for name in ("costly.png", "deep.png", "deeper.png"):
        assert is_quick(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) <= BYTES


def test_a_real_photograph_of_24_megapixels_is_accepted(tmp_path: Path) -> None:
    """Cameras make these; the guard against bombs must not stop them."""
    noise = np.random.default_rng(0).integers(0, 255, (400, 600, 3), dtype=np.uint8)
    photo = Image.fromarray(noise).resize((6000, 4000), Image.Resampling.BILINEAR)
    path = write(tmp_path, "photo.jpg", hostile.encoded(photo, "JPEG", quality=85))
    assert open_image(path).size == (6000, 4000)

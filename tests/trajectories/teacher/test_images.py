"""Sent images: within the endpoint's limits, with boxes that still mark the same objects."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fakes import teacher
from mirg.errors import ImageError
from mirg.families import family
from mirg.frames import from_frame, to_frame
from mirg.samples import DatasetWriter, Sample, Target
from mirg.samples.folder import DatasetFolder
from mirg.trajectories.teacher.recipe import ImageSettings
from mirg.trajectories.teacher.render import first_prompt
from mirg.trajectories.teacher.replies import read_reply
from mirg.trajectories.teacher.requests import ImageCache, as_sent, encode, sent_size

SMALL = ImageSettings(max_side=512, max_pixels=100_000)


def decoded(uri: str) -> Image.Image:
    head, _, data = uri.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert head == f"data:image/{str(image.format).lower()}"
    return image


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(28, 3000), st.integers(784, 5_000_000))
def test_sent_sizes_keep_the_limits_and_never_grow(width: int, height: int, side: int, pixels: int) -> None:
    settings = ImageSettings(max_side=side, max_pixels=pixels)
    sent = sent_size((width, height), settings)
    assert 1 <= sent[0] <= width and 1 <= sent[1] <= height
    assert max(sent) <= side and (sent[0] * sent[1] <= pixels or 1 in sent)
    if max(width, height) <= side and width * height <= pixels:
        assert sent == (width, height)


@pytest.mark.parametrize("size", [(64, 48), (512, 100), (2000, 1000), (1000, 3000)])
def test_what_is_sent_has_the_size_that_was_told(size: tuple[int, int]) -> None:
    uri = encode(Image.new("RGB", size, (200, 30, 30)), SMALL)
    assert decoded(uri).size == sent_size(size, SMALL)


def test_bytes_are_kept_by_quality_or_refused() -> None:
    noise = Image.frombytes("RGB", (300, 300), os.urandom(270_000))
    settings = ImageSettings(max_bytes=60_000)
    assert len(base64.b64decode(encode(noise, settings).partition(",")[2])) <= 60_000
    with pytest.raises(ImageError, match="sample s: image x takes .* images.max_bytes is 1,000") as caught:
        encode(noise, ImageSettings(max_bytes=1000), "sample s: image x")
    assert "max_side" in caught.value.hint


def test_metadata_stays_at_home_and_pictures_stand_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x8825] = 6, {1: "N", 2: (52.0, 0.0, 0.0)}
    Image.new("RGB", (60, 40), (9, 9, 9)).save(tmp_path / "photo.jpg", exif=exif)
    with DatasetWriter(tmp_path / "d", name="x") as writer:
        ref = writer.add_file(tmp_path / "photo.jpg", "photo")
        sample = Sample(id="s", task="t", images=(ref,), question="?")
        writer.add(sample)
    sent = decoded(ImageCache(DatasetFolder.open(tmp_path / "d"), ImageSettings()).uris(sample)[0])
    assert sent.size == (40, 60) and not sent.getexif()


@pytest.mark.parametrize("name", ["qwen3-vl", "qwen2.5-vl", "internvl"])
def test_boxes_are_in_the_frame_of_what_is_sent(tmp_path: Path, name: str) -> None:
    """A family that counts pixels of its resized input sees a smaller input: prompt and reply must agree with that."""
    chosen, box = family(name), teacher.BOX
    src = teacher.dataset(tmp_path / "d", 1, size=(3000, 2000))
    (sample,) = src.read()
    settings = ImageSettings(max_side=600)
    shown = as_sent(sample, settings)
    assert shown.sizes == [(600, 400), (600, 400)] and shown.targets == sample.targets
    numbers = to_frame(box, (600, 400), chosen)
    assert f"({numbers[0]},{numbers[1]}),({numbers[2]},{numbers[3]})" in first_prompt(shown, chosen).messages[1].text
    recipe = teacher.recipe("http://x/v1", family=name, images=settings)
    read = read_reply(teacher.good(sample, recipe), shown, chosen)
    assert not isinstance(read, str)
    off = max(abs(a - b) for a, b in zip(read.answer[0].box, box, strict=True))
    assert off <= 1 / 400
    if name == "qwen2.5-vl":
        original = from_frame(numbers, sample.images[1].size, chosen)
        assert abs(original[2] - box[2]) > 0.1, "in the frame of the original the same numbers are another box"


def test_the_total_of_a_request_is_limited(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "d", name="x") as writer:
        refs = [writer.add_image(Image.frombytes("RGB", (90, 90), os.urandom(24_300)), f"i{k}") for k in range(3)]
        sample = Sample(id="s", task="t", images=tuple(refs), question="?", targets=(Target(image=1, box=teacher.BOX),))
        writer.add(sample)
    src = DatasetFolder.open(tmp_path / "d")
    assert len(ImageCache(src, ImageSettings(max_total_bytes=80_000)).uris(sample)) == 3
    with pytest.raises(ImageError, match="its 3 images take .*max_total_bytes is 40,000"):
        ImageCache(src, ImageSettings(max_total_bytes=40_000)).uris(sample)


def test_the_desk_forgets_the_oldest(tmp_path: Path) -> None:
    src = teacher.dataset(tmp_path / "d", 2)
    samples = list(src.read())
    desk = ImageCache(src, ImageSettings(), keep=1)
    assert desk.uris(samples[0]) == ImageCache(src, ImageSettings()).uris(samples[0])
    assert desk.ready(samples[0]) is None, "only one image is kept"
    roomy = ImageCache(src, ImageSettings())
    assert roomy.ready(samples[0]) is None and roomy.uris(samples[0]) == roomy.ready(samples[0])

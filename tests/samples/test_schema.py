"""What is a sample, and what is refused with which reason."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from mirg.samples import Sample

GOOD: dict[str, Any] = {
    "id": "s-1",
    "task": "refer",
    "question": "Where is the object of Image-1 in the other images?",
    "images": [
        {"path": "images/a.png", "width": 64, "height": 48, "role": "reference"},
        {"path": "images/b.png", "width": 48, "height": 64, "objects": [{"label": "ring", "box": [0, 0, 0.5, 1]}]},
    ],
    "targets": [{"image": 2, "box": [0.1, 0.2, 0.3, 0.4], "label": "ring"}],
}


def changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(GOOD), **changes}


def target(**changes: Any) -> list[dict[str, Any]]:
    return [{**GOOD["targets"][0], **changes}]


def test_a_good_row_round_trips() -> None:
    sample = Sample.model_validate(GOOD)
    assert Sample.model_validate_json(sample.model_dump_json()) == sample
    assert Sample.model_validate_json(sample.model_dump_json(exclude_defaults=True)) == sample
    assert sample.sizes == [(64, 48), (48, 64)]
    assert sample.target_images == {2}


@pytest.mark.parametrize(
    ("row", "field", "why"),
    [
        (changed(targets=target(box=[0.3, 0.2, 0.1, 0.4])), "targets.0.box", "inverted"),
        (changed(targets=target(box=[0.1, 0.2, 0.1, 0.4])), "targets.0.box", "empty"),
        (changed(targets=target(box=[0.1, 0.2, 1.2, 0.4])), "targets.0.box", "outside"),
        (changed(targets=target(box=[10, 20, 30, 40])), "targets.0.box", "pixels instead of fractions"),
        (changed(targets=target(box=[0.1, 0.2, float("nan"), 0.4])), "targets.0.box", "not a number"),
        (changed(targets=target(box=[0.1, 0.2, 0.3])), "targets.0.box", "three numbers"),
        (changed(targets=target(image=0)), "targets.0.image", "numbers count from 1"),
        (changed(targets=target(image=3)), "", "an image that does not exist"),
        (changed(images=[]), "images", "no image"),
        (changed(id=""), "id", "no id"),
        (changed(question=""), "question", "no question"),
        (changed(colour="red"), "colour", "unknown field"),
        (changed(images=[{"path": "a.png", "width": 0, "height": 1}]), "images.0", "width and height come together"),
        (changed(images=[{"path": "a.png", "width": -1, "height": 1}]), "images.0.width", "no pixels"),
        (changed(trajectory={"thinking": "", "answer": target(image=9), "writer": "r"}), "", "answer in no image"),
        ([], "", "not an object"),
    ],
)
def test_refused(row: object, field: str, why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate(row)
    assert ".".join(str(p) for p in caught.value.errors()[0]["loc"]).startswith(field), why


def test_image_set_ignores_order_and_prefers_content() -> None:
    one = Sample.model_validate(GOOD)
    turned = Sample.model_validate(changed(images=GOOD["images"][::-1], targets=[]))
    assert one.image_set == turned.image_set
    named = [{**image, "sha256": f"{i}" * 64} for i, image in enumerate(GOOD["images"])]
    moved = [{**image, "path": f"elsewhere/{i}.png"} for i, image in enumerate(named)]
    same = Sample.model_validate(changed(images=named)).image_set
    assert same == Sample.model_validate(changed(images=moved)).image_set != one.image_set


@pytest.mark.parametrize(
    ("meta", "named", "why"),
    [
        ({"image_set": "kitchen"}, True, "a dataset that knows better than the files"),
        ({"image_set": ""}, False, "no name"),
        ({"image_set": 7}, False, "not a name"),
        ({"photos": ["a", "b"]}, False, "somebody's own field"),
    ],
)
def test_a_dataset_may_name_the_image_set(meta: dict[str, Any], named: bool, why: str) -> None:
    one = Sample.model_validate(changed(meta=meta))
    other = Sample.model_validate(changed(meta=meta, images=[{**i, "path": f"b/{i['path']}"} for i in GOOD["images"]]))
    assert (one.image_set == other.image_set) is named, why
    assert (one.image_set == Sample.model_validate(GOOD).image_set) is not named, why


def test_samples_are_values() -> None:
    sample = Sample.model_validate(GOOD)
    with pytest.raises(ValidationError):
        sample.id = "other"  # type: ignore[misc]

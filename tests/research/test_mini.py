"""mirg-mini is the same everywhere, and image choice matters in it."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from mirg.data.scenes.generate import keys, make_draft
from mirg.data.scenes.tasks import TASKS
from research.mini import _SEED, FAMILIES, LEVELS, PER_CELL, write_mini

# Of every question, target and box of version 4. A change of one is another benchmark: raise MINI_VERSION.
DIGEST = "4b8a19f06941e3a7"


def test_items_of_this_version_stay() -> None:
    said = hashlib.sha256()
    for number, config in enumerate(LEVELS.values()):
        for key in keys(list(FAMILIES), PER_CELL * len(FAMILIES), split="test", seed=_SEED + number):
            draft = make_draft(key, config)
            boxes = [[thing.box for thing in picture.scene.objects] for picture in draft.pictures]
            said.update(repr((key.sample_id, draft.question, draft.targets, boxes)).encode())
    assert said.hexdigest()[:16] == DIGEST


def test_folder(tmp_path: Path) -> None:
    samples = list(write_mini(tmp_path / "mini", 5))
    cells = Counter((sample.task, sample.meta["level"]) for sample in samples)
    assert cells == {(family, level): 5 for family in FAMILIES for level in LEVELS}
    assert sum(sample.image_hidden for sample in samples) >= 0.5 * len(samples)
    assert {2, 3, 4, 5, 6} >= {len(sample.images) for sample in samples}
    assert FAMILIES.keys() <= TASKS.keys() and len(samples[0].images[0].sha256 or "") == 64


@pytest.mark.parametrize("level", LEVELS)
def test_a_part_is_the_beginning_of_the_whole(level: str, tmp_path: Path) -> None:
    few = {s.id for s in write_mini(tmp_path / "few", 1) if s.meta["level"] == level}
    more = [s.id for s in write_mini(tmp_path / "more", 2) if s.meta["level"] == level]
    assert set(more[: len(FAMILIES)]) == few

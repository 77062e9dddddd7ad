"""Small report data: every field filled, two models, images on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fakes import every_page
from mirg.report.data import GalleryItem, Picture, ReportData

MakeItem = Callable[..., GalleryItem]


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Picture, ...]:
    return every_page.pictures(tmp_path)[:2]


@pytest.fixture
def make_item(pictures: tuple[Picture, ...]) -> MakeItem:
    (item,) = every_page.gallery(pictures, 1)
    return lambda **changes: item._replace(**changes)


@pytest.fixture
def full_report(tmp_path: Path) -> Callable[[Callable[[str], str]], ReportData]:
    """``full_report(change)``: a report with every section, ``change`` applied to every text in it."""
    report = every_page.report(tmp_path, count=4)
    return lambda change: every_page.changed(report, change)

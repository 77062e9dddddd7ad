"""`mirg data import` on the command line: kinds that need an option, and photographs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fakes.importing import pictures, write_rows
from fakes.photographs import folder_of_photographs
from mirg.cli.data.imports import PHOTOS
from mirg.data.compose.photos.build import write_photo_samples
from mirg.data.compose.photos.pool import PhotoConfig
from mirg.data.importers.formats import SOURCES
from mirg.samples import DatasetFolder


def test_columns_and_frame(mirg: Any, tmp_path: Path) -> None:
    root = pictures(tmp_path, ["a.png", "b.png"])
    said = [
        {"role": "user", "content": "<image><image>Find it."},
        {"role": "assistant", "content": "Image-2: (1,2),(30,40)"},
    ]
    file = write_rows(root / "rows.json", [{"dialog": said, "pictures": ["a.png", "b.png"]}])
    columns = "messages=dialog,images=pictures"
    command = ["data", "import", "sharegpt", str(file), str(tmp_path / "out"), "--columns", columns]
    unclear = mirg(*command)
    assert unclear.exit_code == 2 and "--frame" in unclear.output
    assert "1 rows: 1 used" in mirg(*command, "--frame", "pixels").output
    write_rows(file, [{"dialog": said, "pictures": ["a.png", name]} for name in ("b.png", *["c.png"] * 25)])
    many = mirg(*command, "--frame", "pixels", "--overwrite").output
    assert many.count("c.png") == 20 and "… and 5 more in" in many and "26 rows: 1 used, 25 refused" in many


def test_photographs_are_handed_over(mirg: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the builder's own settings; fewer samples are made here, for the time."""

    def few(folder: Path, out: Path, config: PhotoConfig, **more: Any) -> Any:
        assert config == PhotoConfig()
        return write_photo_samples(folder, out, config.model_copy(update={"n": 4}), **more)

    monkeypatch.setattr("mirg.data.compose.photos.build.write_photo_samples", few)
    folder = folder_of_photographs(tmp_path / "photos", 6)
    out = tmp_path / "out"
    result = json.loads(mirg("data", "import", PHOTOS, str(folder), str(out), "--json").stdout)
    assert result["samples"] == len(list(DatasetFolder.open(out))) > 0
    limited = mirg("data", "import", PHOTOS, str(folder), str(out), "--limit", "3")
    assert limited.exit_code == 2 and "means nothing" in limited.output


def test_every_kind_has_its_section(mirg: Any, repository: Path) -> None:
    text = (repository / "docs" / "how-to" / "import.md").read_text(encoding="utf-8")
    headings = " ".join(re.findall(r"^## (.*)$", text, re.MULTILINE))
    listed = mirg("data", "kinds").output
    for kind in (*SOURCES, PHOTOS):
        assert re.search(rf"\b{kind}\b", headings), kind
        assert re.search(rf"^{kind} ", listed, re.MULTILINE), kind

"""``mirg data check`` warns of two spellings of one label."""

from __future__ import annotations

from pathlib import Path

from fakes.datasets import edit_rows, row, write_rows
from mirg.data.checks.run import CheckConfig, check_dataset
from mirg.samples import DatasetFolder


def labelled(path: Path) -> DatasetFolder:
    """Three rows with notes (dog, dog, Dog), and one of which only the target has a label (DOG_)."""
    folder = write_rows(path, [row(f"r{k}", [k]) for k in range(1, 5)])

    def notes(rows: list[dict]) -> None:
        for values, label in zip(rows, ("dog", "dog", "Dog", None), strict=True):
            if label:
                values["images"][0]["objects"] = [{"label": label, "box": [0.1, 0.1, 0.5, 0.5]}]
                values["targets"] = []
            else:
                values["targets"] = [{"image": 1, "box": [0.1, 0.1, 0.5, 0.5], "label": "DOG_"}]

    return edit_rows(folder, notes)


def test_two_spellings_are_a_warning(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "d")
    report = check_dataset(folder, CheckConfig(look="none"))
    (found,) = [finding for finding in report.warnings.kept if finding.kind == "label_spelling"]
    assert found.reason == "labels 'dog' (2), 'DOG_' (1), 'Dog' (1) seem to be one label"
    assert found.row == 3 and "--labels" in found.hint and report.accepted == 4

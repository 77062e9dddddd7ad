"""``mirg report`` writes a page to the requested path and prints this path."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from mirg.cli.main import app


def test_report_prints_the_path_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.4}\n')
    result = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "report.html")
    assert "Loss" in (tmp_path / "report.html").read_text(encoding="utf-8")
    other = tmp_path / "other.html"
    assert CliRunner().invoke(app, ["report", str(tmp_path), "--out", str(other)]).exit_code == 0 and other.is_file()

"""The commands: build with a teacher, status, merge, and the page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fakes import teacher
from fakes.faulty_api import FaultyApi
from mirg.cli.main import app
from mirg.config import dump_recipe
from mirg.samples import DatasetFolder


@pytest.fixture
def told(cases: DatasetFolder, api: FaultyApi, tmp_path: Path) -> list[str]:
    """The beginning of every build."""
    recipe = teacher.recipe(api.url, price={"input": 1.0, "output": 2.0})
    api.settings = teacher.settings(cases, recipe)
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    return ["trajectories", "build", str(cases.root), str(tmp_path / "out"), "--writer", "teacher",
            "--recipe", str(tmp_path / "recipe.yaml")]  # fmt: skip


def call(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == code, done.output + repr(done.exception)
    return done.output


def test_build_status_and_page(told: list[str], api: FaultyApi, tmp_path: Path) -> None:
    said = call(*told)
    assert "30 samples to ask about: 30 to 60 requests" in said and "27 verified trajectories" in said
    assert "3 rejected (final_image_set 3)" in said
    assert "OUT exists" not in said and "exists already" in call(*told, code=2), "before anything is asked"
    assert api.counts.requests == 36
    again = json.loads(call(*told, "--overwrite", "--json"))
    assert again["kept"] == 27 and api.counts.requests == 36
    said = call("trajectories", "status", str(tmp_path / "out"))
    assert "accepted 27, rejected 3, open 0" in said and "30 of 30 finished" in said
    status = json.loads(call("trajectories", "status", str(tmp_path / "out.ledger.db"), "--json"))
    assert (status["accepted"], status["attempts"], status["repairs"]) == (27, 36, 6)
    call("trajectories", "status", str(tmp_path / "out"), "--page", str(tmp_path / "page.html"))
    for page in (tmp_path / "page.html", tmp_path / "out" / "teacher.html"):
        html = page.read_text()
        assert "27 samples kept, 3 refused" in html and html.count("<article") == 15
        assert html.count('data-result="kept"') == 12 and html.count('data-result="final_image_set"') == 3
        assert "the answer names Image-1, the truth is Image-2" in html
        assert "Content-Security-Policy" in html and not re.search(r'(?:src|href)="https?:', html)


def test_a_dry_run_asks_and_writes_nothing(told: list[str], api: FaultyApi, tmp_path: Path) -> None:
    said = call(*told, "--dry-run", "-s", "budget.requests=10", "-s", "limits.requests_per_minute=3")
    assert "model: teacher-1" in said and "30 to 60 requests" in said and "in money" in said
    assert "the budget will not be enough: requests 10 of about 30" in said and "at least 10 minutes" in said
    assert api.counts.requests == 0 and sorted(p.name for p in tmp_path.iterdir()) == ["recipe.yaml"]
    found = json.loads(call(*told, "--dry-run", "--json"))
    assert found["estimate"]["requests_most"] == 60 and found["estimate"]["input_tokens"] > 30 * 100


def test_shards_merge_and_are_written_offline(told: list[str], api: FaultyApi, tmp_path: Path) -> None:
    for k in ("1", "2"):
        call(*told[:3], str(tmp_path / f"part-{k}"), *told[4:], "--shard", f"{k}/2")
    asked = api.counts.requests
    merged = str(tmp_path / "all.db")
    said = call("trajectories", "merge", merged, str(tmp_path / "part-1"), str(tmp_path / "part-2.ledger.db"))
    assert "2 ledgers merged" in said and "accepted 27" in said
    found = json.loads(call(*told, "--ledger", merged, "--offline", "--json"))
    assert found["kept"] == 27 and found["rows"] == 30 and api.counts.requests == asked


@pytest.mark.parametrize(
    ("why", "arguments", "words"),
    [
        ("no recipe", ["--recipe", ""], "recipe"),
        ("an unknown key", ["-s", "drawz=2"], "did you mean draws"),
        ("a shard out of range", ["--shard", "5/4"], "5/4 does not exist"),
        ("no ledger to write from", ["--offline"], "there is no ledger"),
        ("twice divided", ["--shard", "1/2", "--executor", "processes"], "divide the same work"),
        ("no key", ["-s", "key_env=NO_SUCH_KEY"], "NO_SUCH_KEY is not set"),
        ("an unknown language", ["-s", "language=tlh"], "unknown language"),
    ],
)
def test_mistakes_are_said_before_anything_is_asked(
    told: list[str], api: FaultyApi, tmp_path: Path, why: str, arguments: list[str], words: str
) -> None:
    assert words in call(*told, *arguments, code=2), why
    assert api.counts.requests == 0 and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_benchmark_says_what_it_measured(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [sys.executable, "benchmarks/teacher_throughput.py", "--quick", "--json", str(out)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert result["n"] == 384 and result["ratio"] == pytest.approx(result["ours"] / result["theirs"])
    assert result["measured"]["pipeline"]["most_in_flight"] <= 64


def test_texts_of_a_teacher_stay_texts(cases: DatasetFolder, api: FaultyApi, told: list[str], tmp_path: Path) -> None:
    """Promise 27 for this page: the text of a teacher never becomes markup."""
    api.settings.replies["0"] = '<think><script>alert(1)</script><img src=x onerror="a()"></think><answer>none</answer>'
    api.settings.repaired["0"] = "</pre><svg onload=a()>\x1b[31m\u202e javascript:a()"
    call(*told)
    html = (tmp_path / "out" / "teacher.html").read_text()
    assert html.count("<script>") == 1 and not re.search(r"<(?:img|svg)[^>]*\son\w+=", html)
    assert "\x1b" not in html and "\u202e" not in html

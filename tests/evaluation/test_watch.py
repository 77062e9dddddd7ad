"""``mirg report RUN --watch``: the page follows the run, reloads itself until the end, and costs little."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mirg.errors import DataError
from mirg.evaluation import watch as module
from mirg.evaluation.watch import watch
from mirg.storage import SEAL_FILE

Act = Callable[[], object]


def add(run: Path, step: int, *, whole: bool = True) -> None:
    line = json.dumps({"step": step, "time": step, "loss": 1 / step, "eval/joint_accuracy": 0.5})
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write(f"{line}\n" if whole else line[:9])


def finish(run: Path) -> None:
    (run / "model").mkdir()
    (run / "model" / SEAL_FILE).write_text("{}")


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """``play(*actions)``: each wait of the command does one of them; returns the lengths of the waits."""

    def arrange(*actions: Act) -> list[float]:
        left, waits = list(actions), []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            left.pop(0)()

        monkeypatch.setattr(time, "sleep", sleep)
        return waits

    return arrange


def test_the_page_follows_a_run_until_it_is_finished(
    tmp_path: Path, play: Callable[..., list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARE", 0)  # however busy this machine is
    page, seen = tmp_path / "report.html", []

    def look() -> None:
        text = page.read_text() if page.exists() else ""
        seen.append(('data-reload="5"' in text, "steps 2" in text, "steps 3" in text))

    def then(act: Act) -> Act:
        return lambda: (look(), act())

    waits = play(
        then(lambda: add(tmp_path, 1, whole=False)),  # nothing was there
        then(lambda: (tmp_path / "metrics.jsonl").unlink()),
        then(lambda: (add(tmp_path, 1), add(tmp_path, 2))),
        then(lambda: None),
        then(lambda: add(tmp_path, 3)),
        then(lambda: finish(tmp_path)),
    )
    assert watch(tmp_path) == page
    assert seen[0] == (False, False, False) and seen[3] == seen[4] == (True, True, False) and seen[5][2]
    assert len(waits) == 6 and "data-reload" not in page.read_text(), "the last page stays"
    assert "Validation" in page.read_text()


def test_ctrl_c_leaves_a_page_that_does_not_reload(tmp_path: Path, play: Callable[..., list[float]]) -> None:
    add(tmp_path, 1)

    def interrupt() -> None:
        raise KeyboardInterrupt

    play(interrupt)
    assert "data-reload" not in watch(tmp_path, out=tmp_path / "other.html").read_text()


def test_a_page_is_written_if_something_changed_and_not_more_often_than_it_takes(
    tmp_path: Path, play: Callable[..., list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tmp_path, 1)
    clock, written, write = [0.0], [], module.report_from_run
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def slowly(run: Path, reload: int = 0, **keys: object) -> Path:
        clock[0] += 3.0
        written.append(reload)
        return write(run, reload=reload)

    monkeypatch.setattr(module, "report_from_run", slowly)
    waits = play(lambda: None, lambda: add(tmp_path, 2), lambda: finish(tmp_path))
    watch(tmp_path)
    assert waits == [30.0, 30.0, 30.0], "ten times as long as a page takes"
    assert written == [5, 30, 0], "the browser asks as often as there may be a new page"


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        watch(tmp_path / "none")

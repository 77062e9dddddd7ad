"""Work in several processes and machines: ledgers that merge, in whatever order, into what one would have written."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from fakes import teacher
from fakes.faulty_api import FaultyApi
from mirg.errors import ConfigError, EndpointError, StorageError
from mirg.executors import executor
from mirg.samples import DatasetFolder
from mirg.trajectories.teacher.ledger import Answer, Ledger, Outcome, _resolve, answered, decided, planned, started
from mirg.trajectories.teacher.output import write_output
from mirg.trajectories.teacher.recipe import Budget, TeacherRecipe
from mirg.trajectories.teacher.run import Shard, ask_teacher
from mirg.trajectories.teacher.shards import Job, ask_in_shards, ask_shard, merge
from mirg.trajectories.teacher.status import status_of


def written(src: DatasetFolder, recipe: TeacherRecipe, path: Path, out: Path) -> list[dict]:
    with Ledger(path) as ledger:
        write_output(src, out, recipe, ledger)
    return [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "a/b", "1/2/3", "-1/2", "1/0", "½/2"])
def test_shards_that_do_not_exist(text: str) -> None:
    with pytest.raises(ConfigError):
        Shard.parse(text)


def test_every_row_belongs_to_one_shard() -> None:
    for count in range(1, 8):
        shards = [Shard(k, count) for k in range(1, count + 1)]
        assert all(sum(shard.holds(row) for shard in shards) == 1 for row in range(50))
        assert [shard.size(50) for shard in shards] == [sum(map(shard.holds, range(50))) for shard in shards]


def test_merged_shards_are_what_one_run_gives(cases: DatasetFolder, api: FaultyApi, tmp_path: Path) -> None:
    recipe = teacher.recipe(api.url)
    api.settings = teacher.settings(cases, recipe)
    with Ledger(tmp_path / "one.db") as ledger:
        ask_teacher(cases, recipe, ledger)
    for k in (1, 2, 3):
        with Ledger(tmp_path / f"{k}.db") as ledger:
            ask_teacher(cases, recipe, ledger, shard=Shard(k, 3))
        assert status_of(tmp_path / f"{k}.db").total == 10 == status_of(tmp_path / f"{k}.db").done
    asked = api.counts.requests
    expected = written(cases, recipe, tmp_path / "one.db", tmp_path / "one")
    for number, order in enumerate(((1, 2, 3), (3, 1, 2))):
        into = tmp_path / f"merged-{number}.db"
        for _ in range(2):  # a second merging changes nothing
            merge(into, [tmp_path / f"{k}.db" for k in order])
        assert written(cases, recipe, into, tmp_path / f"out-{number}") == expected
        found = status_of(into)
        assert (found.total, found.accepted, found.rejected, found.attempts) == (30, 27, 3, 36)
    with Ledger(into) as ledger:
        assert ask_teacher(cases, recipe, ledger).known == 30
    assert api.counts.requests == asked


def test_two_replies_to_one_request(cases: DatasetFolder, api: FaultyApi, tmp_path: Path) -> None:
    """Asked on two machines: the same one stays regardless of the order, and the outcome follows it without asking."""
    recipe = teacher.recipe(api.url, repair=False)
    for name in ("a", "b"):
        api.settings = teacher.settings(cases, recipe)
        if name == "b":
            api.settings.replies["0"] = "no idea"
        with Ledger(tmp_path / f"{name}.db") as ledger:
            ask_teacher(cases, recipe, ledger)
    asked, kept = api.counts.requests, []
    for order in (("a", "b"), ("b", "a")):
        into = tmp_path / f"{''.join(order)}.db"
        merge(into, [tmp_path / f"{name}.db" for name in order])
        with Ledger(into) as ledger:
            assert ask_teacher(cases, recipe, ledger).known == 29
        with sqlite3.connect(into) as connection:
            kept.append(connection.execute("SELECT hash, text FROM requests ORDER BY hash").fetchall())
            assert connection.execute("SELECT accepted FROM outcomes WHERE sample = 'sample-00000'").fetchone() == (1,)
    assert kept[0] == kept[1] and api.counts.requests == asked


def test_a_ledger_and_its_base_are_one(tmp_path: Path) -> None:
    """Attempts of both come in the order of their times; a byte that is no UTF-8 does not cost a reply."""
    attempt = (
        "INSERT INTO attempts (run, number, hash, started, reserved_tokens, reserved_cost) VALUES (?, ?, ?, ?, ?, 0)"
    )
    said = ("answered", "x\xff", "stop", None, 5, 5, 0.1, 1, 2.0)
    for name, times in (("base", (30.0, 10.0, 50.0)), ("own", (40.0, 20.0))):
        with Ledger(tmp_path / name) as ledger:
            ledger.write_now(*((attempt, (name, k, "h", at, int(at))) for k, at in enumerate(times)))
            ledger.write_now(answered(Answer(f"h-{name}", "s", "t", 0, "first", "m", "q", *said)))
            refused = ("failed", None, None, "refused", 5, 100, 0.1, 1, 2.0)
            ledger.write_now(answered(Answer(f"f-{name}", "s", "t", 0, "first", "m", "q", *refused)))
            ledger.write_now(decided(Outcome("p", f"s-{name}", "t", True, "", "", f"h-{name}", 1, 2.0)))
            ledger.write_now(("UPDATE requests SET text = CAST(? AS TEXT)", (b"caf\xe9",)))
            assert ledger._write.execute("PRAGMA journal_mode").fetchone() == ("wal",), "read while it is written"
            assert ledger._write.execute("PRAGMA synchronous").fetchone() == (2,), "on the disk, not only handed over"
    with Ledger(tmp_path / "own", base=tmp_path / "base") as ledger:
        assert ledger.recent(15.0) == [(20.0, 20), (30.0, 30), (40.0, 40), (50.0, 50)]
        assert ledger.attempts_of("h") == 5
        assert [ledger.find(f"h-{name}").text for name in ("own", "base")] == ["caf\ufffd"] * 2  # type: ignore[union-attr]
        assert ledger.decided_samples("p") == {"s-own", "s-base"}
        assert [ledger.outcome("p", f"s-{name}").hash for name in ("own", "base")] == ["h-own", "h-base"]  # type: ignore[union-attr]
        assert ledger.outcome("another plan", "s-base") is None
        assert ledger.mean_output("m") == 5.0, "a failed reply says nothing about the length of an answer"


def test_what_waits_when_the_loop_ends_is_written(tmp_path: Path) -> None:
    async def leave(ledger: Ledger) -> None:
        ledger.write(started("r", "p", "1/1", 1, 1.0))

    with Ledger(tmp_path / "l") as ledger:
        asyncio.run(leave(ledger))
    with sqlite3.connect(tmp_path / "l") as connection:
        assert connection.execute("SELECT run FROM runs").fetchall() == [("r",)]


def test_a_waiter_that_has_gone_holds_up_no_other() -> None:
    async def resolved(failure: StorageError | None) -> list[object]:
        waiting = [asyncio.get_running_loop().create_future() for _ in range(3)]
        waiting[0].cancel()
        _resolve(waiting, failure)
        return await asyncio.gather(*waiting, return_exceptions=True)

    broken = StorageError("full")
    assert asyncio.run(resolved(None))[1:] == [None, None]
    assert asyncio.run(resolved(broken))[1:] == [broken, broken]


@pytest.mark.parametrize("page", range(0, 40, 3))
def test_a_damaged_ledger_is_said_by_whoever_opens_it(page: int, tmp_path: Path) -> None:
    """A zeroed page or a cut: never sqlite's own exception, and nothing is merged or removed."""
    path = tmp_path / "good.ledger.db"
    ops = [planned("p", "d", "m", 900, 1.0, "{}"), started("r", "p", "0/1", 900, 1.0)]
    for k in range(900):
        said = ("answered", "x" * 99, "stop", None, 5, 5, 0.1, 1, 2.0)
        ops.append(answered(Answer(f"h{k}", f"s{k}", "t", 0, "first", "m", "q", *said)))
        ops.append(decided(Outcome("p", f"s{k}", "t", True, "", "", f"h{k}", 1, 2.0)))
    with Ledger(path) as ledger:
        ledger.write_now(*ops)
    whole = path.read_bytes()
    assert len(whole) > 40 * 4096
    at = page * 4096
    for data in (whole[:at] + bytes(4096) + whole[at + 4096 :], whole[: at + 100]):
        path.write_bytes(data)
        with pytest.raises(StorageError, match="good.ledger.db is not a ledger(, or is damaged| of this release)"):
            Ledger(path)
        with pytest.raises(StorageError, match="good.ledger.db"):
            merge(tmp_path / "into.ledger.db", [path], remove=True)
        assert path.read_bytes() == data
        try:
            assert status_of(path).total == 900  # it does not read every page
        except StorageError as error:
            assert "good.ledger.db" in error.message


def test_workers_share_a_budget_and_go_on_after_a_kill(cases: DatasetFolder, api: FaultyApi, tmp_path: Path) -> None:
    """In this process, so that everything between the workers and the merged ledger is seen."""
    recipe = teacher.recipe(api.url, budget={"requests": 20})
    api.settings = teacher.settings(cases, recipe)
    path = tmp_path / "l.db"
    with executor("local") as here, pytest.raises(EndpointError, match="of 3 workers ended early: the budget"):
        ask_in_shards(cases, recipe, path, here, 3)
    assert 15 <= api.counts.requests <= 20 and [p.name for p in tmp_path.glob("*-of-*")] == []
    # A worker that was killed leaves its ledger behind; it is merged before anything is asked.
    with Ledger(tmp_path / "l.db.2-of-5") as ledger:
        ask_teacher(cases, recipe.model_copy(update={"budget": Budget()}), ledger)
    asked = api.counts.requests
    with executor("local") as here:
        ask_in_shards(cases, recipe.model_copy(update={"budget": Budget()}), path, here, 2)
    assert api.counts.requests == asked and status_of(path).done == 30
    with executor("local") as here, pytest.raises(EndpointError, match="nothing is left of budget.requests"):
        ask_in_shards(cases, recipe, path, here, 2)


@pytest.mark.parametrize("name", [
    pytest.param("processes", marks=pytest.mark.slow), pytest.param("ray", marks=pytest.mark.slow),
])  # fmt: skip
def test_executors_give_the_same(cases: DatasetFolder, api: FaultyApi, tmp_path: Path, name: str) -> None:
    if name == "ray":
        pytest.importorskip("ray", reason="the extra ray is not installed")
    # A request that times out while processes start on a busy machine is sent again, and counted.
    recipe = teacher.recipe(api.url, limits={"timeout": 120})
    api.settings = teacher.settings(cases, recipe)
    with Ledger(tmp_path / "one.db") as ledger:
        ask_teacher(cases, recipe, ledger)
    asked = api.counts.requests
    with executor(name, 2) as several:  # type: ignore[arg-type]
        ask_in_shards(cases, recipe, tmp_path / "l.db", several, 2)
    assert api.counts.requests == 2 * asked
    one = written(cases, recipe, tmp_path / "one.db", tmp_path / "one")
    assert written(cases, recipe, tmp_path / "l.db", tmp_path / "several") == one


def test_a_worker_reports_what_is_wrong(cases: DatasetFolder, tmp_path: Path) -> None:
    recipe = teacher.recipe("http://127.0.0.1:9/v1", key_env="NO_SUCH_KEY")
    job = Job(str(cases.root), recipe, str(tmp_path / "l.db"), str(tmp_path / "base.db"), Shard())
    problem, hint = ask_shard(job) or ("", "")
    assert "NO_SUCH_KEY is not set" in problem and "export" in hint


def test_a_ledger_may_move(cases: DatasetFolder, api: FaultyApi, tmp_path: Path) -> None:
    recipe = teacher.recipe(api.url)
    api.settings = teacher.settings(cases, recipe)
    with Ledger(tmp_path / "l.db") as ledger:
        ask_teacher(cases, recipe, ledger)
    shutil.copytree(cases.root, tmp_path / "moved")
    shutil.move(tmp_path / "l.db", tmp_path / "elsewhere.db")
    with Ledger(tmp_path / "elsewhere.db") as ledger:
        assert ask_teacher(DatasetFolder.open(tmp_path / "moved"), recipe, ledger).known == 30

"""A whole run: accepted set, repairs, draws, budgets, resuming, and ends that lose nothing."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from fakes import teacher
from fakes.clocks import FakeClock
from fakes.faulty_api import FAULTS, FaultyApi
from fakes.teacher import Scripted, reply
from mirg.cli.main import app
from mirg.engines.endpoint import Fault, Reply
from mirg.errors import DataError, EndpointError, MirgError, PluginError, StorageError
from mirg.samples import DatasetFolder, Sample, write_card
from mirg.trajectories.build import check_dataset
from mirg.trajectories.checks import verify
from mirg.trajectories.teacher.ledger import Ledger, reading
from mirg.trajectories.teacher.output import write_output
from mirg.trajectories.teacher.recipe import TeacherRecipe
from mirg.trajectories.teacher.run import Progress, ask_teacher
from mirg.trajectories.teacher.status import status_of

HOPELESS = {f"sample-{k:05d}" for k in (3, 13, 23)}  # wrong also after the repair


def run(src: DatasetFolder, recipe: TeacherRecipe, path: Path, **more: Any) -> Progress:
    with Ledger(path) as ledger:
        return ask_teacher(src, recipe, ledger, **more)


def accepted(path: Path) -> dict[str, str]:
    """Sample: the hash of the request whose reply was kept."""
    with sqlite3.connect(path) as connection:
        return dict(connection.execute("SELECT sample, hash FROM outcomes WHERE accepted"))


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as connection:
        return connection.execute(sql).fetchall()


def said(body: dict[str, Any]) -> str:
    return json.dumps([m["content"] for m in body["messages"]])


def case_of(body: dict[str, Any]) -> int:
    return int(said(body).partition("case-")[2].partition(".")[0].rstrip("?\\n ").split("?")[0])


def by_case(src: DatasetFolder, recipe: TeacherRecipe, pick: Callable[[int, dict[str, Any]], bool]) -> Callable:
    """Right where ``pick`` says so, else the wrong image."""
    samples = list(src.read())

    def write(body: dict[str, Any]) -> Reply:
        k = case_of(body)
        return reply((teacher.good if pick(k, body) else teacher.wrong)(samples[k], recipe))

    return write


def test_from_faults_to_a_dataset(cases: DatasetFolder, api: FaultyApi, tmp_path: Path) -> None:
    """Over sockets with every kind of fault: the right samples are kept, each with its provenance, and pass again."""
    recipe = teacher.recipe(api.url, limits={"timeout": 0.5, "tries": 30, "max_wait": 0.1})
    faults = tuple(fault for fault in FAULTS if fault != "429 date")  # a second each: tested in test_endpoint
    api.settings = teacher.settings(cases, recipe, share=0.4, faults=faults, seed=1)
    found = run(cases, recipe, tmp_path / "l.db")
    assert (found.accepted, found.rejected, found.missing) == (27, 3, 0)
    assert sum(api.counts.faults.values()) > 5 and api.counts.most_in_flight <= recipe.limits.concurrency
    # Answered once each, but for replies that never arrived whole.
    assert all(count == 1 for count in api.counts.answered.values())
    with Ledger(tmp_path / "l.db") as ledger:
        report = write_output(cases, tmp_path / "out", recipe, ledger)
        assert ledger.spent().requests == api.counts.requests
    assert report.n_kept == 27 and {row.id for row in report.rejections} == HOPELESS
    assert {row.check for row in report.rejections} == {"final_image_set"}
    out = DatasetFolder.open(tmp_path / "out")
    kept = list(out.read(images="decode"))
    assert [s.id for s in kept] == [s.id for s in cases.read() if s.id not in HOPELESS], "in the order of the rows"
    for sample in kept:
        chain = sample.trajectory
        assert (
            chain is not None and chain.writer == "teacher:teacher-1" and chain.checks == tuple(verify(sample, chain))
        )
        assert chain.meta["teacher"] == "teacher-1" and len(str(chain.meta["prompt"])) == 64
        assert int(str(chain.meta["attempts"])) >= 1
        assert chain.meta["repaired"] == (int(sample.id[-5:]) % 10 == 8)
    assert check_dataset(out).n_kept == 27 and out.verify() == []
    assert "teacher-1" in (tmp_path / "out" / "README.md").read_text()
    about = json.loads((tmp_path / "out" / "teacher.json").read_text())
    assert (about["kept"], about["recipe"]["model"]) == (27, "teacher-1") and about["reasons"] == {"final_image_set": 3}


def test_a_second_run_asks_nothing(cases: DatasetFolder, api: FaultyApi, tmp_path: Path) -> None:
    recipe = teacher.recipe(api.url)
    api.settings = teacher.settings(cases, recipe)
    run(cases, recipe, tmp_path / "l.db")
    before, asked = accepted(tmp_path / "l.db"), api.counts.requests
    assert run(cases, recipe, tmp_path / "l.db").known == 30
    # Other checks, another address, other limits: the same replies are judged again.
    strict = recipe.model_copy(update={"verify": recipe.verify.model_copy(update={"min_words": 500})})
    assert run(cases, strict.model_copy(update={"repair": False}), tmp_path / "l.db").rejected == 30
    assert api.counts.requests == asked and before.items() <= accepted(tmp_path / "l.db").items()


@settings(max_examples=8)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=7), st.integers(1, 9))
def test_the_accepted_set_does_not_depend_on_the_order(delays: list[int], concurrency: int) -> None:
    """Promise 17: three draws per sample, some of them right, complete in any order and with any concurrency."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        src = teacher.dataset(folder / "d", 9)
        recipe = teacher.recipe("http://x/v1", draws=3, limits={"concurrency": concurrency})
        write = by_case(src, recipe, lambda k, body: (k + body["seed"]) % 3 == 1 and k % 4 != 2)
        run(src, recipe, folder / "l.db", endpoint=Scripted(write, delays))
        kept = rows(folder / "l.db", "SELECT o.sample, r.draw, r.step FROM outcomes o JOIN requests r USING (hash) "
                    "WHERE accepted ORDER BY 1")  # fmt: skip
        assert kept == [(f"sample-{k:05d}", (1 - k) % 3, "first") for k in range(9) if k % 4 != 2]
        assert len(rows(folder / "l.db", "SELECT * FROM requests WHERE step = 'repair'")) == 2


def test_the_best_verified_draw_is_kept(cases: DatasetFolder, tmp_path: Path) -> None:
    """Both draws of every sample pass; the second lies better."""
    recipe = teacher.recipe("http://x/v1", draws=2)
    samples = list(cases.read())

    def write(body: dict[str, Any]) -> Reply:
        text = teacher.good(samples[case_of(body)], recipe)
        return reply(text if body["seed"] == 1 else text.replace("[200, 250, 600, 750]", "[200, 250, 560, 700]"))

    run(cases, recipe, tmp_path / "l.db", endpoint=Scripted(write))
    assert rows(tmp_path / "l.db", "SELECT DISTINCT r.draw FROM outcomes JOIN requests r USING (hash)") == [(1,)]


def test_stop_early_asks_no_more_than_it_needs(cases: DatasetFolder, tmp_path: Path) -> None:
    recipe = teacher.recipe("http://x/v1", draws=4, stop_early=True)
    endpoint = Scripted(by_case(cases, recipe, lambda k, body: body["seed"] >= k % 3))
    assert run(cases, recipe, tmp_path / "l.db", endpoint=endpoint).accepted == 30
    assert len(endpoint.bodies) == sum(k % 3 + 1 for k in range(30))


def test_as_many_requests_are_in_flight_as_may_be(cases: DatasetFolder, tmp_path: Path) -> None:
    """No reply comes before five requests wait for one, and a sixth is not sent."""
    recipe = teacher.recipe("http://x/v1", limits={"concurrency": 5})
    right, waiting, full = by_case(cases, recipe, lambda k, body: True), [0], asyncio.Event()

    class Gate(Scripted):
        async def ask(self, body: dict[str, Any]) -> Reply:
            waiting[0] += 1
            assert waiting[0] <= 5
            if waiting[0] == 5:
                full.set()
            async with asyncio.timeout(60):
                await full.wait()
            waiting[0] -= 1
            return await super().ask(body)

    assert run(cases, recipe, tmp_path / "l.db", endpoint=Gate(right)).accepted == 30


def test_a_repair_names_what_failed(cases: DatasetFolder, tmp_path: Path) -> None:
    recipe = teacher.recipe("http://x/v1")
    endpoint = Scripted(by_case(cases, recipe, lambda k, body: len(body["messages"]) > 2))
    assert run(cases, recipe, tmp_path / "l.db", endpoint=endpoint).accepted == 30
    repairs = [body for body in endpoint.bodies if len(body["messages"]) > 2]
    assert len(repairs) == 30
    for body in repairs:
        assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "user"]
        assert "the answer names Image-1, the truth is Image-2" in said(body)


def test_the_nearest_draw_is_repaired(cases: DatasetFolder, tmp_path: Path) -> None:
    recipe = teacher.recipe("http://x/v1", draws=2)
    other = by_case(cases, recipe, lambda k, body: len(body["messages"]) > 2)
    endpoint = Scripted(lambda body: other(body) if body["seed"] else reply("no idea"))
    assert run(cases, recipe, tmp_path / "l.db", endpoint=endpoint).accepted == 30
    assert rows(tmp_path / "l.db", "SELECT DISTINCT draw FROM requests WHERE step = 'repair'") == [(1,)]
    with Ledger(tmp_path / "l.db") as ledger:
        write_output(cases, tmp_path / "out", recipe, ledger)
    assert {s.trajectory and s.trajectory.meta["attempts"] for s in DatasetFolder.open(tmp_path / "out")} == {3}


@pytest.mark.parametrize("repaired", ["I cannot help with that picture.", ""])
def test_a_worse_repair_does_not_hide_what_was_wrong(repaired: str, cases: DatasetFolder, tmp_path: Path) -> None:
    recipe = teacher.recipe("http://x/v1")
    wrong = by_case(cases, recipe, lambda k, body: False)
    endpoint = Scripted(lambda body: reply(repaired) if len(body["messages"]) > 2 else wrong(body))
    assert run(cases, recipe, tmp_path / "l.db", endpoint=endpoint).rejected == 30
    reasons = rows(tmp_path / "l.db", "SELECT DISTINCT reason FROM outcomes")
    assert reasons == [("the answer names Image-1, the truth is Image-2",)]


def test_equal_requests_are_sent_once(cases: DatasetFolder, tmp_path: Path) -> None:
    """Two rows that differ only in their id give the same request."""
    rows_of = (cases.root / "samples.jsonl").read_text().splitlines(keepends=True)[:3]
    shutil.copytree(cases.root / "images", tmp_path / "d" / "images")
    doubled = [*rows_of, *(line.replace('"sample-', '"twin-') for line in rows_of)]
    (tmp_path / "d" / "samples.jsonl").write_text("".join(doubled))
    write_card(tmp_path / "d", name="twins")
    src = DatasetFolder.open(tmp_path / "d")
    recipe = teacher.recipe("http://x/v1")
    endpoint = Scripted(by_case(cases, recipe, lambda k, body: True), [5])
    assert run(src, recipe, tmp_path / "l.db", endpoint=endpoint).accepted == 6
    assert len(endpoint.bodies) == 3


@pytest.mark.parametrize(
    ("why", "budget", "said_so"),
    [
        ("requests", {"requests": 7}, "7 of 7 requests"),
        ("tokens", {"tokens": 15_000}, "of 15,000 tokens"),
        ("money", {"money": 0.05}, "in money"),
    ],
)
def test_a_budget_ends_the_run_and_is_not_exceeded(
    cases: DatasetFolder, api: FaultyApi, tmp_path: Path, why: str, budget: dict[str, Any], said_so: str
) -> None:
    price = {"input": 2.0, "output": 10.0}
    recipe = teacher.recipe(api.url, budget=budget, price=price, sampling={"max_tokens": 2000})
    api.settings = teacher.settings(cases, recipe)
    for _ in range(2):  # also when it is started again
        with pytest.raises(EndpointError, match=said_so) as caught:
            run(cases, recipe, tmp_path / "l.db")
        assert "same command" in caught.value.hint
        assert api.counts.requests <= budget.get("requests", 10**9)
        assert api.counts.tokens <= budget.get("tokens", 10**9)
        assert (700 * 2 + 50 * 10) * sum(api.counts.answered.values()) / 1e6 <= budget.get("money", 10**9)
    assert api.counts.requests > 3, "it is used"
    free = recipe.model_copy(update={"budget": recipe.budget.model_copy(update=dict.fromkeys(budget))})
    assert run(cases, free, tmp_path / "l.db").missing == 0
    assert len(accepted(tmp_path / "l.db")) == 27 and all(n == 1 for n in api.counts.answered.values())


@pytest.mark.parametrize(
    ("why", "settings", "words", "hint"),
    [
        ("a wrong key", {"always": "401", "message": "bad key"}, "bad key", "key"),
        ("no such model", {"always": "404", "message": "no model"}, "no model", "/v1"),
        ("a web page", {"always": "HTML"}, "web page", "/v1"),
        ("no vision", {"always": "400", "message": "images are not supported"}, "not supported", "accepts images"),
    ],
)
def test_an_endpoint_that_refuses_everything_ends_the_run_early(
    cases: DatasetFolder, api: FaultyApi, tmp_path: Path, why: str, settings: dict[str, Any], words: str, hint: str
) -> None:
    recipe = teacher.recipe(api.url, limits={"tries": 2, "max_wait": 0.05})
    for name, value in settings.items():
        setattr(api.settings, name, value)
    with pytest.raises(EndpointError, match=words) as caught:
        run(cases, recipe, tmp_path / "l.db")
    # Early: not two tries for each of 27 samples and their repairs. How many are pending when it ends depends on the
    # machine.
    assert hint in caught.value.hint and api.counts.requests <= 40
    assert rows(tmp_path / "l.db", "SELECT * FROM requests") == [], "nothing of it is final"
    api.settings = teacher.settings(cases, recipe)
    assert run(cases, recipe, tmp_path / "l.db").accepted == 27, "once the server is fixed, the same command continues"


def test_nobody_there_is_said_soon(cases: DatasetFolder, tmp_path: Path) -> None:
    clock = FakeClock()
    with pytest.raises(EndpointError, match="does not answer: no connection"):
        run(cases, teacher.recipe("http://127.0.0.1:9/v1"), tmp_path / "l.db", clock=clock)
    assert len(rows(tmp_path / "l.db", "SELECT * FROM attempts")) < 60


def test_refusals_and_bad_requests_are_failed_draws(cases: DatasetFolder, tmp_path: Path) -> None:
    """One sample is refused, one is too much for the endpoint, one gets no choices; none is requested again."""
    recipe = teacher.recipe("http://x/v1")
    right = by_case(cases, recipe, lambda k, body: True)

    def write(body: dict[str, Any]) -> Reply:
        k = case_of(body)
        if k == 4:
            return Reply(None, "stop", "refused: no", 100, 3)
        if k == 5:
            raise Fault("status", "HTTP 413: too large", status=413)
        if k == 6:
            return Reply(None, None, "empty choices", None, None)
        return right(body)

    endpoint = Scripted(write)
    for _ in range(2):
        run(cases, recipe, tmp_path / "l.db", endpoint=endpoint)
    assert len(endpoint.bodies) == 30
    refused = rows(tmp_path / "l.db", "SELECT sample, failed_check, reason FROM outcomes WHERE NOT accepted")
    assert refused == [
        ("sample-00004", "reply", "refused: no"),
        ("sample-00005", "reply", "the endpoint refused: HTTP 413: too large"),
        ("sample-00006", "reply", "empty choices"),
    ]


def test_refusals_between_answers_are_of_single_samples(cases: DatasetFolder, tmp_path: Path) -> None:
    right = by_case(cases, recipe := teacher.recipe("http://x/v1", limits={"concurrency": 1}), lambda k, body: True)

    def write(body: dict[str, Any]) -> Reply:
        if case_of(body) % 3 == 0:
            raise Fault("status", "HTTP 413: too large", status=413)
        return right(body)

    found = run(cases, recipe, tmp_path / "l.db", endpoint=Scripted(write))
    assert (found.accepted, found.rejected) == (20, 10)


def test_pauses_are_those_that_are_asked_for(cases: DatasetFolder, tmp_path: Path) -> None:
    recipe = teacher.recipe("http://x/v1", limits={"concurrency": 1, "tries": 6, "max_wait": 20})
    right, faults = by_case(cases, recipe, lambda k, body: True), [
        Fault("status", "busy", status=429, after=7.0), Fault("status", "down", status=503),
        Fault("body", "half", billed=True),
        Fault("status", "busy", status=429, after=0.5),
    ]  # fmt: skip

    def write(body: dict[str, Any]) -> Reply:
        if case_of(body) == 0 and faults:
            raise faults.pop(0)
        return right(body)

    clock = FakeClock()
    assert run(cases, recipe, tmp_path / "l.db", endpoint=Scripted(write), clock=clock).accepted == 30
    asked, first, second, last = clock.slept
    assert (asked, last) == (7.0, 0.5) and 0.5 <= first <= 1.5 and first < second <= 4
    outcomes = rows(tmp_path / "l.db", "SELECT outcome, tokens FROM attempts ORDER BY number LIMIT 40")
    assert [o for o in outcomes if o[0] != "reply"] == [
        ("http 429", 0),
        ("http 503", 0),
        ("body", None),
        ("http 429", 0),
    ]


def test_a_busy_server_is_waited_for_while_it_answers_others(cases: DatasetFolder, tmp_path: Path) -> None:
    """One place in the queue and thirty who want it: each is turned away more often than it has tries."""
    recipe = teacher.recipe("http://x/v1", limits={"concurrency": 30, "tries": 4})
    right, asked, answered = by_case(cases, recipe, lambda k, body: True), [0], [0]

    def write(body: dict[str, Any]) -> Reply:
        asked[0] += 1
        if asked[0] % min(12, 30 - answered[0]):
            raise Fault("status", "16 requests are waiting", status=429, after=1.0)
        answered[0] += 1
        return right(body)

    done = run(cases, recipe, tmp_path / "l.db", endpoint=Scripted(write), clock=FakeClock())
    assert (done.accepted, done.missing) == (30, 0)
    most = rows(tmp_path / "l.db", "SELECT max(n) FROM (SELECT count(*) AS n FROM attempts GROUP BY hash)")[0][0]
    assert most > 4, "one was turned away more often than it has tries"


def test_a_busy_server_that_answers_nobody_is_given_up(cases: DatasetFolder, tmp_path: Path) -> None:
    recipe = teacher.recipe("http://x/v1", limits={"tries": 3})
    right = by_case(cases, recipe, lambda k, body: True)

    def write(body: dict[str, Any]) -> Reply:
        if case_of(body) == 0:
            return right(body)
        assert len(endpoint.bodies) < 100
        raise Fault("status", "busy", status=429, after=0.5)

    endpoint = Scripted(write)
    with pytest.raises(EndpointError, match="does not answer: busy"):
        run(cases, recipe, tmp_path / "l.db", endpoint=endpoint, clock=FakeClock())


def test_a_longer_pause_than_allowed_gives_the_request_up_for_now(cases: DatasetFolder, tmp_path: Path) -> None:
    recipe = teacher.recipe("http://x/v1")
    right, busy = by_case(cases, recipe, lambda k, body: True), [True]

    def write(body: dict[str, Any]) -> Reply:
        if case_of(body) % 10 == 2 and busy:
            raise Fault("status", "come back tomorrow", status=429, after=86_400)
        return right(body)

    first = run(cases, recipe, tmp_path / "l.db", endpoint=Scripted(write), clock=FakeClock())
    assert (first.accepted, first.missing) == (27, 3), "the endpoint answers others: it is not silent"
    with Ledger(tmp_path / "l.db") as ledger:
        report = write_output(cases, tmp_path / "out", recipe, ledger)
    missing = [(f"sample-{k:05d}", "teacher") for k in (2, 12, 22)]
    assert [(row.id, row.check) for row in report.rejections] == missing
    busy.clear()
    assert run(cases, recipe, tmp_path / "l.db", endpoint=Scripted(write)).accepted == 3


def test_a_full_disk_stops_the_sending_and_keeps_what_is_in_flight(cases: DatasetFolder, tmp_path: Path) -> None:
    recipe = teacher.recipe("http://x/v1")
    room = [10**9] * 12 + [10**6] * 1000
    endpoint = Scripted(by_case(cases, recipe, lambda k, body: True), [50])
    with Ledger(tmp_path / "l.db", free_bytes=lambda _: room.pop(0)) as ledger:
        with pytest.raises(StorageError, match="MiB left; no further request is sent") as caught:
            ask_teacher(cases, recipe, ledger, endpoint=endpoint)
        assert "nothing is lost" in caught.value.hint
    assert len(rows(tmp_path / "l.db", "SELECT * FROM requests")) == len(endpoint.bodies) == 12
    assert rows(tmp_path / "l.db", "SELECT count(*) FROM attempts WHERE tokens IS NULL") == [(0,)]
    run(cases, recipe, tmp_path / "l.db", endpoint=endpoint)
    assert len(endpoint.bodies) == 30


def test_a_ledger_that_cannot_be_written_ends_the_run(cases: DatasetFolder, tmp_path: Path) -> None:
    recipe = teacher.recipe("http://x/v1")
    endpoint = Scripted(by_case(cases, recipe, lambda k, body: True))
    with Ledger(tmp_path / "l.db") as ledger:
        pages = ledger._write.execute("PRAGMA page_count").fetchone()[0]
        ledger._write.execute(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(StorageError, match="cannot write the ledger .*full") as caught:
            ask_teacher(cases, recipe, ledger, endpoint=endpoint)
        assert "disk space" in caught.value.hint
    assert len(endpoint.bodies) < 30
    assert run(cases, recipe, tmp_path / "l.db", endpoint=endpoint).missing == 0
    assert len(accepted(tmp_path / "l.db")) == 30


def test_bad_samples_are_refused_with_a_reason(tmp_path: Path) -> None:
    src = teacher.dataset(tmp_path / "d", 6)
    file = src.root / "samples.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    lines[1] = lines[1].replace("Where is", "<|image_pad|> Where is")
    lines[2] = lines[2].replace("Where", '", "what": "Where')
    lines[4] = lines[4].replace("images/image-0.png", "images/gone.png")
    file.write_text("".join(lines))
    recipe = teacher.recipe("http://x/v1")
    samples: dict[int, Sample] = {int(s.id[-5:]): s for s in src.read(lambda _: None)}
    endpoint = Scripted(lambda body: reply(teacher.good(samples[case_of(body)], recipe)))
    found = run(src, recipe, tmp_path / "l.db", endpoint=endpoint)
    assert (found.accepted, found.rejected) == (3, 1) and len(endpoint.bodies) == 3
    with Ledger(tmp_path / "l.db") as ledger:
        report = write_output(src, tmp_path / "out", recipe, ledger)
    assert report.n_rows == 6 and report.reasons == {"row": 2, "sample": 1}
    assert all(row.reason for row in report.rejections)


def test_nothing_verified_is_an_error_and_leaves_nothing(cases: DatasetFolder, tmp_path: Path) -> None:
    recipe = teacher.recipe("http://x/v1", repair=False)
    run(cases, recipe, tmp_path / "l.db", endpoint=Scripted(lambda body: reply("no idea")))
    with (
        Ledger(tmp_path / "l.db") as ledger,
        pytest.raises(DataError, match="no sample of .* 30 rows read; first: .*read"),
    ):
        write_output(cases, tmp_path / "out", recipe, ledger)
    assert not (tmp_path / "out").exists()


def test_a_fault_of_ours_is_raised_after_the_others_came_home(cases: DatasetFolder, tmp_path: Path) -> None:
    recipe = teacher.recipe("http://x/v1")
    right = by_case(cases, recipe, lambda k, body: True)

    def write(body: dict[str, Any]) -> Reply:
        if case_of(body) == 3:
            raise ZeroDivisionError("a bug")
        return right(body)

    endpoint = Scripted(write, [20])
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run(cases, recipe, tmp_path / "l.db", endpoint=endpoint)
    assert len(rows(tmp_path / "l.db", "SELECT * FROM requests")) == len(endpoint.bodies) - 1


def test_a_check_of_the_users(cases: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own.py"
    own.write_text("def late(sample, trajectory):\n    return 'too late' if sample.id[-1] == '7' else None\n")
    recipe = teacher.recipe("http://x/v1", verify={"checks": [f"{own}:late"]})
    endpoint = Scripted(by_case(cases, recipe, lambda k, body: True))
    found = run(cases, recipe, tmp_path / "l.db", endpoint=endpoint)
    assert (found.accepted, found.rejected) == (27, 3) and len(endpoint.bodies) == 33
    assert ["late: too late" in said(body) for body in endpoint.bodies].count(True) == 3
    with Ledger(tmp_path / "l.db") as ledger:
        report = write_output(cases, tmp_path / "out", recipe, ledger)
    assert report.reasons == {"late": 3} and '"late"' in (tmp_path / "out" / "teacher.json").read_text()
    assert run(cases, recipe, tmp_path / "l.db", endpoint=endpoint).known == 30
    result = CliRunner().invoke(app, ["trajectories", "status", str(tmp_path / "l.db"), "--page", str(tmp_path / "p")])
    assert result.exit_code == 0 and "the page is written without" in result.output
    for changed in ("None", "sample.nothing"):
        own.write_text(f"def late(sample, trajectory):\n    return {changed}\n")
        for name in [name for name in sys.modules if name.startswith("mirg_plugin_")]:
            monkeypatch.delitem(sys.modules, name)  # as if in another process
        if changed == "None":
            again = run(cases, recipe, tmp_path / "l.db", endpoint=endpoint)
            assert (again.known, again.accepted) == (0, 30) and len(endpoint.bodies) == 33
    with pytest.raises(PluginError, match="own.py"):
        run(cases, recipe, tmp_path / "l.db", endpoint=endpoint)


def test_one_ledger_one_run(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.db"), pytest.raises(StorageError, match="another run"):
        Ledger(tmp_path / "l.db")
    Ledger(tmp_path / "l.db").close()


@pytest.mark.parametrize(("why", "content"), [("no database", b"hello" * 400), ("another database", None)])
def test_what_is_no_ledger_is_left_alone(tmp_path: Path, why: str, content: bytes | None) -> None:
    path = tmp_path / "x.db"
    if content is None:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE mine (a)")
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(StorageError, match="not a ledger"):
        Ledger(path)
    assert path.read_bytes()[:16] == before[:16] and len(path.read_bytes()) == len(before)


def test_status_while_nothing_runs(cases: DatasetFolder, tmp_path: Path) -> None:
    recipe = teacher.recipe("http://x/v1", price={"input": 3.0, "output": 15.0})
    clock = FakeClock()
    endpoint = Scripted(by_case(cases, recipe, lambda k, body: k % 2 == 0))
    run(cases, recipe, tmp_path / "l.db", endpoint=endpoint, clock=clock)
    found = status_of(tmp_path / "l.db", now=clock.now())
    assert (found.accepted, found.rejected, found.open) == (15, 15, 0) and found.reasons == {"final_image_set": 15}
    assert (found.requests, found.repairs, found.attempts) == (45, 15, 45)
    assert found.cost == pytest.approx(45 * (100 * 3 + 10 * 15) / 1e6)
    with reading(tmp_path / "l.db") as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM runs")
    with pytest.raises(MirgError, match="no ledger"):
        status_of(tmp_path / "gone.db")

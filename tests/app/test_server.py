"""The server of the page: who may send requests to it, what is there, and what is refused. Needs the extra ``app``."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fakes.serving import running
from fakes.typist import typist
from mirg.app.session import Model
from mirg.serve.limits import ServeLimits

pytest.importorskip("gradio", reason="the extra app is not installed")
pytestmark = pytest.mark.slow
LIMITS = ServeLimits(images=8, body_bytes=200_000)
JSON = "application/json"
FORM = "multipart/form-data; boundary=b"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from mirg.app.page import Page, create_app

    folder = tmp_path_factory.mktemp("page")
    page = Page([Model(typist(), "m", LIMITS)], LIMITS, save=folder / "kept", folder=folder)
    with running(create_app(page), LIMITS) as found:
        yield found


def ask(address: str, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body or None, named)
    response = connection.getresponse()
    return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()


def test_the_page_names_no_other_server_and_forbids_them(address: str) -> None:
    status, headers, body = ask(address, "GET", "/")
    assert status == 200
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    loaded = re.findall(rb"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"']?(https?:)?//[^>]*>", body)
    assert loaded == []


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("GET", "/", {"Host": "evil.example"}, 400),
        ("GET", "/config", {"Origin": "http://evil.example"}, 403),
        ("POST", "/gradio_api/upload", {"Origin": "http://evil.example", "Content_Type": FORM}, 403),
        ("POST", "/gradio_api/queue/join", {"Content_Type": "text/plain"}, 415),
        ("GET", "/gradio_api/proxy=http://example.org/x", {}, 404),
        ("GET", "/gradio_api/file=http://example.org/x", {}, 404),
        ("GET", "/gradio_api/info", {}, 404),
        ("POST", "/gradio_api/run/predict", {"Content_Type": "text/plain"}, 415),
        ("POST", "/gradio_api/run/predict", {"Origin": "http://evil.example", "Content_Type": JSON}, 403),
        ("POST", "/gradio_api/call/on_save", {"Content_Type": JSON}, 404),
        ("POST", "/gradio_api/component_server", {"Content_Type": JSON}, 404),
        ("POST", "/gradio_api/vibe-edit", {"Content_Type": JSON}, 404),
        ("GET", "/monitoring", {}, 404),
        ("GET", "/docs", {}, 404),
        ("GET", "/gradio_api/file=/etc/passwd", {}, 403),
        ("GET", "/gradio_api/file=/etc/../etc/passwd", {}, 403),
    ],
)
def test_what_the_page_does_not_need_is_refused(
    address: str, method: str, path: str, headers: dict[str, str], expected: int
) -> None:
    status, _, body = ask(address, method, path, b"{}" if method == "POST" else b"", **headers)
    assert status == expected
    assert b"root:" not in body


def test_an_upload_that_is_too_large_is_refused(address: str) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    for size, expected in ((1000, 200), (300_000, 413)):
        status, _, _ = ask(
            address, "POST", "/gradio_api/upload", head + b"x" * size + b"\r\n--b--\r\n", Content_Type=FORM
        )
        assert status == expected


def events(address: str, *, queued: bool) -> list[dict[str, Any]]:
    """The events of the page that take the images and the question: Ask is queued, all others are answered directly."""
    found = json.loads(ask(address, "GET", "/config")[2])["dependencies"]
    given = next(event["inputs"] for event in found if event["queue"] and len(event["inputs"]) == 2)
    return [event for event in found if event["inputs"] == given and event["queue"] == queued]


def call(event: dict[str, Any], image: str) -> bytes:
    named = [{"image": {"path": image, "meta": {"_type": "gradio.FileData"}}, "caption": None}]
    body = {"data": [named, "Where?"], "fn_index": event["id"], "session_hash": "s", "trigger_id": None}
    return json.dumps(body).encode()


def test_an_image_of_the_machine_cannot_be_named(address: str) -> None:
    """A request may name only files that were uploaded."""
    ask(
        address,
        "POST",
        "/gradio_api/queue/join",
        call(events(address, queued=True)[0], "/etc/passwd"),
        Content_Type=JSON,
    )
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
    connection.request("GET", "/gradio_api/queue/data?session_hash=s")
    response = connection.getresponse()
    said = b""
    while b"process_completed" not in said:
        said += response.readline()
    connection.close()
    assert b'"success":false' in said.replace(b" ", b"")
    assert events(address, queued=False)
    for event in events(address, queued=False):
        status, _, body = ask(address, "POST", "/gradio_api/run/predict", call(event, "/etc/passwd"), Content_Type=JSON)
        assert status == 500
        assert b"root:" not in body and b"svg" not in body


def test_a_model_cannot_be_asked_past_the_queue(address: str) -> None:
    """The queue bounds how many questions wait, so the direct way to its events is closed."""
    body = call(events(address, queued=True)[0], "a.png")
    assert ask(address, "POST", "/gradio_api/run/predict", body, Content_Type=JSON)[0] == 404


def test_the_command_answers_and_removes_uploads_when_it_is_terminated(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "mirg.cli.main", "app", "--port", "0", "--save", str(tmp_path / "kept")]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert program.stdout is not None
        line = program.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if ask(found[0], "GET", "/")[0] == 200:
                    break
            except OSError:
                time.sleep(0.2)
        assert list(tmp_path.glob("mirg-app-*"))
        program.send_signal(signal.SIGTERM)
        _, errors = program.communicate(timeout=30)
        assert "Traceback" not in errors
        assert list(tmp_path.glob("mirg-app-*")) == []
    finally:
        program.kill()
        program.wait()

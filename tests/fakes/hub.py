"""A hub on this machine that the real client of huggingface_hub talks to: repositories, LFS, commits.

Requests and answers follow the client of huggingface_hub 1.33 (``_commit_api.py``, ``lfs.py``, ``hf_api.py``). The
check of README.md is the one of the hub that matters here: a base model or a data set is a name on the hub.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

TOKEN = "hf_" + "TestTokenOfTheFakeHub" * 2
NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass
class Repo:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0


@dataclass
class Hub:
    """What the server holds; ``faults`` answers the next request whose path holds the key with a status instead."""

    url: str = ""
    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)


def problems_of(readme: str) -> list[str]:
    """What the hub says about the front matter of a README.md."""
    if not readme.startswith("---\n"):
        return []
    found = yaml.safe_load(readme[4:].split("\n---\n")[0])
    names = [*([found["base_model"]] if "base_model" in found else []), *found.get("datasets", [])]
    return [f'"{name}" is not valid: use an id of the hub' for name in names if not NAME.fullmatch(str(name))]


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def say(self, value: Any, status: int = 200, **headers: str) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {**headers, "Content-Type": "application/json", "Content-Length": str(len(data))}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(data)

    def answer(self) -> None:
        body, path = self.body(), self.path.split("?")[0]
        self.hub.requests.append(f"{self.command} {path}")
        for key in [key for key in self.hub.faults if key in path]:
            return self.say({"error": "the hub is out of order"}, self.hub.faults.pop(key))
        if not path.startswith("/blob/") and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.say({"error": "Invalid credentials"}, 401, X_Error_Message="Invalid credentials in header")
        for pattern, method in ROUTES:
            if match := re.fullmatch(pattern, f"{self.command} {path}"):
                return method(self, body, *match.groups())
        return self.say({"error": f"no route {path}"}, 404)

    do_GET = do_POST = do_PUT = answer

    def info(self, _: bytes, kind: str, name: str) -> None:
        repo = self.hub.repos.get((kind, name))
        if repo is None:
            return self.say({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        names = [{"rfilename": file} for file in repo.files]
        return self.say({"id": name, "private": repo.private, "sha": "0" * 40, "siblings": names, "tags": []})

    def create(self, body: bytes) -> None:
        told = json.loads(body)
        name, kind = f"{told['organization']}/{told['name']}", told.get("type") or "model"
        if (kind, name) in self.hub.repos:
            return self.say({"url": f"{self.hub.url}/{name}", "error": "You already created this repo"}, 409)
        self.hub.repos[kind, name] = Repo(told.get("visibility") == "private")
        return self.say({"url": f"{self.hub.url}/{'datasets/' * (kind == 'dataset')}{name}"})

    def validate(self, body: bytes) -> None:
        found = [{"message": one} for one in problems_of(json.loads(body)["content"])]
        return self.say({"errors": found, "warnings": []}, 400 if found else 200)

    def preupload(self, body: bytes, kind: str, name: str) -> None:
        def mode(file: dict[str, Any]) -> str:
            return "lfs" if file["path"].endswith((".safetensors", ".png")) or file["size"] > 10_000_000 else "regular"

        files = [{"path": f["path"], "uploadMode": mode(f), "shouldIgnore": False} for f in json.loads(body)["files"]]
        return self.say({"files": files})

    def batch(self, body: bytes, name: str) -> None:
        objects = []
        for one in json.loads(body)["objects"]:
            upload = {"upload": {"href": f"{self.hub.url}/blob/{one['oid']}", "header": {}}}
            objects.append(one | ({} if one["oid"] in self.hub.blobs else {"actions": upload}))
        return self.say({"objects": objects, "transfer": "basic"})

    def store(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            return self.say({"error": "another digest"}, 400)
        self.hub.blobs[oid] = body
        return self.say({})

    def commit(self, body: bytes, kind: str, name: str) -> None:
        rows = [json.loads(line) for line in body.splitlines()]
        repo = self.hub.repos[kind, name]
        assert rows[0]["key"] == "header" and rows[0]["value"]["summary"]
        for row in rows[1:]:
            value = row["value"]
            file = base64.b64decode(value["content"]) if row["key"] == "file" else self.hub.blobs[value["oid"]]
            repo.files[value["path"]] = file
        repo.commits += 1
        return self.say({"commitUrl": f"{self.hub.url}/{name}/commit/1", "commitOid": "1" * 40, "hookOutput": ""})


REPO = r"/api/(model|dataset)s/([\w.-]+/[\w.-]+)"
ROUTES: list[tuple[str, Any]] = [
    (f"GET {REPO}", Handler.info),
    ("POST /api/repos/create", Handler.create),
    ("POST /api/validate-yaml", Handler.validate),
    (f"POST {REPO}/preupload/main", Handler.preupload),
    (f"POST {REPO}/commit/main", Handler.commit),
    (r"POST /((?:datasets/)?[\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch", Handler.batch),
    (r"PUT /blob/(\w+)", Handler.store),
]


@contextlib.contextmanager
def serving_hub() -> Iterator[Hub]:
    """A hub in threads of this process until the block is left."""
    hub = Hub()
    kind = type("Bound", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)

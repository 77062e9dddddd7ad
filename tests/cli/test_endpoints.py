"""Commands that ask an endpoint, over real HTTP: what is wrong is said with what to do, and the rest continues."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from fakes.faulty_api import FaultyApi, Settings
from mirg.samples import DatasetFolder, DatasetWriter, Sample, Target

Mirg = Callable[..., Any]
RIGHT = "<think>hm</think><answer>Image-2: (100,100),(500,500)</answer>"
KEY = "sk-hunter2"


@pytest.fixture(scope="module")
def made(shared: Callable[..., Path]) -> Path:
    """Six samples, of two and four images by turns, the target in the second image."""

    def write(folder: Path) -> None:
        with DatasetWriter(folder, name="pairs") as writer:
            for k in range(6):
                sizes = [(32 + 8 * n, 40) for n in range(4 if k % 2 else 2)]
                images = [writer.add_image(Image.new("RGB", s, (k, n, 9)), f"{k}-{n}") for n, s in enumerate(sizes)]
                target = Target(image=2, box=(0.1, 0.1, 0.5, 0.5))
                writer.add(Sample(id=f"s{k}", task="t", images=tuple(images), question="Where?", targets=(target,)))

    return shared("endpoint-pairs", write)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mirg.engines.endpoint._FIRST_PAUSE", 0.01)
    monkeypatch.setenv("RIGHT_KEY", KEY)
    monkeypatch.delenv("NO_KEY", raising=False)


def commands(url: str, data: Path, tmp_path: Path, *more: object) -> dict[str, tuple[object, ...]]:
    asked = ("--endpoint", url, "--family", "qwen3-vl", *more)
    pictures = sorted((DatasetFolder.open(data).root / "images").glob("1-*"))
    return {
        "evaluate": ("evaluate", "m", data, "--out", tmp_path / "out", *asked),
        "ground": ("ground", *pictures, "--model", "m", "-q", "the red ring", *asked),
        "difficulty": ("data", "difficulty", data, tmp_path / "rated", "--model", "m", "-k", 2, *asked),
    }


class Case(NamedTuple):
    why: str
    server: dict[str, Any] | str  # settings of the server, or an address that is not its own
    options: tuple[str, ...]
    says: str
    hint: str


NO_VISION = "'m' does not accept images there: serve a vision-language model"
CASES = [
    Case("nobody listens", "http://127.0.0.1:9/v1", (), "does not answer: no connection", "the same command continues"),
    Case("no address", "127.0.0.1:8000/v1", (), "is not an http(s) address", "http://127.0.0.1:8000/v1"),
    Case("another path", "{url}/api", (), "HTTP 404: no such page", "the address ends with /v1"),
    Case("a web page", {"always": "HTML"}, (), "the reply is a web page", "ends with /v1"),
    Case("a wrong key", {"always": "401", "message": "wrong key", "echo_key": True}, ("--key-env", "RIGHT_KEY"),
         "HTTP 401: wrong key Bearer [key]", "check the key, and the name of its environment variable"),
    Case("no key", {"always": "401"}, (), "HTTP 401", "--key-env"),
    Case("a key that is not set", {}, ("--key-env", "NO_KEY"), "NO_KEY is not set", "export NO_KEY=…"),
    Case("a key for other models", {"always": "403", "message": "no access"}, ("--key-env", "RIGHT_KEY"),
         "HTTP 403: no access", "check that the key may use the model 'm'"),
    Case("no vision, vLLM", {"always": "400", "message": "At most 0 image(s) may be provided in one prompt."}, (),
         "At most 0 image(s)", NO_VISION),
    Case("no vision, SGLang", {"always": "400", "message": "m is not a multimodal model"}, (), "HTTP 400", NO_VISION),
    Case("no vision, llama.cpp", {"always": "500", "message": "image input is not supported"}, (), "500", NO_VISION),
    Case("no vision, OpenRouter", {"always": "404", "message": "No endpoints found that support image input"}, (),
         "HTTP 404", NO_VISION),
    Case("texts only", {"always": "422", "message": "content: Input should be a valid string"}, (), "422", NO_VISION),
    Case("no such model", {"always": "404", "message": "The model `m` does not exist."}, (),
         "The model `m` does not exist", "check that the endpoint has a model 'm'"),
    Case("no such model, LiteLLM", {"always": "400", "message": "Invalid model name passed in model=m"}, (),
         "Invalid model name", "check that the endpoint has a model 'm'"),
    Case("no switch, mirg serve", {"always": "400", "message": "the chat template has no switch for thinking"}, (),
         "no switch for thinking", "leave --thinking out"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.why.replace(" ", "_") for case in CASES])
def test_what_no_request_can_mend_ends_the_command_at_once(
    mirg: Mirg, api: FaultyApi, made: Path, tmp_path: Path, case: Case
) -> None:
    served = isinstance(case.server, dict)
    api.settings = Settings(default=RIGHT, **(case.server if isinstance(case.server, dict) else {}))
    url = api.url if isinstance(case.server, dict) else case.server.format(url=api.url)
    lines = commands(url, made, tmp_path, *case.options)
    turn = ("ground", "difficulty")[CASES.index(case) % 2]  # all commands have the same engine, and each takes time
    for name in ("evaluate", turn):
        before = api.counts.requests
        result = mirg(*lines[name])
        message, _, hint = result.stderr.partition("\nhint: ")
        assert result.exit_code == 2, (name, result.output)
        assert case.says in message.splitlines()[-1] and case.hint in hint, (name, result.stderr)
        assert KEY not in result.output and not (tmp_path / "rated").exists()
        assert api.counts.requests - before <= 40, "it gives up soon"
    if served and "NO_KEY" not in case.options and turn == "ground":
        api.settings = Settings(default=RIGHT)
        assert "joint Acc@0.5" in mirg(*lines["evaluate"]).stdout, "the same command continues"


LIMITS = [
    ("At most 2 image(s) may be provided in one prompt.", "check that 'm' accepts 4 images of this size"),
    ("This model's maximum context length is 512 tokens.", "start the server with a longer context"),
]


@pytest.mark.parametrize(("message", "hint"), LIMITS)
def test_samples_over_a_limit_of_the_server_are_listed_and_the_others_evaluated(
    mirg: Mirg, api: FaultyApi, made: Path, tmp_path: Path, message: str, hint: str
) -> None:
    def refused(body: dict[str, Any]) -> str | None:
        parts = body["messages"][0]["content"]
        return message if sum(part["type"] == "image_url" for part in parts) > 2 else None

    api.settings, api.refused = Settings(default=RIGHT), refused
    lines = commands(api.url, made, tmp_path)
    result = mirg(*lines["evaluate"])
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert result.exit_code == 0 and (summary["n"], summary["rejected"]) == (3, 3)
    assert [row["id"] for row in summary["rejections"]] == ["s1", "s3", "s5"]
    assert f"{message} ({hint}" in result.stderr and "3 samples could not be asked" in result.stderr
    before = api.counts.requests
    again = mirg(*lines["evaluate"])
    assert again.exit_code == 0 and api.counts.requests == before + 3, "only the refused ones are asked again"
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    shown = mirg(*lines["ground"])
    assert shown.exit_code == 2 and message in shown.stderr and hint in shown.stderr


def test_an_answer_that_is_cut_is_counted_with_the_advice(
    mirg: Mirg, api: FaultyApi, made: Path, tmp_path: Path
) -> None:
    api.settings, api.finish = Settings(default="<think>hm"), "length"
    lines = commands(api.url, made, tmp_path)
    result = mirg(*lines["evaluate"], "--max-new-tokens", 9)
    assert (
        result.exit_code == 0 and "6 completions were cut off after 9 tokens: raise --max-new-tokens" in result.stderr
    )
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["cut_off"] == 6
    assert mirg("report", tmp_path / "out").exit_code == 0
    assert "6 completions were cut off at the token limit" in (tmp_path / "out" / "report.html").read_text()
    assert "raise --max-new-tokens" in mirg(*lines["ground"]).stdout
    rated = mirg(*lines["difficulty"])
    assert rated.exit_code == 0 and "12 completions were cut off" in rated.stderr


def test_a_dataset_without_its_images(mirg: Mirg, api: FaultyApi, made: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(made, tmp_path / "data"))
    lines = commands(api.url, data, tmp_path)
    kept = data / "images"
    kept.rename(tmp_path / "elsewhere")
    api.settings = Settings(default=RIGHT)
    result = mirg(*lines["evaluate"])
    assert result.exit_code == 2 and "6 were rejected; first: sample s0: image" in result.stderr
    assert "put the images where samples.jsonl says" in result.stderr.partition("hint: ")[2]
    assert "does not exist" in mirg(*lines["ground"]).stderr
    rated = mirg(*lines["difficulty"])
    assert rated.exit_code == 2 and "none could be asked" in rated.stderr and api.counts.requests == 0
    (tmp_path / "elsewhere").rename(kept)
    assert mirg(*lines["evaluate"]).exit_code == 0

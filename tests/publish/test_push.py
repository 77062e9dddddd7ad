"""Pushing through the real client to a hub on this machine: what is listed, what is sent, what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.commands import invoke
from fakes.hub import TOKEN, Hub, Repo, serving_hub
from fakes.uneven import write_uneven
from mirg.errors import ConfigError, DataError, EndpointError
from mirg.publish.push import pack_parcel, send

REPO = "someone/model"
README = "---\nbase_model: Qwen/Qwen2.5-VL-7B-Instruct\nlicense: apache-2.0\n---\n# Model\n"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, and a client that talks to it; uploads go by LFS, since the fake hub does not speak Xet."""
    from huggingface_hub import constants

    with serving_hub() as made:
        monkeypatch.setattr(constants, "ENDPOINT", made.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A run folder with everything that a run leaves; its model is in two shards."""
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    for k in (1, 2):
        (folder / f"model-0000{k}-of-00002.safetensors").write_bytes(os.urandom(3000 * k))
    files = {"config.json": "{}", "model.safetensors.index.json": "{}", "tokenizer.json": "{}", "README.md": README}
    for name, text in files.items():
        (folder / name).write_text(text)
    (tmp_path / "run" / "rollouts.jsonl").write_text("{}")
    (tmp_path / "run" / "checkpoints" / "checkpoint-2").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "checkpoint-2" / "optimizer.pt").write_bytes(b"state")
    return folder


def test_a_run_sends_its_model(hub: Hub, model: Path) -> None:
    """What arrives is what was listed, byte for byte, in one commit of a private repository."""
    parcel = pack_parcel(model.parent, REPO)
    assert (parcel.kind, parcel.private, parcel.exists, parcel.endpoint) == ("model", True, False, hub.url)
    assert hub.repos == {} and not any("POST" in request for request in hub.requests), "nothing is sent by looking"
    assert send(parcel).startswith(hub.url)
    repo = hub.repos["model", REPO]
    assert repo.private and repo.commits == 1
    assert repo.files == {file.name: file.read_bytes() for file in model.iterdir()}
    assert dict(parcel.files) == {name: len(data) for name, data in repo.files.items()}
    again = pack_parcel(model, REPO)
    assert again.exists and again.private and again.files == parcel.files


def test_the_same_command_sends_only_what_is_missing(hub: Hub, model: Path) -> None:
    """The commit fails after the shards have arrived; the second call uploads none of them."""
    hub.faults["/commit/"] = 400
    with pytest.raises(EndpointError, match=r"the hub refuses someone/model \(400\)"):
        send(pack_parcel(model, REPO))
    uploads = [request for request in hub.requests if request.startswith("PUT")]
    assert len(uploads) == 2 and hub.repos["model", REPO].files == {}
    send(pack_parcel(model, REPO))
    assert [request for request in hub.requests if request.startswith("PUT")] == uploads
    assert len(hub.repos["model", REPO].files) == 6


def test_a_dataset(hub: Hub, tmp_path: Path) -> None:
    data = write_uneven(tmp_path / "data")
    send(pack_parcel(data.root, "someone/data", public=True))
    repo = hub.repos["dataset", "someone/data"]
    assert not repo.private
    assert repo.files["samples.jsonl"] == (data.root / "samples.jsonl").read_bytes()
    assert {name for name in repo.files if name.startswith("images/")} == {
        f"images/{file.name}" for file in (data.root / "images").iterdir()
    }


def link_out(model: Path) -> None:
    (model.parent / "secret.json").write_text("{}")
    (model / "vocab.json").symlink_to(model.parent / "secret.json")


def nest(name: str) -> Callable[[Path], None]:
    def make(model: Path) -> None:
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_bytes(b"x")

    return make


def text(name: str, words: str) -> Callable[[Path], None]:
    return lambda model: (model / name).write_text(words) and None


@pytest.mark.parametrize(
    ("add", "words"),
    [
        (nest("optimizer.pt"), "optimizer.pt: the state of an optimiser"),
        (nest("checkpoint-2/optimizer.bin"), "checkpoint-2/optimizer.bin: the state of an optimiser"),
        (nest("checkpoint-2/model.safetensors"), "checkpoint-2/model.safetensors: not a file of a model"),
        (nest("training_args.bin"), "training_args.bin: a pickle"),
        (nest("rng_state_0.pth"), "rng_state_0.pth: the state of training"),
        (nest("rollouts.jsonl"), "rollouts.jsonl: rollouts about your images"),
        (nest("photo.png"), "photo.png: not a file of a model"),
        (nest(".env"), ".env: a hidden file"),
        (nest(".git/config"), ".git/config: "),
        (link_out, "vocab.json: a link that leads out of the folder"),
        (lambda model: (model / "images").symlink_to(model.parent), "images: a link that leads out"),
        (text("mirg.json", f'{{"x": "{TOKEN}"}}'), "mirg.json: your token of the hub is in it"),
        (text("README.md", "x" * 2**20 + " sk-" + "a1B2" * 8), "README.md: something that looks like a key"),
        (text("tokenizer_config.json", "https://me:pass@host/x"), "tokenizer_config.json: something that looks like"),
        (text("mirg_manifest.json", '{"config.json": "00"}'), "config.json is damaged"),
    ],
)
def test_what_must_not_leave(add: Callable[[Path], object], words: str, hub: Hub, model: Path) -> None:
    add(model)
    with pytest.raises(DataError, match="must not leave this machine") as caught:
        pack_parcel(model, REPO)
    assert words in caught.value.message and TOKEN not in str(caught.value) and hub.repos == {}


def test_other_refusals(hub: Hub, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos["model", "someone/open"] = Repo(private=False)
    for folder, repo, kind, words in (
        (model, "no-owner", ConfigError, "'no-owner' is not the name of a repository"),
        (tmp_path / "run" / "checkpoints", REPO, ConfigError, "neither a model nor a dataset"),
        (tmp_path / "nowhere", REPO, ConfigError, "neither a model nor a dataset"),
        (model, "someone/open", EndpointError, "someone/open exists and is public"),
    ):
        with pytest.raises(kind, match=words):
            pack_parcel(folder, repo)
    assert not pack_parcel(model, "someone/open", public=True).private
    parcel = pack_parcel(model, REPO)
    (model / "config.json").write_text("{    }")
    with pytest.raises(DataError, match="has changed since it was listed"):
        send(parcel)
    (model / "README.md").write_text("---\nbase_model: /data/me/model\n---\n")
    with pytest.raises(EndpointError, match="was not sent: Invalid metadata in README.md"):
        send(pack_parcel(model, REPO))
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(EndpointError, match=r"refuses someone/model \(401\): Invalid credentials"):
        pack_parcel(model, REPO)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(EndpointError, match="there is no token"):
        pack_parcel(model, REPO)


def test_rows_that_refer_to_images_elsewhere(hub: Hub, tmp_path: Path) -> None:
    data = write_uneven(tmp_path / "data").root
    card = json.loads((data / "card.json").read_text())
    (data / "card.json").write_text(json.dumps(card | {"roots": {"photos": "/data/me/photos"}}))
    with pytest.raises(DataError, match="rows refer to images outside of the folder"):
        pack_parcel(data, "someone/data")


def test_the_command_lists_before_it_sends(hub: Hub, model: Path) -> None:
    """Without --yes and a terminal nothing is sent; the token is nowhere in what is printed."""
    base = {"base_model_name_or_path": str(model.parent), "peft_type": "LORA"}
    (model / "adapter_config.json").write_text(json.dumps(base))
    asked = invoke("push", model, REPO)
    assert asked.exit_code == 2 and "nothing was sent" in asked.stderr and hub.repos == {}
    assert "model-00001-of-00002.safetensors" in asked.stdout and "3,000" in asked.stdout
    assert f"to the private repository {REPO} (which is created) at {hub.url}" in asked.stdout
    assert "the adapters refer to a folder of this machine" in asked.stderr
    sent = invoke("push", model, REPO, "--yes", "--public")
    assert sent.exit_code == 0 and "PUBLIC repository" in sent.stdout and f"sent: {hub.url}" in sent.stdout
    assert not hub.repos["model", REPO].private
    assert TOKEN not in "".join((asked.stdout, asked.stderr, sent.stdout, sent.stderr))


@pytest.mark.slow
def test_in_another_process(model: Path) -> None:
    """Nothing is patched; only the environment variables of huggingface_hub are set."""
    with serving_hub() as hub:
        settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-m", "mirg.cli.main", "push", str(model), REPO, "--yes"]
        done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert hub.repos["model", REPO].files.keys() == {file.name for file in model.iterdir()}
        assert TOKEN not in done.stdout + done.stderr

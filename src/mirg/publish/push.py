"""Pushing a model or a dataset to the Hugging Face Hub, or to a server with the same interface (``HF_ENDPOINT``).

What would be sent is listed first, as a :class:`Parcel`. Only files that a model or a dataset consists of are sent: the
state of an optimiser, checkpoints, rollouts, and everything unknown are refused, and so are secrets and links that lead
out of the folder. The token is the one that huggingface_hub finds; it is never printed, and never sent as content.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from mirg.errors import ConfigError, DataError, EndpointError, MirgError
from mirg.models.load import model_facts, resolve_model
from mirg.models.merge import SETTINGS
from mirg.publish.card import front_matter, hub_name
from mirg.samples import REJECTED_FILE, DatasetFolder
from mirg.samples.card import CARD_FILE, IMAGES_FOLDER, README_FILE, SAMPLES_FILE
from mirg.storage import CHUNK_BYTES, SEAL_FILE, read_json, seal_problems

Kind = Literal["model", "dataset"]
PARTS: dict[Kind, tuple[str, ...]] = {
    "model": (
        *("*.safetensors", "*.safetensors.index.json", "adapter_config.json", "mirg.json", SEAL_FILE, README_FILE),
        *SETTINGS,
    ),
    "dataset": (SAMPLES_FILE, CARD_FILE, README_FILE, REJECTED_FILE, f"{IMAGES_FOLDER}/*", "LICENSE*"),
}
_BINARY = re.compile(r"\.(?:safetensors|png|jpe?g|webp|bmp|gif|tiff?|model)\Z", re.IGNORECASE)
# Keys in the forms that services issue, private keys, and passwords in addresses.
_SECRET = re.compile(
    rb"\bhf_[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{20,}|\bgh[pousr]_[A-Za-z0-9]{36}|\bAKIA[0-9A-Z]{16}\b"
    rb"|\bxox[abp]-[A-Za-z0-9-]{20,}|\bAIza[A-Za-z0-9_-]{35}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    rb"|\bBearer [A-Za-z0-9._-]{20,}|https?://[^/\s:@]{1,99}:[^/\s:@]{1,99}@"
)
_OVERLAP = 256  # bytes: longer than any match
_WHY = {  # why a file is not part of a model, by pattern
    "optimizer*": "the state of an optimiser",
    "scheduler*": "the state of training",
    "rng_state*": "the state of training",
    "trainer_state.json": "the state of training",
    "training_args.bin": "a pickle, which can run code",
    "*.bin": "a pickle, which can run code",
    "*.pt": "a pickle, which can run code",
    "*.pth": "a pickle, which can run code",
    "rollouts*": "rollouts about your images",
    ".*": "a hidden file",
}


@dataclass(frozen=True)
class Parcel:
    """What would be sent where: ``files`` are paths relative to ``folder`` with their sizes in bytes."""

    folder: Path
    kind: Kind
    repo: str
    private: bool
    exists: bool  # on the hub; its files of other names stay
    endpoint: str
    files: tuple[tuple[str, int], ...]
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(size for _, size in self.files)


def pack_parcel(folder: str | Path, repo: str, *, public: bool = False) -> Parcel:
    """What pushing ``folder``, a model, a run or a dataset, to ``repo`` (OWNER/NAME) would send. Nothing is sent.

    Raises:
        ConfigError: The folder is neither a model nor a dataset, or ``repo`` is no name of a repository.
        DataError: A file must not be sent: the message lists all of them with the reason.
        EndpointError: The hub cannot be reached, there is no token, or the repository is public and ``public`` is not.
    """
    if not hub_name(repo):
        raise ConfigError(f"{repo!r} is not the name of a repository", hint="write it as OWNER/NAME")
    root, kind = _root(Path(folder))
    files = list(_files(root))
    if problems := list(_problems(root, kind, files)):
        raise DataError(
            f"{root} is not sent: {len(problems)} of its files must not leave this machine:\n"
            + "\n".join(problems[:20]),
            hint="move them out of the folder, and push again",
        )
    exists, private = _on_the_hub(repo, kind, public)
    sizes = tuple((name, (root / name).stat().st_size) for name in files)
    return Parcel(root, kind, repo, private, exists, _api().endpoint, sizes, tuple(_notes(root, kind)))


def send(parcel: Parcel) -> str:
    """Send a parcel in one commit and return its address; what an interrupted call has uploaded is not sent again.

    EndpointError if the hub refuses. DataError if a file has changed since the parcel was made.
    """
    from huggingface_hub import CommitOperationAdd

    for name, size in parcel.files:
        if not (parcel.folder / name).is_file() or (parcel.folder / name).stat().st_size != size:
            raise DataError(f"{parcel.folder / name} has changed since it was listed", hint="push again")
    api = _api()
    with hub_refusals(parcel.repo):
        api.create_repo(parcel.repo, repo_type=parcel.kind, private=parcel.private, exist_ok=True)
        added = [CommitOperationAdd(name, parcel.folder / name) for name, _ in parcel.files]
        made: Any = api.create_commit(
            parcel.repo, added, commit_message=f"mirg push: {parcel.kind}", repo_type=parcel.kind
        )
    return str(made.commit_url)


def _root(folder: Path) -> tuple[Path, Kind]:
    """The folder that is sent and what it is; of a run folder, only its model is sent."""
    if (folder / SAMPLES_FILE).is_file():
        return DatasetFolder.open(folder).root, "dataset"
    try:
        root = Path(resolve_model(str(folder)))
    except MirgError as error:
        raise ConfigError(
            f"{folder} is neither a model nor a dataset", hint="give a run, a model folder or a dataset folder"
        ) from error
    if not root.is_dir():
        raise ConfigError(f"{folder} is not a folder", hint="give a run, a model folder or a dataset folder")
    return root, "model"


def _files(root: Path) -> Iterator[str]:
    """The files below ``root``, links included, in order; links to folders are not followed."""
    for place, folders, names in os.walk(root):
        folders.sort()
        linked = [name for name in folders if (Path(place) / name).is_symlink()]
        yield from sorted((Path(place) / name).relative_to(root).as_posix() for name in [*names, *linked])


def _problems(root: Path, kind: Kind, files: list[str]) -> Iterator[str]:
    """A line for each file that must not be sent, and why."""
    if (root / SEAL_FILE).is_file():
        yield from seal_problems(root)
    token = (_token() or "").encode()
    for name in files:
        path = root / name
        if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
            yield f"{name}: a link that leads out of the folder"
        elif not _belongs(name, kind):
            why = next((why for part, why in _WHY.items() if fnmatch(path.name, part)), f"not a file of a {kind}")
            yield f"{name}: {why}"
        elif not path.is_file():
            yield f"{name}: not a file"
        elif not _BINARY.search(name) and (found := _secret_in(path, token)):
            yield f"{name}: {found}"
    if kind == "dataset" and (roots := DatasetFolder.open(root).card.roots):
        yield f"{SAMPLES_FILE}: rows refer to images outside of the folder ({', '.join(roots)}); filter it with --copy"


def _belongs(name: str, kind: Kind) -> bool:
    """Whether a file, by its path in the folder, is part of a model or dataset; models have no folders in them."""
    parts = Path(name).parts
    hidden, nested = any(part.startswith(".") for part in parts), kind == "model" and len(parts) > 1
    return not hidden and not nested and any(fnmatch(name, pattern) for pattern in PARTS[kind])


def _secret_in(path: Path, token: bytes) -> str:
    """What looks like a secret in a text file, without showing it; "" if nothing does."""
    last = b""
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            window = last + chunk
            if token and token in window:
                return "your token of the hub is in it"
            if _SECRET.search(window):
                return "something that looks like a key or a password is in it"
            last = window[-_OVERLAP:]
    return ""


def _notes(root: Path, kind: Kind) -> Iterator[str]:
    """What the recipient will miss."""
    if not (root / README_FILE).is_file():
        yield f"there is no {README_FILE}, so the page of the repository will be empty"
    elif kind == "model" and not front_matter(root / README_FILE).get("license"):
        yield f"{README_FILE} names no licence"
    if any(Path(str(value)).is_absolute() for value in model_facts(str(root)).values()):
        yield "mirg.json names folders of this machine"
    if (root / "adapter_config.json").is_file():
        settings: Any = read_json(root / "adapter_config.json")
        base = str(settings.get("base_model_name_or_path"))
        if Path(base).is_dir():
            yield f"the adapters refer to a folder of this machine ({base}); `mirg merge` makes a model that needs none"


# The hub.


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(library_name="mirg")


def _token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def _on_the_hub(repo: str, kind: Kind, public: bool) -> tuple[bool, bool]:
    """(whether the repository exists, whether it is or will be private)."""
    from huggingface_hub.errors import RepositoryNotFoundError

    if not _token():
        raise EndpointError("there is no token for the hub", hint="`hf auth login` stores one, or set HF_TOKEN")
    with hub_refusals(repo):
        try:
            private = bool(_api().repo_info(repo, repo_type=kind).private)
        except RepositoryNotFoundError:
            return False, not public
    if not private and not public:
        raise EndpointError(f"{repo} exists and is public", hint="--public sends to it; or choose another name")
    return True, private


@contextmanager
def hub_refusals(repo: str) -> Iterator[None]:
    """Raise what goes wrong between this machine and a hub as an EndpointError without the token."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    hints: dict[int, str] = {
        401: "the token is not valid: `hf auth login` stores another one",
        403: "the token may not write there: make one with the right to write, or choose another owner",
        429: "the hub asks to wait: push again later",
    }
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise EndpointError("the hub is switched off by HF_HUB_OFFLINE", hint="unset it, and push again") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        words = _hidden(error.server_message or str(error).splitlines()[0])
        hint = hints.get(status, "push again: what has arrived is not sent again")
        raise EndpointError(f"the hub refuses {repo} ({status}): {words}", hint=hint) from error
    except (httpx.HTTPError, OSError, ValueError, RuntimeError) as error:
        words = _hidden(str(error) or type(error).__name__)
        raise EndpointError(f"{repo} was not sent: {words}", hint="push again: what has arrived is kept") from error


def _hidden(words: str) -> str:
    token = _token()
    return words.replace(token, "***") if token else words

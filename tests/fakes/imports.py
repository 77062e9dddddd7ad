"""An import in a separate process that counts the image files it looks at, and can be killed at a chosen moment."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from PIL import Image

from mirg.data.importers import look
from mirg.data.importers.raw import ImportOptions
from mirg.data.importers.run import import_dataset
from mirg.errors import MirgError


def conversation(number: int, images: list[str], box: str = "(100,100),(500,600)", **fields: Any) -> dict[str, Any]:
    """A row in MGrounding-630k's shape: one question about the last image."""
    asked = "<image>\n" * len(images) + f"Where is the lamp in Image-{len(images)}?"
    said = [{"from": "human", "value": asked}, {"from": "gpt", "value": f"<|box_start|>{box}<|box_end|>"}]
    return {"id": f"row-{number}", "images": images, "conversations": said, "type": "common_train", **fields}


def write_case(folder: Path, rows: int = 12, images: int = 3) -> Path:
    """``rows.json`` with as many rows, each about its own images below ``photos/``; returns the file."""
    draw = random.Random(0)
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(rows):
        names = [f"photos/{number}-{k}.png" for k in range(images)]
        for name in names:
            Image.new("RGB", (draw.randint(20, 40), draw.randint(20, 40))).save(folder / name)
        made.append(conversation(number, names))
    (folder / "rows.json").write_text(json.dumps(made), encoding="utf-8")
    return folder / "rows.json"


def run_import(
    rows: Path, out: Path, moment: str = "", *, kind: str = "mgrounding", look: str = "hash"
) -> dict[str, Any]:
    """Import in a separate process: its exit code (-9: killed), its error, and the images it looked at.

    ``moment`` kills it: "look N" as it looks at the N-th image, "rename N" before its N-th rename, "renamed N" after.
    """
    counted, told = out.parent / f"{out.name}.looks", out.parent / f"{out.name}.error"
    for file in (counted, told):
        file.write_text("")
    # Forked: a fresh interpreter takes a second to start, and there are dozens of moments.
    process = get_context("fork").Process(target=_work, args=(rows, out, moment, kind, look, counted, told))
    process.start()
    process.join()
    return {"code": process.exitcode, "error": told.read_text(), "looks": counted.read_text().splitlines()}


def _die_at(wanted: int) -> Callable[[], None]:
    left = wanted

    def step() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return step


def _work(rows: Path, out: Path, moment: str, kind: str, how: Any, counted: Path, told: Path) -> None:
    _install(counted, moment)
    try:
        import_dataset(kind, rows, out, ImportOptions(root=str(rows.parent), look=how), overwrite=True)
    except MirgError as error:
        told.write_text(str(error))
        raise SystemExit(2) from error


def _install(counted: Path, moment: str) -> None:
    kind, _, number = moment.partition(" ")
    tick = _die_at(int(number or 0))
    real_look = look.image_header

    def counting(path: Path, **settings: Any) -> Any:
        with counted.open("a") as file:
            file.write(f"{path.name}\n")
        if kind == "look":
            tick()
        return real_look(path, **settings)

    def ticking(real: Callable[[Path, Any], Path]) -> Callable[[Path, Any], Path]:
        def move(self: Path, target: Any) -> Path:
            counts = Path(target).suffix != ".tmp"  # the work folder gets its name before there is anything in it
            if kind == "rename" and counts:
                tick()
            moved = real(self, target)
            if kind == "renamed" and counts:
                tick()
            return moved

        return move

    look.image_header = counting
    if kind.startswith("rename"):
        Path.replace, Path.rename = ticking(Path.replace), ticking(Path.rename)  # type: ignore[method-assign]

"""Compare what two versions of the code write: ``python tools/same_output.py COMMIT`` before a refactoring is merged.

    python tools/same_output.py HEAD~5                 datasets, exports, imports, checks and scores
    python tools/same_output.py v0.3 --demo            also the demo (seed 0): a few minutes for each version
    python tools/same_output.py v0.3 --only compose    the commands whose name contains a text

Every command of :data:`COMMANDS` runs with the code of COMMIT and with the code of the working tree, in folders of the
same names, and the two folders are compared byte by byte. Text that may differ is replaced first: times, durations, the
version of mirg and the paths of the two folders. A command that no longer exists is reported as missing. The exit code
is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULE = [sys.executable, "-c", "from mirg.cli.main import app; app()"]
# Name, and the arguments; a later command reads what an earlier one wrote. Paths are relative to the work folder.
TAUGHT = "taught-again"  # the dataset with trajectories
BELOW = "--root . --family qwen3-vl"
COMMANDS: dict[str, str] = {
    "scenes": "data scenes scenes --n 60",
    "scenes-hard": "data scenes hard --n 40 --difficulty hard --seed 3",
    "scenes-taught": "data scenes taught --n 30 --world tiny/world --split rl --seed 1",
    "import-coco": "data import coco pictures/instances.json coco --copy",
    "import-photos": "data import photos pictures/images photographs",
    "photos": "data photos pictures/images photos --n 30",
    "compose": "data compose compose/objects composed -s source=coco",
    "check": "data check scenes --json --family qwen2.5-vl",
    "check-composed": "data check composed --json",
    "show": "data show scenes --out shown.html",
    "split": "data split scenes split --seed 2",
    "mix": "data mix scenes=2 hard=1 mixed --seed 1",
    "filter": "data filter hard filtered --min-size 0.01 --limit 20",
    "trajectories": "trajectories build scenes taught-again",
    "trajectories-check": "trajectories check taught-again --json",
    **{
        f"export-{to}-{family}": f"data export {TAUGHT} export-{to}-{family} --to {to} --family {family}"
        for to in ("llamafactory", "ms-swift", "trl", "verl", "easyr1", "parquet")
        for family in ("qwen2.5-vl", "qwen3-vl")
    },
    "export-coco": "data export coco export-coco --to coco",
    "import-sharegpt": f"data import sharegpt export-llamafactory-qwen3-vl/sft.json again-sharegpt {BELOW}",
    "import-ms-swift": f"data import ms-swift export-ms-swift-qwen3-vl/sft.jsonl again-swift {BELOW}",
    "export-json": f"data export {TAUGHT} json --to llamafactory --family qwen2.5-vl --style json",
    "evaluate": "evaluate mirg-tiny scenes --out evaluation --limit 8 --max-new-tokens 64",
    "report": "report evaluation",
    "kinds": "data kinds",
}
DEMO = "demo --out demo"
VARIES = [
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(\+\d\d:\d\d|Z)?", "TIME"),
    (
        r'"(seconds|made|created|took|wall\w*|\w+_seconds|\w+_per_second|mirg|version|peak\w*)": ("[^"]*"|[-\d.e]+)',
        "VARIES",
    ),
    (r"\b\d+(\.\d+)? (s|ms|min)\b", "DURATION"),
]


def main() -> int:
    """Run the commands with both versions and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="a commit, branch or tag")
    parser.add_argument("--only", default="", help="commands whose name contains this, and those before them")
    parser.add_argument("--demo", action="store_true", help="also the whole demo")
    parser.add_argument("--work", type=Path, default=None, help="a folder to keep; a temporary one by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = (arguments.work or Path(temporary)).resolve()
        tree = work / "base"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--force", "--detach", str(tree), arguments.base], check=True)
        try:
            chosen = COMMANDS | ({"demo": DEMO} if arguments.demo else {})
            found = [*compare(chosen, tree, ROOT, work, arguments.only)]
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)
    for line in found:
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"{len(found)} differences\n")
    return int(bool(found))


def compare(commands: dict[str, str], old: Path, new: Path, work: Path, only: str) -> Iterator[str]:
    """Yield a line for each file or output that differs between the code of two trees."""
    for folder in (work / "old", work / "new"):
        folder.mkdir(parents=True, exist_ok=True)
        make = ["examples/make_coco.py", str(folder / "pictures"), "--count", "24"]
        subprocess.run([sys.executable, *make], cwd=old, env=_environment(old), check=True, stdout=subprocess.DEVNULL)
    for name, arguments in commands.items():
        if only not in name:
            continue
        texts = [_run(arguments, tree, work / side) for side, tree in (("old", old), ("new", new))]
        sys.stderr.write(f"{name}: exit {texts[0].splitlines()[0]}\n")
        yield from _lines(name, *texts)
    yield from _folders(work / "old", work / "new")


def _environment(tree: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(tree / "src"), "COLUMNS": "120", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}


def _run(arguments: str, tree: Path, folder: Path) -> str:
    command = [*MODULE, *arguments.split()]
    done = subprocess.run(command, cwd=folder, env=_environment(tree), capture_output=True, text=True)
    return _plain(f"{done.returncode}\n{done.stdout}\n{done.stderr}", folder)


def _plain(text: str, folder: Path) -> str:
    text = text.replace(str(folder), "FOLDER")
    for pattern, word in VARIES:
        text = re.sub(pattern, word, text)
    return text


def _folders(old: Path, new: Path) -> Iterator[str]:
    names = sorted({path.relative_to(side) for side in (old, new) for path in side.rglob("*") if path.is_file()})
    for name in names:
        one, two = old / name, new / name
        if not (one.is_file() and two.is_file()):
            yield f"{name}: only written by the {'old' if one.is_file() else 'new'} code"
        elif (a := one.read_bytes()) != (b := two.read_bytes()):
            try:
                yield from _lines(str(name), _plain(a.decode(), old), _plain(b.decode(), new))
            except UnicodeDecodeError:
                yield f"{name}: the bytes differ"


def _lines(name: str, old: str, new: str) -> Iterator[str]:
    if old == new:
        return
    changed = [line for line in difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")][2:]
    yield f"{name}: {len(changed)} lines, the first: " + " / ".join(line[:150] for line in changed[:3])


if __name__ == "__main__":
    sys.exit(main())

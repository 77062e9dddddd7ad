"""Import and check of a file like MGrounding-630k: rows per second and peak memory, against datasets' own reader.

The rows are written on the spot (``data_rows.py``). Every step runs in a fresh process; its processor time and resident
memory, with those of its workers, are the system's. The alternative is ``datasets.load_dataset("json")`` and a ``map``
that makes the same lines out of every row. Only the last step reads images: the headers of JPEG files.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data_rows import write_rows

HERE = Path(__file__).resolve().parent
MIRG = [sys.executable, "-m", "mirg.cli.main"]
PAGE = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=630_000)
    parser.add_argument("--repeat", type=int, default=1, help="how often import and alternative take turns")
    parser.add_argument("--compared", type=int, default=60_000, help="rows of the comparison")
    parser.add_argument("--images", type=int, default=4_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="4,000 rows, 400 images")
    parser.add_argument("--json", type=Path, default=None)
    told = parser.parse_args()
    if told.quick:
        told.rows, told.compared, told.images = 4_000, 4_000, 400
    folder = Path(tempfile.mkdtemp(prefix="data-scale-"))
    try:
        result = measured(folder, told)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = json.dumps(result, indent=2)
    print(text)
    if told.json:
        told.json.write_text(text + "\n", encoding="utf-8")


def measured(folder: Path, told: argparse.Namespace) -> dict[str, Any]:
    """All steps; ``ours`` and ``theirs`` are processor seconds, which other work on the machine changes least."""
    small = folder / "compared.json"
    write_rows(small, told.compared, seed=1)
    pairs = []
    for turn in range(told.repeat):
        mine = import_(small, folder / f"ours-{turn}", "local")
        theirs = step([sys.executable, str(HERE / "data_scale_theirs.py"), str(small), str(folder / f"cache-{turn}")])
        pairs.append((mine, theirs))
    same = lines(folder / "ours-0" / "samples.jsonl") == pairs[0][1].pop("lines")
    for _, theirs in pairs[1:]:
        theirs.pop("lines")
    ours, alternative = (statistics.median(pair[k]["cpu_seconds"] for pair in pairs) for k in (0, 1))
    ratios = sorted(theirs["cpu_seconds"] / mine["cpu_seconds"] for mine, theirs in pairs)
    whole = folder / "rows.json"
    size = write_rows(whole, told.rows)
    tell(f"{told.rows:,} rows, {size / 1e9:.2f} GB")
    steps = {"import": import_(whole, folder / "data", "processes", told.workers)}
    whole.unlink()
    spread = ["--executor", "processes", "--workers", str(told.workers)]
    steps["check"] = step([*MIRG, "data", "check", str(folder / "data"), "--look", "none", "--json", *spread])
    for name, found in steps.items():
        found["rows_per_second"] = told.rows / found["seconds"]
        tell(f"{name}: {found}")
    report = {
        "ratio": alternative / ours, "unit": "processor seconds of an import, datasets / mirg", "ours": ours,
        "theirs": alternative, "n": told.repeat, "spread": [ratios[0], ratios[-1]],
        "compared": {"rows": told.compared, "same_lines": same, "ours": pairs[0][0], "theirs": pairs[0][1]},
        "whole": {
            "rows": told.rows, "bytes": size, "samples": lines(folder / "data" / "samples.jsonl"),
            "seconds": sum(found["seconds"] for found in steps.values()),
            "rss_mib": max(found["rss_mib"] for found in steps.values()),
        } | steps,
        "headers": headers(folder, told.images),
    }  # fmt: skip
    return report | {
        "settings": {name: value for name, value in vars(told).items() if name != "json"},
        "alternative": "datasets.load_dataset('json') and map, one process",
        "versions": {name: version(name) for name in ("mirg", "datasets", "pyarrow", "pydantic", "pillow")}
        | {"python": platform.python_version(), "device": f"cpu, {os.cpu_count()} cores", "commit": commit()},
        "command": "python benchmarks/data_scale.py " + " ".join(arg for arg in sys.argv[1:] if "/" not in arg),
    }


def import_(path: Path, out: Path, executor: str, workers: int = 1, **options: str) -> dict[str, Any]:
    """``mirg data import`` without a look at the images, unless ``options`` say another."""
    told = {"root": str(path.parent), "look": "none", "executor": executor, "workers": str(workers)} | options
    return step(
        [*MIRG, "data", "import", "mgrounding", str(path), str(out), "--json"]
        + [part for name, value in told.items() for part in (f"--{name}", value)]
    )


def headers(folder: Path, count: int) -> dict[str, Any]:
    """Images per second and core of an import that reads the headers, less the time of one that does not."""
    from PIL import Image

    place = folder / "photos"
    place.mkdir()
    draw = random.Random(0)
    rows = []
    for number in range(count):
        width, height = draw.choice(((1024, 768), (640, 480), (768, 1024)))
        noise = Image.frombytes("RGB", (width // 16, height // 16), draw.randbytes(3 * (width // 16) * (height // 16)))
        noise.resize((width, height)).save(place / f"{number:05d}.jpg", quality=85)
        said = [{"from": "human", "value": "<image>\nWhere is the lamp?"}]
        said.append({"from": "gpt", "value": "<|box_start|>(1,1),(500,500)<|box_end|>"})
        rows.append(
            {"id": str(number), "images": [f"photos/{number:05d}.jpg"], "conversations": said, "type": "refer_train"}
        )
    path = folder / "photos.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    import_(path, folder / "warm", "local", look="header")  # the files come into memory
    found = {look: import_(path, folder / f"h-{look}", "local", look=look) for look in ("none", "header", "hash")}
    rates = {
        f"{look}_{clock}": count / max(1e-9, found[look][clock] - found["none"][clock])
        for look in ("header", "hash")
        for clock in ("seconds", "cpu_seconds")
    }
    return {"images": count, "bytes": sum(p.stat().st_size for p in place.iterdir())} | {
        f"images_per_{name}": rate for name, rate in rates.items()
    }


def step(command: list[str]) -> dict[str, Any]:
    """Run a command; seconds, processor seconds and the largest sum of resident memory, its children included."""
    before = os.times()
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=HERE.parent)
    peak = [0]
    watcher = threading.Thread(target=watch, args=(process.pid, peak), daemon=True)
    watcher.start()
    out, err = process.communicate()
    seconds = time.perf_counter() - start
    watcher.join()
    after = os.times()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{err[-3000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    found = {"seconds": seconds, "cpu_seconds": cpu, "rss_mib": peak[0] / 2**20}
    said = json.loads(out) if out.startswith("{") else {}
    return found | {name: said[name] for name in ("samples", "lines") if isinstance(said.get(name), int)}


def watch(pid: int, peak: list[int]) -> None:
    """Keep the largest sum of resident bytes of a process and all below it; pages they share count for each."""
    while Path(f"/proc/{pid}/statm").exists():
        total = sum(resident(one) for one in family_of(pid))
        peak[0] = max(peak[0], total)
        if total == 0:
            return
        time.sleep(0.1)


def resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0  # it has ended


def family_of(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for one in found:
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue  # it has ended
    return found


def lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def tell(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=HERE)
    return done.stdout.strip()


if __name__ == "__main__":
    main()

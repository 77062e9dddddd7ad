"""Keep what a GPU measured: python tools/keep_gpu_proof.py FOLDER [FOLDER ...]

Merges the JSON files that tools/gpu_proof.py wrote into docs/results/gpu_proof.json, and renders the table of
docs/how-to/train-7b.md and the sentence of the README between their marks. A part that failed replaces nothing that
was measured before. Without a folder, the pages are rendered again from what is kept.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path("docs/results/gpu_proof.json")
PAGE, TABLE = Path("docs/how-to/train-7b.md"), ("<!-- gpu proof -->\n", "<!-- end of gpu proof -->")
README, SENTENCE = Path("README.md"), ("<!-- gpu line -->\n", "<!-- end of gpu line -->")
NOTHING = "The 7B recipes have not been run on a GPU yet; they follow from the arithmetic of memory."

Row = tuple[str, str, str]  # what was measured, the value, the goal and whether it was reached


def main(folders: list[Path], root: Path = ROOT) -> None:
    """Merge the results of ``folders`` and write the three files below ``root``."""
    kept = json.loads((root / RESULTS).read_text()) if (root / RESULTS).is_file() else {"parts": {}}
    for folder in folders:
        for file in sorted(folder.glob("*.json")):
            merge(kept["parts"], json.loads(file.read_text()))
    if kept["parts"]:
        (root / RESULTS).write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    rewrite(root / PAGE, TABLE, table(kept["parts"]))
    rewrite(root / README, SENTENCE, sentence(kept["parts"]))


def merge(parts: dict[str, Any], found: dict[str, Any]) -> None:
    """Take in one part. SystemExit for a rehearsal, whose numbers mean nothing."""
    if found.get("rehearsal"):
        raise SystemExit(f"{found['part']} is a rehearsal: its numbers mean nothing")
    before = parts.get(found["part"])
    if before is None or "error" not in found or "error" in before:
        parts[found["part"]] = found


def rewrite(file: Path, marks: tuple[str, str], text: str) -> None:
    """Put ``text`` between the marks of ``file``."""
    pattern = re.compile(re.escape(marks[0]) + ".*?" + re.escape(marks[1]), re.DOTALL)
    old = file.read_text()
    if not pattern.search(old):
        raise SystemExit(f"{file} has no line {marks[0].strip()}")
    file.write_text(pattern.sub(lambda _: marks[0] + text + marks[1], old))


def sentence(parts: dict[str, Any]) -> str:
    """The README's line about what has been run."""
    done = [name for name, part in parts.items() if "error" not in part]
    if not done:
        return NOTHING + "\n"
    devices = sorted({parts[name]["versions"]["device"] for name in done})
    stages = [
        f"{words} ({_number(parts[name]['memory']['measured_peak_mib'] / 1024)} GiB at its peak)"
        for name, words in (("sft7b", "SFT"), ("grpo7b", "image-aware GRPO"))
        if name in done and "memory" in parts[name]
    ]
    ratios = [
        f"{words} {_number(parts[name]['bfloat16']['ratio'])} times as fast as TRL's"
        for name, words in (("update7b", "a packed update at 7B"), ("step3b", "a whole step at 3B"))
        if name in done
    ]
    ran = f"with random weights of their exact shapes, on {' and '.join(devices)}"
    first = f"The 7B recipes have run {ran}: {' and '.join(stages)}. " if stages else f"Measured {ran}. "
    return first + (f"There, {', '.join(ratios)}. " if ratios else "") + "[All figures](docs/how-to/train-7b.md).\n"


def table(parts: dict[str, Any]) -> str:
    """What each part found, with the goals; the error of a part that failed."""
    if not parts:
        return NOTHING + "\n"
    lines = ["| part | measured | value | goal |", "|---|---|---|---|"]
    for name, rows in ROWS.items():
        if name not in parts:
            continue
        part = parts[name]
        if "error" in part:
            lines.append(f"| `{name}` | failed | {_last_line(part['error'])} | |")
        lines += [f"| `{name}` | {what} | {value} | {goal} |" for what, value, goal in _safely(rows, part)]
    where = sorted({(p["date"], p["versions"]["device"], p["versions"]["commit"][:10]) for p in parts.values()})
    lines += ["", *(f"Run on {date} on {device}, commit `{commit}`." for date, device, commit in where)]
    return "\n".join(lines) + "\n"


def _safely(rows: Callable[[dict[str, Any]], list[Row]], part: dict[str, Any]) -> list[Row]:
    """The rows of a part; of one that was cut off, those that are there."""
    try:
        return rows(part)
    except KeyError as error:
        return [("not measured", f"the part ended before {error.args[0]} was known", "")]


def _last_line(error: str | list[str]) -> str:
    return (error if isinstance(error, str) else error[-1]).replace("|", "\\|")[:200]


def _number(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _goal(text: str, reached: bool | None) -> str:
    return text + {True: ": reached", False: ": not reached", None: ""}[reached]


def _machine(part: dict[str, Any]) -> list[Row]:
    return [
        ("GPU, driver, memory, clock, power limit", part["nvidia_smi"], ""),
        ("matrix products, TFLOP/s", f"{_number(part['matmul']['tflops'])} ({part['matmul']['dtype']})", ""),
        ("copies, GB/s read and written", _number(part["copy"]["gigabytes_per_second"]), ""),
    ]


def _training(part: dict[str, Any]) -> list[Row]:
    memory, seconds, update = part["memory"], part["seconds"], part["update"]
    rates = [f"{_number(rate)} {kind}" for kind, rate in part["tokens_per_second"].items() if rate]
    rows = [
        ("recipe", f"`{part['recipe']}`, {part['shape']}, {' '.join(part['overrides'])}", ""),
        (
            "peak memory, GiB (estimate of `--dry-run`)",
            f"{_number(memory['measured_peak_mib'] / 1024)} ({_number(part['estimate']['peak_mib'] / 1024)})",
            _goal(f"within {memory['goal']:.0%}", memory["reached"]),
        ),
        (
            "seconds a step: rollout, update, rest",
            ", ".join(_number(seconds[name]) for name in ("rollout", "update", "rest")),
            "",
        ),
        ("tokens a second", ", ".join(rates), ""),
        (
            "model FLOPs utilisation of the update",
            f"{update['utilisation']:.0%} of {_number(update['ceiling_flops_per_second'] / 1e12)} TFLOP/s",
            _goal(f"at least {update['goal']:.0%}", update["reached"]),
        ),
        ("losses and gradients", "finite" if part["finite"] else "NOT finite", _goal("finite", part["finite"])),
    ]
    if "model" in part:
        left = part["model"]
        good = left["finite"] and left["again_from_checkpoint_equal"]
        words = "loads, equal from its checkpoint" if good else json.dumps(left)
        rows.append(("model of the run", words, _goal("reloadable", good)))
    return rows


def _both_stages(part: dict[str, Any]) -> list[Row]:
    return [
        (f"{stage}: {what}", value, goal)
        for stage in ("sft", "grpo")
        if stage in part
        for what, value, goal in _training(part[stage])
    ]


def _update(part: dict[str, Any]) -> list[Row]:
    found = part["bfloat16"]
    speed, attention = found["speed"]["ours"], found["attention"]
    rows = [
        _ratio(found, 4.0),
        ("peak memory of TRL's", _number(found["peak_mib"]["ratio"]), "") if found["peak_mib"] else None,
        ("relative difference of gradients, bfloat16", f"{found['gradient_difference']:.1e}", ""),
        ("model FLOPs utilisation", f"{speed['utilisation']:.0%}", ""),
        (
            "attention of a layer, packed against dense mask, ms",
            ", ".join(_number(1e3 * attention["seconds"][name]) for name in ("packed", "dense")),
            "",
        ),
    ]
    if "float32_two_layers" in part:
        difference = part["float32_two_layers"]["gradient_difference"]
        rows.append(("the same, two layers in float32", f"{difference:.1e}", _goal("at most 1e-5", difference <= 1e-5)))
    return [row for row in rows if row]


def _ratio(found: dict[str, Any], goal: float) -> Row:
    low, high = found["spread"]
    pairs = f"n = {found['n']}, pairs {low:.2f} to {high:.2f}"
    value = f"**{found['ratio']:.2f}** ({found['ours']:.2f} s against {found['theirs']:.2f} s; {pairs})"
    return found["unit"], value, _goal(f"at least {goal:g}", found["ratio"] >= goal)


def _step(part: dict[str, Any]) -> list[Row]:
    return [_ratio(part["bfloat16"], 3.0)]


def _evaluation(part: dict[str, Any]) -> list[Row]:
    rates = [f"{_number(part[name]['tokens_per_second'])} ({part[name]['samples']})" for name in ("engine", "loop")]
    return [
        ("tokens a second: engine, loop of `generate` (samples)", ", ".join(rates), ""),
        ("ratio", f"{part['ratio']:.2f}", ""),
        ("equal greedy answers", f"{sum(part['equal_answers'])} of {len(part['equal_answers'])}", ""),
    ]


def _study(part: dict[str, Any]) -> list[Row]:
    return [("arms", ", ".join(arm if isinstance(arm, str) else arm["name"] for arm in part["arms"]), "")]


ROWS: dict[str, Callable[[dict[str, Any]], list[Row]]] = {
    "environment": _machine,
    "sft7b": _training,
    "grpo7b": _training,
    "qwen3vl8b": _both_stages,
    "update3b": _update,
    "update7b": _update,
    "step3b": _step,
    "evaluate7b": _evaluation,
    "study_seed": _study,
}


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])

"""Score the stored answers of published models to the revised MIG-Bench under every protocol, and keep the figures.

    python tools/keep_rivals.py ORIGINAL.json REVISED.json "UniVG-R1=responses_univg-r1.jsonl" ...

A row of a response file has ``index``, ``response`` and ``recorded_iou``, the IoU that the run's own script computed.
The result is docs/results/rivals.json, and the tables between two marks of docs/results/README.md. It holds figures
only: neither questions nor answers of the files.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from mirg import __version__
from mirg.data.importers.migbench import PAPER_NAMES, Annotations, Item, load_annotations
from mirg.evaluation.migbench import official
from mirg.evaluation.migbench.responses import Responses, load_responses
from mirg.evaluation.migbench.summary import PROTOCOLS, Score, compare_scores, score_all, summarise
from mirg.families import family
from mirg.storage import read_jsonl, write_json_atomic

ROOT = Path(__file__).resolve().parent.parent
MARKS = ("<!-- rivals -->\n", "<!-- end of rivals -->")
SOURCE = "stored answers of a public rerun of the published models (github.com/Tajamul21/MIG-Agent)"


def partners(original: Annotations, revised: Annotations) -> dict[int, Item]:
    """The item of the original version for each item of the revised one that has one, by the index of the revised one.

    Two items are the same if they have the same task, images and question. Of the others with the same task and images,
    as many on either side, the first belongs to the first.
    """
    left: dict[tuple[str, ...], list[Item]] = defaultdict(list)
    for item in original.items:
        left[_key(item)].append(item)
    found: dict[int, Item] = {}
    reworded: dict[tuple[str, ...], list[Item]] = defaultdict(list)
    for item in revised.items:
        others = left[_key(item)]
        same = next((other for other in others if other.question == item.question), None)
        if same is None:
            reworded[_key(item)].append(item)
        else:
            others.remove(same)
            found[item.index] = same
    for key, items in reworded.items():
        if len(items) == len(left[key]):
            found.update((item.index, other) for item, other in zip(items, left[key], strict=True))
    return found


def _key(item: Item) -> tuple[str, ...]:
    return (item.task, *(path.removeprefix("./") for path in item.images))


def hidden(scores: Sequence[Score], texts: dict[int, str]) -> dict[str, int]:
    """What the official score does not show, as counts of responses."""
    counts = {
        "no box": 0,
        "the scored box is in the thinking": 0,
        "right by a box in the thinking": 0,
        "several boxes": 0,
        "inverted or empty box": 0,
        "an image is named outside the thinking": 0,
    }
    for score in scores:
        text = texts.get(score.item.index, "")
        found = official.spelled_boxes(text)
        box = official.extract_box(text, "revised")
        after = text.rpartition("</think>")[2]
        in_thinking = bool(found) and "</think>" in text and official.spelled_boxes(after) != found
        counts["no box"] += box is None
        counts["the scored box is in the thinking"] += in_thinking
        counts["right by a box in the thinking"] += in_thinking and (score.official or 0.0) >= 0.5
        counts["several boxes"] += len(found) > 1
        counts["inverted or empty box"] += box is not None and (box[2] <= box[0] or box[3] <= box[1])
        named = score.strict is not None and score.strict.failure != "no image named" and "image" in after.lower()
        counts["an image is named outside the thinking"] += named
    return counts


def against_original(texts: dict[int, str], same: dict[int, Item]) -> dict[str, Any]:
    """Acc@0.5 in percent of the same boxes against the labels of the original version, per task and as their mean."""
    right: dict[str, list[bool]] = {task: [] for task in PAPER_NAMES}
    for index, item in same.items():
        box = official.extract_box(texts.get(index, ""), "revised")
        iou = 0.0 if box is None else official.overlap([1000.0 * v for v in item.answer], box)
        right[item.task].append(iou >= 0.5)
    tasks = {task: 100.0 * float(np.mean(values)) for task, values in right.items()}
    return {"items": len(same), "mean": sum(tasks.values()) / len(tasks), "tasks": tasks}


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("original", type=Path, help="MIG_data.json")
    parser.add_argument("revised", type=Path, help="revised_MIG_bench.json")
    parser.add_argument("responses", nargs="+", metavar="NAME=FILE")
    arguments = parser.parse_args()
    original, revised = load_annotations(arguments.original), load_annotations(arguments.revised, revised=True)
    same = partners(original, revised)
    models, scores = {}, {}
    for part in arguments.responses:
        name, _, file = part.partition("=")
        given = load_responses(file, len(revised.items), revised=True)
        scores[name] = score_all(revised, given, PROTOCOLS, family("qwen2-vl"))
        models[name] = _model(Path(file), revised, given, scores[name], same)
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    result = {
        "command": "python tools/keep_rivals.py MIG_data.json revised_MIG_bench.json NAME=RESPONSES ...",
        "commit": commit.stdout.strip(),
        "mirg": __version__,
        "source": SOURCE,
        "items": len(revised.items),
        "models": models,
        "differences": [
            {"a": a, "b": b, **compare_scores(scores[a], scores[b])} for a, b in combinations(reversed(scores), 2)
        ],
    }
    write_json_atomic(ROOT / "docs" / "results" / "rivals.json", result)
    page = ROOT / "docs" / "results" / "README.md"
    text = page.read_text(encoding="utf-8")
    pattern = re.escape(MARKS[0]) + ".*?" + re.escape(MARKS[1])
    text, changed = re.subn(pattern, lambda _: MARKS[0] + tables(result) + MARKS[1], text, flags=re.DOTALL)
    if changed != 1:
        raise SystemExit(f"{page} does not hold the marks {MARKS}")
    page.write_text(text, encoding="utf-8")


def _model(
    file: Path, revised: Annotations, given: Responses, scores: Sequence[Score], same: dict[int, Item]
) -> dict[str, Any]:
    recorded = {row["index"]: row["recorded_iou"] for _, row in read_jsonl(file) if isinstance(row, dict)}
    summary = summarise(revised, given, scores)
    protocols = {}
    for protocol in PROTOCOLS:
        table = summary[protocol]
        rows = {**table["tasks"], "mean of tasks": table["mean"]}
        protocols[protocol] = {
            task: {"acc@0.5": row["acc@0.5"], "interval": row["intervals"]["acc@0.5"], "mean_iou": row["mean_iou"]}
            | ({"image_accuracy": row["image_accuracy"]} if protocol != "official" else {})
            for task, row in rows.items()
        }
    return {
        "responses": len(given.texts),
        "equal_to_the_recorded_iou": sum(recorded[score.item.index] == score.official for score in scores),
        "protocols": protocols,
        "against_the_original_labels": against_original(given.texts, same),
        "not_shown_by_the_official_score": hidden(scores, given.texts),
    }


def tables(result: dict[str, Any]) -> str:
    """The page's tables of a result."""
    models = result["models"]
    lines = [
        "| Acc@0.5, percent | " + " | ".join(f"`{name}`" for name in models) + " |",
        "|---" * (len(models) + 1) + "|",
    ]
    for protocol in PROTOCOLS:
        cells = [_cell(model["protocols"][protocol]["mean of tasks"]) for model in models.values()]
        lines.append(f"| {protocol}, mean of tasks | " + " | ".join(cells) + " |")
    cells = [f"{model['against_the_original_labels']['mean']:.1f}" for model in models.values()]
    lines.append("| official, the same boxes against the labels of the original version | " + " | ".join(cells) + " |")
    for task, name in PAPER_NAMES.items():
        cells = [_cell(model["protocols"]["official"][task]) for model in models.values()]
        lines.append(f"| official, {name} | " + " | ".join(cells) + " |")
    for entry in result["differences"]:
        found = ", ".join(f"{protocol} {_points(entry[protocol]['mean'])}" for protocol in PROTOCOLS)
        lines += ["", f"Paired difference in points, {entry['b']} − {entry['a']}: {found}."]
    lines += [
        "",
        "| responses | " + " | ".join(f"`{name}`" for name in models) + " |",
        "|---" * (len(models) + 1) + "|",
    ]
    for what in next(iter(models.values()))["not_shown_by_the_official_score"]:
        counts = [f"{model['not_shown_by_the_official_score'][what]:,}" for model in models.values()]
        lines.append(f"| {what} | " + " | ".join(counts) + " |")
    equal = [f"{model['equal_to_the_recorded_iou']:,} of {model['responses']:,}" for model in models.values()]
    lines.append("| the IoU equals the one that the run recorded | " + " | ".join(equal) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return f"{row['acc@0.5']:.1f} [{low:.1f}, {high:.1f}]"


def _points(row: dict[str, float]) -> str:
    return f"{row['mean']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]"


if __name__ == "__main__":
    main()

"""The README.md of a model: what it is, what it was trained from and on, what it reaches, and how it is used.

The front matter follows the Hugging Face Hub's model cards: ``base_model`` and ``datasets`` only hold hub names, since
a hub refuses others. Everything comes from files: ``mirg.json`` and the adapters' configuration in the model folder,
``config.yaml`` of the run, the card of the dataset, and the summaries of evaluations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

import yaml

from mirg.console import one_line
from mirg.errors import MirgError
from mirg.evaluation.compare import finished_settings, refuse_changed
from mirg.evaluation.metrics import TITLES
from mirg.evaluation.store import SUMMARY_FILE
from mirg.models.load import adapter_chain, fingerprint, model_facts, resolve_model
from mirg.publish.redact import public
from mirg.samples import DatasetFolder
from mirg.samples.card import README_FILE, DatasetCard
from mirg.storage import read_json, write_atomic
from mirg.text_files import parse_yaml

_HUB_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
_CACHED = re.compile(r"models--([\w.-]+?)--([\w.-]+)")  # a model in the cache of huggingface_hub
_SHOWN = ("joint_accuracy", "image_accuracy", "acc_50", "mean_iou", "parse_failures")
_STAGES = {"sft": "supervised fine-tuning", "grpo": "image-aware GRPO", "perception": "perception"}


def write_card(folder: Path, *, run: Path | None = None, evaluations: Sequence[Path] = ()) -> Path:
    """Write the README.md of the model ``folder``; ``run`` is the run folder that trained it.

    EvaluationError if one of ``evaluations`` is not finished or has changed. What cannot be read is left out.
    """
    recipe = recipe_of(run) if run else {}
    card = _dataset_card(str(recipe.get("data", "")))
    trained = list(_lineage(folder))
    parts = [_front_matter(folder, trained, card), _opening(folder, trained), _trained_from(trained)]
    parts += [_data(card), _results(folder, run, evaluations), _use(folder), _how(recipe), _digests(folder, card)]
    return write_atomic(folder / README_FILE, "\n".join(filter(None, parts)))


# Where a model comes from.


def _lineage(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The model and everything that it was trained from, as (path or hub name, facts), down to a model of others."""
    path: str | None = str(folder)
    seen: set[str] = set()
    while path and path not in seen:
        seen.add(path)
        facts = model_facts(path)
        yield path, facts
        merged = facts.get("merged")
        below = merged["adapters"][-1] if isinstance(merged, dict) and merged.get("adapters") else facts.get("start")
        with suppress(MirgError, OSError):
            chain, base = adapter_chain(path)
            below = (chain[-2] if len(chain) > 1 else base) if chain else below
        try:
            path = resolve_model(str(below)) if below else None
        except MirgError:  # it has been moved or removed
            yield str(below), {}
            return


def hub_name(path: str) -> str | None:
    """The name on the hub of a model, given as that name or as a folder in the hub's cache; None for other folders."""
    if cached := _CACHED.search(path):
        return f"{cached[1]}/{cached[2]}"
    return path if _HUB_NAME.fullmatch(path) and not Path(path).exists() else None


def front_matter(readme: Path) -> dict[str, Any]:
    """The YAML at the top of a README.md; empty if it has no such block."""
    with suppress(OSError, ValueError):
        text = readme.read_text(encoding="utf-8")
        if text.startswith("---\n") and "\n---\n" in text[4:]:
            found = parse_yaml(text[4:].split("\n---\n")[0])
            return found if isinstance(found, dict) else {}
    return {}


def _licence(trained: Sequence[tuple[str, dict[str, Any]]]) -> str | None:
    """The licence of the nearest model below whose README.md names one."""
    named = (front_matter(Path(path) / README_FILE).get("license") for path, _ in trained[1:])
    return next((str(one) for one in named if one), None)


def recipe_of(run: Path) -> dict[str, Any]:
    """The recipe of a run folder, as it was resolved; empty if the folder has no recipe."""
    with suppress(OSError, ValueError):
        found = parse_yaml((run / "config.yaml").read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _dataset_card(data: str) -> DatasetCard | None:
    with suppress(MirgError, OSError):
        return DatasetFolder.open(data).card
    return None


# The sections.


def _front_matter(folder: Path, trained: Sequence[tuple[str, dict[str, Any]]], card: DatasetCard | None) -> str:
    adapter = (folder / "adapter_config.json").is_file()
    base = hub_name(trained[-1][0])
    stages = [str(facts["stage"]) for _, facts in reversed(trained) if facts.get("stage")]
    fields = {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "image-text-to-text",
        "license": _licence(trained),
        "base_model": base,
        "base_model_relation": ("adapter" if adapter else "finetune") if base else None,
        "datasets": [card.name] if card and _HUB_NAME.fullmatch(card.name) else None,
        "tags": list(dict.fromkeys(["mirg", "multi-image", "visual-grounding", *stages])),
    }
    given = {key: value for key, value in fields.items() if value}
    return f"---\n{yaml.safe_dump(given, sort_keys=False, allow_unicode=True)}---\n"


def _opening(folder: Path, trained: Sequence[tuple[str, dict[str, Any]]]) -> str:
    facts = trained[0][1]
    stage = _STAGES.get(str(facts.get("stage")), "training")
    kind = "LoRA adapters" if (folder / "adapter_config.json").is_file() else "A model"
    merged = ", merged into its base" if facts.get("merged") else ""
    return f"""# {_name(trained[-1][0])}, {stage}

{kind} for questions about several images{merged}: the answer names the image and puts a box around the object.
Boxes are written as the model family `{facts.get("family", "unknown")}` writes them. Trained with mirg{_stage(facts)}.
"""


def _trained_from(trained: Sequence[tuple[str, dict[str, Any]]]) -> str:
    rows = [f"- {_cell(_name(path))}{_stage(facts)}" for path, facts in trained[1:]]
    return "## Trained from\n\nThe newest first:\n\n" + "\n".join(rows) + "\n" if rows else ""


def _stage(facts: dict[str, Any]) -> str:
    if not facts:
        return ""
    told = [str(facts.get("stage", "")), f"{facts['steps']} steps" if "steps" in facts else ""]
    told += [f"{facts['samples']} samples" if "samples" in facts else ""]
    return f": {', '.join(filter(None, told))}"


def _data(card: DatasetCard | None) -> str:
    if card is None:
        return ""
    tasks = ", ".join(f"{_cell(task)} {count}" for task, count in sorted(card.tasks.items()))
    licence = f" Licence: {_cell(card.license)}." if card.license else ""
    return f"""## Data

{_cell(card.name)}: {card.n_samples} samples, {card.n_images} images. {one_line(card.description)}{licence}

Samples of each task: {tasks or "not counted"}.
"""


def _results(folder: Path, run: Path | None, evaluations: Sequence[Path]) -> str:
    if not evaluations:
        return ""
    models = [folder, *([run / "model"] if run and (run / "model").is_dir() else [])]
    known = {_digest(model) for model in models}
    rows = [_row(path, known) for path in evaluations]
    titles = " | ".join(TITLES[name] for name in _SHOWN)
    return f"""## Results

In percent, with 95 % intervals resampled by image set.

| dataset | samples | {titles} |
|---|---|{"---|" * len(_SHOWN)}
{chr(10).join(rows)}
"""


def _row(folder: Path, known: set[str]) -> str:
    """A line of the table of results; an evaluation of weights that are not ``known`` says what it is of."""
    settings = finished_settings(folder)
    refuse_changed(folder)
    summary: Any = read_json(folder / SUMMARY_FILE)
    overall = summary.get("metrics", {}).get("overall", {})
    cells = [overall.get(name) for name in _SHOWN]
    said = [f"{100 * c['mean']:.1f} [{100 * c['low']:.1f}, {100 * c['high']:.1f}]" if c else "" for c in cells]
    of = "" if settings.get("fingerprint") in known else f", evaluated as {_cell(_name(str(settings.get('model'))))}"
    return f"| {_cell(str(settings.get('dataset', folder.name)))}{of} | {overall.get('n', '')} | {' | '.join(said)} |"


def _use(folder: Path) -> str:
    adapter = (folder / "adapter_config.json").is_file()
    merge = "`mirg merge RUN OUT` makes a folder that vLLM and transformers load without mirg." if adapter else ""
    whole = """
With vLLM and transformers, as the base model:

```
vllm serve FOLDER --limit-mm-per-prompt '{"image": 8}'
mirg evaluate served-name DATASET --endpoint http://localhost:8000/v1 --out EVAL
```

```python
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained("FOLDER", dtype="auto", device_map="auto")
processor = AutoProcessor.from_pretrained("FOLDER")
```
"""
    return f"""## Use

```
mirg ground IMAGE IMAGE --model FOLDER --question "Where is the red cup?"
mirg evaluate FOLDER DATASET --out EVAL
```

A prompt names the images in front of the pictures, `Image-1: <image>`, one on each line, and then asks the question.
The limits of the image processor are those of the training; with other limits boxes in pixels are wrong. {merge}
{"" if adapter else whole}"""


def _how(recipe: dict[str, Any]) -> str:
    if not recipe:
        return ""
    text = yaml.safe_dump(public(recipe, lambda path: f"…/{_name(path)}"), sort_keys=False, allow_unicode=True)
    return f"## Recipe\n\n```yaml\n{text.replace('```', '')}```\n"


def _digests(folder: Path, card: DatasetCard | None) -> str:
    samples = f"\n- samples (SHA-256 of samples.jsonl): `{card.digest}`" if card else ""
    return f"## Digests\n\n- model (weights and settings, as mirg counts them): `{_digest(folder)}`{samples}\n"


def _digest(folder: Path) -> str:
    try:
        return fingerprint(str(folder))
    except MirgError:  # of adapters whose base is not here
        return "unknown"


def _name(path: str) -> str:
    """The last telling part of a path: that of the run for RUN/model; a hub name stays whole."""
    if named := hub_name(path):
        return named
    parts = [part for part in PurePath(path).parts if part != "model"]
    return one_line(parts[-1] if parts else path, 80)


def _cell(text: str) -> str:
    """Text of others as code in a line of Markdown or in a table."""
    return "`" + one_line(text, 100).replace("`", "'").replace("|", "/") + "`"

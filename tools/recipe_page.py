"""Write docs/reference/recipes.md, the page of all keys of the training recipes, from the classes that read them.

    python tools/recipe_page.py

A test compares the page with what this writes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mirg.config import recipe_schema
from mirg.training.recipe import GrpoRecipe, RunConfig, SftRecipe

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "recipes.md"
HEAD = """\
# Keys of the training recipes

<!-- Written by tools/recipe_page.py from src/mirg/training/recipe.py: change the descriptions there. -->

A recipe is a YAML file that `mirg sft` or `mirg grpo` reads. `mirg sft RECIPE --dry-run` prints it with all its keys.

- `-s optim.learning_rate=1e-5` overrides a key on the command line; a dot leads into a section.
- `extends: NAME` starts from another recipe, a file beside this one or a shipped recipe. Sections are merged, values
  and lists are replaced:

  ```yaml
  # yaml-language-server: $schema=sft.schema.json
  extends: mirg-rl-7b-lora/sft
  data: data/mine
  optim:
    learning_rate: 5.0e-5
  ```
- `mirg schema sft --out sft.schema.json` writes the JSON Schema of a kind of recipe. With the first line above, the
  YAML extension of VS Code completes the keys of a recipe, shows their meaning, and marks mistakes.
- A key that does not exist is refused, with the nearest one that does.

[Train a 7B model](../how-to/train-7b.md) lists the shipped recipes.
"""
GROUPS: dict[str, type[RunConfig]] = {"Both stages": RunConfig, "SFT": SftRecipe, "GRPO": GrpoRecipe}


def page() -> str:
    """The text of the page."""
    return HEAD + "".join(_group(title, kind) for title, kind in GROUPS.items())


def _group(title: str, kind: type[RunConfig]) -> str:
    """The plain keys of a recipe in one table, then a table for each section; without what both stages have."""
    schema, common = recipe_schema(kind), RunConfig.model_fields
    own = [k for k, f in kind.model_fields.items() if k not in common or f.annotation != common[k].annotation]
    found = {key: schema["properties"][key] for key in (common if kind is RunConfig else own)}
    sections = {key: schema["$defs"][_section(value)] for key, value in found.items() if _section(value)}
    text = f"\n## {title}\n\n{_table({key: value for key, value in found.items() if key not in sections})}"
    waiting = list(sections.items())
    while waiting:
        key, section = waiting.pop(0)
        inner = {k: schema["$defs"][_section(v)] for k, v in section["properties"].items() if _section(v)}
        waiting[:0] = [(f"{key}.{name}", part) for name, part in inner.items()]
        about = _cell(" ".join(section.get("description", "").replace("``", "`").split()))
        text += f"\n### `{key}`\n\n{about}\n\n{_table(_plain(section, inner), f'{key}.')}"
    return text


def _plain(section: dict[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
    """The keys of a section that are not sections themselves."""
    return {name: value for name, value in section["properties"].items() if name not in inner}


def _section(value: dict[str, Any]) -> str:
    return value.get("$ref", "").rpartition("/")[2]


def _table(keys: dict[str, Any], prefix: str = "") -> str:
    rows = "".join(
        f"| `{prefix}{key}` | {_type(value)} | {_default(value)} | {_cell(value['description'])} |\n"
        for key, value in keys.items()
    )
    return f"| key | value | default | meaning |\n|---|---|---|---|\n{rows}"


def _type(value: dict[str, Any]) -> str:
    """The values that a key takes, in words."""
    if "anyOf" in value:
        return " or ".join(_type(one) for one in value["anyOf"])
    if "enum" in value or "const" in value:
        return ", ".join(f"`{one}`" for one in value.get("enum") or [value["const"]])
    if value.get("type") == "array":
        return f"list of {_type(value['items'])}s"
    names = {"string": "text", "boolean": "true or false"}
    bounds = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    limits = [f"{sign} {value[name]:g}" for name, sign in bounds if name in value]
    return " ".join([str(names.get(value["type"], value["type"])), ", ".join(limits)]).strip()


def _default(value: dict[str, Any]) -> str:
    return f"`{json.dumps(value['default'])}`" if "default" in value else "required"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("None", "null")


def main() -> int:
    """Write the page."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``mirg models``: the families and what works for each, or what mirg would do with one model."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mirg.cli.output import Json, json_out
from mirg.console import say, table
from mirg.families import EMBEDDED_MODELS, FAMILIES, Family, works

_FRAMES = {"relative_1000": "0-1000", "resized_pixels": "pixels of the resized image", "fraction": "0-1"}
_EVERY = "SFT, GRPO with packed: false, and evaluation by generate or behind an endpoint work for every family."
_LINES = {
    "grpo_packed": "GRPO with packed groups",
    "grpo_unpacked": "GRPO with packed: false",
    "sft": "SFT",
    "own_engine": "evaluation by mirg's own engine",
    "generate": "evaluation by generate",
    "vllm": "evaluation by vLLM in this process",
    "vllm_rollouts": "GRPO rollouts by vLLM",
}


def models(
    name: Annotated[
        str | None, typer.Argument(help="A model folder, run folder or hub name; none: all families.")
    ] = None,
    family: Annotated[str | None, typer.Option(help="Take the model for one of this family.")] = None,
    as_json: Json = False,
) -> None:
    """The model families and what works for each; with NAME, what mirg would do with that model.

    Nothing is downloaded, and no weights are read.
    """
    if name is None:
        rows = [
            {"family": f.name, "model_types": list(f.model_types), **_boxes(f), **works(f)} for f in FAMILIES.values()
        ]
        json_out(rows) if as_json else _list(rows)
        return
    from mirg.models.describe import describe
    from mirg.models.load import load_skeleton

    loaded = load_skeleton(name, family_name=family)
    found = _boxes(loaded.family) | describe(loaded)
    json_out(found) if as_json else _tell(name, found)


def _boxes(family: Family) -> dict[str, Any]:
    order = "y1, x1, y2, x2" if family.axes == "yx" else "x1, y1, x2, y2"
    return {"frame": _FRAMES[family.box_frame], "order": order, "style": family.style}


def _list(rows: list[dict[str, Any]]) -> None:
    columns = ("family", "model types", "boxes", "order", "style", "packed GRPO, own engine", "vLLM")
    shown = [
        (
            *(
                row["family"],
                ", ".join(row["model_types"]) or "chosen by name",
                row["frame"],
                row["order"],
                row["style"],
            ),
            "yes" if row["grpo_packed"] else f"no: {row['unpacked_layers']}",
            {(True, True): "evaluation, rollouts", (True, False): "evaluation"}.get(
                (row["vllm"], row["vllm_rollouts"]), "behind an endpoint"
            ),
        )
        for row in rows
    ]
    table("Model families", columns, shown)
    say(_EVERY)
    say(f"Models that ship with mirg and load by name: {', '.join(EMBEDDED_MODELS)}.")
    say("`mirg models NAME` says what holds for one model; docs/how-to/models.md says how to add a family.")


def _tell(name: str, found: dict[str, Any]) -> None:
    say(f"{name}: family {found['family']} ({found['class']}, {found['parameters'] / 1e6:,.1f} M parameters)")
    say(f"  boxes: {found['frame']}, {found['order']}, as {found['style']}: {found['example']}")
    least, most = found["pixels"]
    say(f"  images: {least:,} to {most:,} pixels; one of 1280 x 720 takes {found['image_tokens']:,} tokens")
    say(f"  an answer ends with {found['end_of_turn']}; {_thinking(found)}")
    for key, what in _LINES.items():
        why = f", because of its {found['unpacked_layers']} layers" if found["unpacked_layers"] else ""
        no = f"no{why}" if key in ("grpo_packed", "own_engine", "vllm_rollouts") else "no; an endpoint works"
        say(f"  {what}: {'yes' if found[key] else no}")


def _thinking(found: dict[str, Any]) -> str:
    if found["opened"] is None:
        return "it has no chat template that mirg can use"
    begun = {"": "opens no thinking"}.get(found["opened"], f"begins every answer with {found['opened']!r}")
    switch = "has a switch for it (prompt.thinking, --thinking)" if found["thinking_switch"] else "has no switch for it"
    return f"its chat template {begun} and {switch}"

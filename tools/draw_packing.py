"""Draw docs/design/0007-packing.svg: the mask and the positions of a packed row, as the code itself makes them."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from mirg.models.load import load_model
from mirg.models.packing import pack
from mirg.models.prompts import encode

OUT = Path(__file__).resolve().parent.parent / "docs" / "design" / "0007-packing.svg"
CELL, LEFT, TOP = 15, 118, 132
COLOURS = ("#4c78a8", "#e4572e", "#54a24b", "#b279a2")  # trunk, then branches
VISUAL, HIDDEN = "#9ecae9", "#f2f2f2"


def main() -> None:
    """One prompt with one image and three completions of two, four and three tokens."""
    loaded = load_model("mirg-tiny")
    content = [{"type": "image", "text": None}, {"type": "text", "text": "Find the red ring."}]
    prompt = encode(loaded.processor, [{"role": "user", "content": content}], [Image.new("RGB", (72, 72))], "picture")
    completions = [[20, 21], [22, 23, 24, 25], [26, 27, 28]]
    packed = pack(loaded.model, [prompt], [completions])
    ids = packed.inputs["input_ids"][0].tolist()
    places = packed.inputs["position_ids"][:, 0].tolist()
    blocks = packed.trees.blocks
    rows, none = torch.arange(len(ids)), torch.zeros((), dtype=torch.long)
    seen = blocks.mask_mod(none, none, rows[:, None], rows[None])
    lengths = [len(prompt.ids) - 1, *map(len, completions)]
    owner = [k for k, length in enumerate(lengths) for _ in range(length)]
    visual = [token == loaded.processor.image_token_id for token in ids]  # type: ignore[attr-defined]
    OUT.write_text(picture(seen.tolist(), owner, visual, places))


def picture(seen: list[list[bool]], owner: list[int], visual: list[bool], places: list[list[int]]) -> str:
    """Rows see the columns that are filled; above them the three rotary positions of each token."""
    n = len(owner)
    width, height = LEFT + n * CELL + 20, TOP + n * CELL + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="16" font-size="13">What each token of a packed row sees, and its rotary positions</text>',
    ]
    for axis, name in enumerate(("time", "row", "column")):
        y = 40 + axis * 16
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{name}</text>')
        parts += [
            f'<text x="{LEFT + (k + 0.5) * CELL}" y="{y + 4}" text-anchor="middle" font-size="8">{place}</text>'
            for k, place in enumerate(places[axis])
        ]
    names = ["trunk", *(f"branch {k}" for k in range(1, max(owner) + 1))]
    for number, name in enumerate(names):
        first, last = owner.index(number), n - 1 - owner[::-1].index(number)
        x, y, size = LEFT + first * CELL, TOP + first * CELL, (last - first + 1) * CELL
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<rect x="{x}" y="{TOP - 12}" width="{size - 1}" height="6" fill="{colour}"/>')
        parts.append(f'<text x="{x}" y="{TOP - 18}" fill="{colour}">{name if size > 3 * CELL else name[-1]}</text>')
        parts.append(f'<rect x="{LEFT - 12}" y="{y}" width="6" height="{size - 1}" fill="{colour}"/>')
        parts.append(f'<text x="{LEFT - 18}" y="{y + size / 2 + 4}" text-anchor="end" fill="{colour}">{name}</text>')
    for row in range(n):
        for column in range(n):
            fill = VISUAL if visual[column] else COLOURS[owner[column] % len(COLOURS)]
            x, y = LEFT + column * CELL, TOP + row * CELL
            fill = fill if seen[row][column] else HIDDEN
            parts.append(f'<rect x="{x}" y="{y}" width="{CELL - 1}" height="{CELL - 1}" fill="{fill}"/>')
    y = TOP + n * CELL + 20
    parts.append(
        f'<text x="{LEFT}" y="{y}">A row sees the filled columns. Light blue: visual tokens, of one time.</text>'
    )
    parts.append(
        f'<text x="{LEFT}" y="{y + 16}">A branch begins with a copy of the prompt\'s last token and continues from its '
        "position.</text></svg>\n"
    )
    return "\n".join(parts)


if __name__ == "__main__":
    main()

"""The card of a dataset folder and the names of its files."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from mirg.samples.schema import SCHEMA_VERSION

SAMPLES_FILE = "samples.jsonl"
IMAGES_FOLDER = "images"
CARD_FILE = "card.json"
README_FILE = "README.md"


class DatasetCard(BaseModel):
    """What a dataset folder holds. ``digest`` is the SHA-256 of samples.jsonl, whose rows hold those of the images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: str = SCHEMA_VERSION
    name: str = Field(min_length=1)
    description: str = ""
    n_samples: int = Field(ge=0)
    n_images: int = Field(ge=0)
    tasks: dict[str, int] = Field(default_factory=dict)
    created_by: str = ""
    seed: int | None = None
    digest: str
    license: str = ""
    roots: dict[str, str] = Field(
        default_factory=dict,
        description="Folders of images outside of this one: @NAME/… in a row lies in roots[NAME]. "
        "Absolute, or relative to the dataset folder.",
    )


def size_words(found: tuple[int, int], told: tuple[int, int]) -> str:
    """What is wrong with an image of another size than its row says; both (width, height) in pixels."""
    return f"is {found[0]} x {found[1]} pixels, the row says {told[0]} x {told[1]}"


def readme_text(card: DatasetCard) -> str:
    """The README.md of a dataset folder: the card for people."""
    rows = "\n".join(f"| {task} | {count} |" for task, count in sorted(card.tasks.items()))
    facts = [f"{card.n_samples} samples, {card.n_images} images, schema `{card.schema_version}`."]
    if card.created_by:
        facts.append(f"Made by `{card.created_by}`" + (f", seed {card.seed}." if card.seed is not None else "."))
    facts += [f"`@{name}/` in a row is a file below `{folder}`." for name, folder in sorted(card.roots.items())]
    if card.license:
        facts.append(f"Licence: {card.license}.")
    return f"""# {card.name}

{card.description or "A mirg dataset."}

{" ".join(facts)}

| task | samples |
|---|---|
{rows}

`{SAMPLES_FILE}` holds one sample per line; boxes are fractions of the original image, image numbers count from 1.
Read it with `mirg.samples.DatasetFolder.open(path)`.
"""

"""Every format there is, by the name that ``--to`` takes."""

from __future__ import annotations

import difflib

from mirg.data.exporters.coco import COCO
from mirg.data.exporters.easyr1 import EASYR1
from mirg.data.exporters.llamafactory import LLAMAFACTORY
from mirg.data.exporters.ms_swift import MS_SWIFT
from mirg.data.exporters.parquet import PARQUET
from mirg.data.exporters.plan import Format
from mirg.data.exporters.trl import TRL
from mirg.data.exporters.verl import VERL
from mirg.errors import ConfigError

FORMATS: dict[str, Format] = {f.name: f for f in (LLAMAFACTORY, MS_SWIFT, TRL, VERL, EASYR1, COCO, PARQUET)}


def format_of(name: str) -> Format:
    """The format called ``name``; ConfigError with the nearest name where there is none."""
    if name in FORMATS:
        return FORMATS[name]
    near = difflib.get_close_matches(name.lower(), FORMATS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"no format {name!r}", hint=f"{hint}known: {', '.join(FORMATS)}")

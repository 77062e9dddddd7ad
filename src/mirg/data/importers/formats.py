"""The formats that can be imported; a new one is one file plus one line here, or a plug-in in a file of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from mirg.data.importers import (
    coco,
    conversations,
    cvat,
    hf,
    label_studio,
    mc_bench,
    mgrounding,
    migbench,
    ms_swift,
    reasoning,
    refcoco,
    univg,
    video_tracks,
    voc,
    yolo,
)
from mirg.data.importers.raw import ImportOptions, Outcome, Row, Source
from mirg.errors import ConfigError, MirgError, did_you_mean
from mirg.plugins import is_plugin, load_plugin, plugin_errors

SOURCES: dict[str, Source] = {
    source.kind: source
    for source in (
        mgrounding.SOURCE,
        univg.SOURCE,
        conversations.SOURCE,
        ms_swift.SOURCE,
        hf.SOURCE,
        coco.SOURCE,
        voc.SOURCE,
        yolo.SOURCE,
        label_studio.SOURCE,
        cvat.SOURCE,
        video_tracks.SOURCE,
        mc_bench.SOURCE,
        refcoco.SOURCE,
        reasoning.LISA,
        reasoning.REASONVOS,
        migbench.SOURCE,
        migbench.REVISED,
    )
}


def source_of(kind: str) -> Source:
    """The importer called ``kind``, or the one that a plug-in ``FILE.py:NAME`` defines.

    Raises:
        ConfigError: There is no such importer, or the plug-in is not a :class:`Source`.
        PluginError: The file of the plug-in raises an exception while it is loaded.
    """
    if is_plugin(kind):
        return _plugin(kind)
    if kind not in SOURCES:
        near = did_you_mean(kind.casefold(), SOURCES, cutoff=0.6)
        raise ConfigError(f"no reader {kind!r}", hint=f"{near}known: {', '.join(SOURCES)}, or FILE.py:NAME")
    return SOURCES[kind]


@cache
def _plugin(name: str) -> Source:
    """The importer of a plug-in. Errors that are not refusals of mirg are raised with the plug-in's own traceback."""
    source = load_plugin(name, what="importer")
    if not isinstance(source, Source):
        hint = "assign mirg.data.importers.raw.Source(kind, about, read, convert, frame) to the name"
        raise ConfigError(f"{name} is not an importer, but {type(source).__name__}", hint=hint)

    def read(path: Path, options: ImportOptions) -> Iterator[Row]:
        try:
            yield from source.read(path, options)
        except MirgError:
            raise
        except (Exception, SystemExit):
            with plugin_errors(name, what="importer"):
                raise

    def convert(value: Any, options: ImportOptions) -> list[Outcome]:
        with plugin_errors(name, what="importer"):
            return source.convert(value, options)

    return replace(source, read=read, convert=convert)

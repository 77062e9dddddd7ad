"""The formats that can be imported; a new one is one file plus one line here."""

from __future__ import annotations

from mirg.data.importers import (
    coco,
    cvat,
    hf,
    label_studio,
    mc_bench,
    mgrounding,
    migbench,
    ms_swift,
    sharegpt,
    univg,
    video_tracks,
    voc,
    yolo,
)
from mirg.data.importers.raw import Source

SOURCES: dict[str, Source] = {
    source.kind: source
    for source in (
        mgrounding.SOURCE,
        univg.SOURCE,
        sharegpt.SOURCE,
        ms_swift.SOURCE,
        hf.SOURCE,
        coco.SOURCE,
        voc.SOURCE,
        yolo.SOURCE,
        label_studio.SOURCE,
        cvat.SOURCE,
        video_tracks.SOURCE,
        mc_bench.SOURCE,
        migbench.SOURCE,
        migbench.REVISED,
    )
}

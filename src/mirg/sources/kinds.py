"""The formats that can be imported; a new one is one file plus one line here."""

from __future__ import annotations

from mirg.sources import coco, hf, mc_bench, mgrounding, migbench, ms_swift, sharegpt, univg, video_tracks
from mirg.sources.raw import Source

SOURCES: dict[str, Source] = {
    source.kind: source
    for source in (
        mgrounding.SOURCE,
        univg.SOURCE,
        sharegpt.SOURCE,
        ms_swift.SOURCE,
        hf.SOURCE,
        coco.SOURCE,
        video_tracks.SOURCE,
        mc_bench.SOURCE,
        migbench.SOURCE,
        migbench.REVISED,
    )
}

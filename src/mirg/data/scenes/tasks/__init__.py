"""The tasks of the procedural world, one file each; a new one is one file plus one line here."""

from __future__ import annotations

from mirg.data.scenes.tasks import (
    common_object,
    companion,
    companion_pair,
    companion_twice,
    correspondence,
    counting,
    difference,
    group_grounding,
    multi_target,
    multi_view,
    none,
    object_tracking,
    odd_one_out,
    reasoning,
    refer,
    region,
    view_difference,
)
from mirg.data.scenes.tasks.base import Draft, Make, Picture

TASKS: dict[str, Make] = {
    "common_object": common_object.make,
    "difference": difference.make,
    "group_grounding": group_grounding.make,
    "refer": refer.make,
    "region": region.make,
    "object_tracking": object_tracking.make,
    "odd_one_out": odd_one_out.make,
    "counting": counting.make,
    "multi_target": multi_target.make,
    "none": none.make,
    "view_difference": view_difference.make,
    "multi_view": multi_view.make,
    "reasoning": reasoning.make,
    "correspondence": correspondence.make,
    "companion": companion.make,
    "companion_pair": companion_pair.make,
    "companion_twice": companion_twice.make,
}

__all__ = ["TASKS", "Draft", "Make", "Picture"]

"""The tasks that are made of annotated images, one file each; a new one is one file plus one line here."""

from __future__ import annotations

from collections.abc import Callable

from mirg.data.compose.bench import Bench
from mirg.data.compose.draft import Draft
from mirg.data.compose.tasks import (
    common_object,
    correspondence,
    counting,
    difference,
    group_grounding,
    multi_target,
    none,
    object_tracking,
    reasoning,
    refer,
    region,
    same_instance,
    view_difference,
)

Make = Callable[[Bench], Draft]

TASKS: dict[str, Make] = {
    "common_object": common_object.make,
    "group_grounding": group_grounding.make,
    "refer": refer.make,
    "region": region.make,
    "difference": difference.make,
    "view_difference": view_difference.make,
    "object_tracking": object_tracking.make,
    "correspondence": correspondence.make,
    "same_instance": same_instance.make,
    "multi_target": multi_target.make,
    "none": none.make,
    "counting": counting.make,
    "reasoning": reasoning.make,
}

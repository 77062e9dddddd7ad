"""The tasks that are built from annotated images; a new one is one function plus one line here."""

from __future__ import annotations

from collections.abc import Callable

from mirg.data.compose.bench import Bench, Draft
from mirg.data.compose.tasks.changed import difference, view_difference
from mirg.data.compose.tasks.closeup import refer, region
from mirg.data.compose.tasks.compared import common_object, counting, reasoning
from mirg.data.compose.tasks.marked import correspondence, object_tracking, same_instance
from mirg.data.compose.tasks.named import group_grounding, multi_target, none

TASKS: dict[str, Callable[[Bench], Draft]] = {
    "common_object": common_object,
    "group_grounding": group_grounding,
    "refer": refer,
    "region": region,
    "difference": difference,
    "view_difference": view_difference,
    "object_tracking": object_tracking,
    "correspondence": correspondence,
    "same_instance": same_instance,
    "multi_target": multi_target,
    "none": none,
    "counting": counting,
    "reasoning": reasoning,
}

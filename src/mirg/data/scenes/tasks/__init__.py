"""The tasks of the procedural world. A new one is a function in a file of its theme and a line in :data:`TASKS`."""

from __future__ import annotations

from mirg.data.scenes.tasks import compared, named, views
from mirg.data.scenes.tasks.base import Draft, Make, Picture

TASKS: dict[str, Make] = {
    "common_object": compared.common_object,
    "difference": compared.difference,
    "group_grounding": named.group_grounding,
    "refer": compared.refer,
    "region": views.region,
    "object_tracking": views.object_tracking,
    "odd_one_out": compared.odd_one_out,
    "counting": named.counting,
    "multi_target": named.multi_target,
    "none": named.none,
    "view_difference": compared.view_difference,
    "multi_view": views.multi_view,
    "reasoning": compared.reasoning,
    "correspondence": compared.correspondence,
    "companion": named.companion,
    "companion_pair": named.companion_pair,
    "companion_twice": named.companion_twice,
}

__all__ = ["TASKS", "Draft", "Make", "Picture"]

"""Which word is the label of which visual token, as a table."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mirg.data.scenes.objects import NAMES
from mirg.data.scenes.world import Scene, WorldConfig, scene_for
from mirg.geometry import Box
from research.perception.vision import VisionHead, cell_targets

INDEX = {name: k for k, name in enumerate(NAMES)}


def scene_of(*boxes: Box) -> Scene:
    """A scene whose objects have these boxes and the first names."""
    from dataclasses import replace

    scene = scene_for(np.random.default_rng(0), WorldConfig(), None, len(boxes))
    return replace(scene, objects=tuple(replace(o, box=box) for o, box in zip(scene.objects, boxes, strict=True)))


# (boxes of objects 1, 2, ..., labels of a 3 x 3 grid row by row, why)
TABLE: list[tuple[list[Box], list[int], str]] = [
    ([(0.0, 0.0, 1 / 3, 1 / 3)], [1, 0, 0, 0, 0, 0, 0, 0, 0], "a cell exactly"),
    ([(0.0, 0.0, 1.0, 1.0)], [1] * 9, "everything"),
    ([(0.0, 0.0, 1 / 3, 1 / 3 + 0.02)], [1, 0, 0, 0, 0, 0, 0, 0, 0], "a sliver of the next cell is not enough"),
    ([(0.1, 0.1, 0.2, 0.2)], [1, 0, 0, 0, 0, 0, 0, 0, 0], "smaller than a cell: measured by its own area"),
    ([(0.23, 0.1, 0.43, 0.2)], [1, 1, 0, 0, 0, 0, 0, 0, 0], "half in each of two cells"),
    ([(0, 0, 0.5, 0.3), (0.5, 0, 1.0, 0.3)], [1, 1, 2, 0, 0, 0, 0, 0, 0], "a shared cell goes to one of the two"),
    ([(0.7, 0.7, 1.0, 1.0), (0, 0, 0.3, 0.3)], [2, 0, 0, 0, 0, 0, 0, 0, 1], "order of objects is not order of cells"),
]


@pytest.mark.parametrize(("boxes", "expected", "why"), TABLE, ids=[row[2] for row in TABLE])
def test_table(boxes: list[Box], expected: list[int], why: str) -> None:
    scene = scene_of(*boxes)
    labels, targets = cell_targets([scene], 3, INDEX)
    names = [0, *(1 + INDEX[name] for name in scene.names)]
    assert labels.tolist() == [names[k] for k in expected]
    for label, target, which in zip(labels, targets, expected, strict=True):
        assert target.tolist() == pytest.approx(list(boxes[which - 1]) if label else [0, 0, 0, 0], abs=1e-6)


def test_scenes_follow_one_another() -> None:
    one, two = scene_of((0.0, 0.0, 0.3, 0.3)), scene_of((0.7, 0.7, 1.0, 1.0))
    labels, boxes = cell_targets([one, two], 3, INDEX)
    alone = [cell_targets([scene], 3, INDEX) for scene in (one, two)]
    np.testing.assert_array_equal(labels, np.concatenate([a for a, _ in alone]))
    np.testing.assert_array_equal(boxes, np.concatenate([b for _, b in alone]))


def test_every_object_of_a_real_scene_has_a_cell() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        scene = scene_for(rng, WorldConfig(object_side=(0.3, 0.5), objects=(1, 2)), None, 2)
        labels, _ = cell_targets([scene], 4, INDEX)
        assert {1 + INDEX[name] for name in scene.names} <= set(labels.tolist())


def test_the_head_reads_what_is_written_in_the_embedding() -> None:
    """A token equal to a name's embedding is that name: loss and accuracy agree with a count by hand."""
    torch.manual_seed(0)
    embedding = torch.randn(40, 16)
    head = VisionHead(16, name_ids=[3, 5, 7], coordinate_ids=[10, 11, 12, 13, 14])
    labels = torch.tensor([1, 2, 3, 0])
    tokens = 5 * torch.stack([embedding[3], embedding[5], embedding[5], head.nothing[0].detach()])
    loss, measured = head(tokens, embedding, labels, torch.rand(4, 4))
    assert measured["vision/named"] == pytest.approx(2 / 3)
    assert 0 <= measured["vision/side_error"] <= 1
    loss.backward()
    assert head.sides.weight.grad is not None

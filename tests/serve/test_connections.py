"""When a connection of the server ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mirg.serve.server import protocol


@pytest.mark.parametrize(("buffered", "ended"), [([90, 60, 60], True), ([90, 60, 0], False), ([0], False)])
def test_a_closed_connection_waits_while_its_client_reads(buffered: list[int], ended: bool) -> None:
    """``buffered`` bytes are left at each look."""
    looks: list[Any] = []
    aborted: list[bool] = []
    kind = protocol(0.5, 4)
    one: Any = kind.__new__(kind)
    one.loop = SimpleNamespace(call_later=lambda after, look, *given: looks.append((after, look, given)))
    one.transport = SimpleNamespace(get_write_buffer_size=iter(buffered).__next__, abort=lambda: aborted.append(True))
    one._abort_unless_read()
    while looks:
        after, look, given = looks.pop()
        assert after == 0.5
        look(*given)
    assert bool(aborted) is ended

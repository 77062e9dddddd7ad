"""A real model, locally and through its own server."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.choices import write_vlm2_archive
from fakes.serving import serving
from mirg.engines.base import Generation
from mirg.engines.limits import Limits
from mirg.engines.load import load_engine
from mirg.engines.remote import EndpointEngine
from mirg.evaluation.benches import open_bench
from mirg.evaluation.choices.records import ChoiceRecord
from mirg.evaluation.records import load_rows
from mirg.evaluation.runner import Plan


@pytest.mark.slow
def test_locally_and_served(tmp_path: Path) -> None:
    """The same completions, and the same tables."""
    root = write_vlm2_archive(tmp_path / "src")
    plan = Plan(generation=Generation(max_new_tokens=6, batch_size=5), limit=7)
    local = load_engine("mirg-tiny")
    summary = open_bench("vlm2", plan, root=root).run(local, tmp_path / "local", plan, None)
    assert summary["n"] == 7 and summary["rejected"] == 0
    with serving(local) as url:
        remote = EndpointEngine(f"{url}/v1", "mirg-tiny", local.family, requests=Limits(concurrency=4))
        served = open_bench("vlm2", plan, root=tmp_path / "local/data").run(remote, tmp_path / "served", plan, None)
    assert served["metrics"] == summary["metrics"]
    texts = [[row.completion for row in load_rows(tmp_path / name, ChoiceRecord)] for name in ("local", "served")]
    assert texts[0] == texts[1] and any(texts[0])

"""The tool that verifies chains of a 7B model, and the figures kept of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from mirg.samples import ImageRef, Sample, Target

IMAGE = ImageRef(path="a.png", width=80, height=60)
TARGET = Target(image=2, box=(0.1, 0.2, 0.3, 0.4))
SAMPLE = Sample(id="s", task="diff", images=(IMAGE, IMAGE), question="What differs in Image-2?", targets=(TARGET,))


@pytest.fixture
def tool(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools"))
    import univg_chains  # pyright: ignore[reportMissingImports]

    return univg_chains


def test_an_answer_is_adapted_to_the_grammar(tool: ModuleType) -> None:
    said = tool.adapted("<think>They differ.</think>\n<answer>(100,200),(300,400)</answer>", SAMPLE)
    box = "(100,200),(300,400)"
    assert said == f"<think>They differ. In Image-2, the box is {box}.</think><answer>Image-2: {box}</answer>"


def test_an_answer_without_one_box_stays_as_it_is(tool: ModuleType) -> None:
    for answer in ("none", "(1,2),(3,4) (5,6),(7,8)", "(165,73),(955,7"):
        response = f"<think>They differ.</think><answer>{answer}</answer>"
        assert tool.adapted(response, SAMPLE) == response


@pytest.mark.slow
def test_the_kept_figures_are_those_of_the_checks(tool: ModuleType, repository: Path) -> None:
    data = repository.parent / "shared" / "data" / "mig_bench_revised"
    if not data.is_dir():
        pytest.skip("the stored answers of UniVG-R1 are not there")
    kept = json.loads((repository / "docs" / "results" / "verification.json").read_text())["univg_r1"]
    found = tool.counted(list(tool.chains(data)))
    assert found["n"] == 4276 and found["right_refused_share"] < 0.02
    assert {key: kept[key] for key in ("refused", "refused_by", "right_answers", "right_refused_by")} == {
        key: found[key] for key in ("refused", "refused_by", "right_answers", "right_refused_by")
    }

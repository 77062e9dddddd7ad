"""What the repository promises about itself: pins inside the claimed ranges, commands that exist."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import mirg


@pytest.fixture(scope="module")
def project(repository: Path) -> dict:
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pins(repository: Path) -> dict[str, Version]:
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    parts = [line.split("==") for line in lines if line.strip() and not line.startswith("#")]
    assert all(len(part) == 2 for part in parts), "every line of constraints.txt is name==version"
    return {canonical(name): Version(version) for name, version in parts}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_pins_lie_inside_the_claimed_ranges(project: dict, pins: dict[str, Version]) -> None:
    extras = project["project"]["optional-dependencies"]
    required = [*project["project"]["dependencies"], *extras["train"], *extras["teacher"], *extras["dev"]]
    for text in required:
        requirement = Requirement(text)
        pin = pins.get(canonical(requirement.name))
        assert pin is not None, f"{requirement.name} has no pin in constraints.txt"
        assert requirement.specifier.contains(pin), f"{text} does not allow the pin {pin}"


def test_pins_are_public_versions(pins: dict[str, Version]) -> None:
    """A local version such as 2.13.0+cpu exists in one place only."""
    assert {name: str(version) for name, version in pins.items() if version.local} == {}


def test_the_version_is_one(project: dict, repository: Path) -> None:
    assert project["project"]["dynamic"] == ["version"]
    assert f"## {mirg.__version__}" in (repository / "CHANGELOG.md").read_text(encoding="utf-8")


def test_make_knows_its_targets(repository: Path) -> None:
    text = (repository / "Makefile").read_text(encoding="utf-8")
    for target in ("demo", "test", "check", "bench", "docs", "install"):
        assert re.search(rf"^{target}:", text, re.MULTILINE), target


def test_make_bench_runs_every_benchmark(repository: Path) -> None:
    listed = re.search(r"^BENCHMARKS := ((?:.*\\\n)*.*)$", (repository / "Makefile").read_text(), re.MULTILINE)
    assert listed is not None
    scripts = [path for path in (repository / "benchmarks").glob("*.py") if '"--json"' in path.read_text()]
    # case.py declares the options of the benchmarks that import it.
    scripts += [path for path in (repository / "benchmarks").glob("*.py") if " parse," in path.read_text()]
    names = {path.name for path in scripts} - {"case.py"}
    assert len(names) >= 8 and names == set(re.findall(r"\w+\.py", listed[1]))


def test_the_workflow_tests_the_claimed_versions(project: dict, repository: Path) -> None:
    """Every version of Python among the classifiers is tested, and every target that the workflow makes exists."""
    workflow = yaml.safe_load((repository / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    tested = workflow["jobs"]["test"]["strategy"]["matrix"]["python-version"]
    classifiers = project["project"]["classifiers"]
    assert tested == [name.rpartition(" ")[2] for name in classifiers if re.search(r":: 3\.\d+$", name)]
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    steps = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    made = [run.split()[-1] for run in steps if run.startswith("make ")]
    assert {"check", "test"} == set(made)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in made)


def test_ci_calls_the_tests(repository: Path) -> None:
    script = repository / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text(encoding="utf-8")
    assert subprocess.run(["bash", "-n", str(script)], capture_output=True).returncode == 0


def test_every_room_has_its_floor(project: dict) -> None:
    """A new room must be named in the contract of import-linter, otherwise nothing holds it."""
    contract = project["tool"]["importlinter"]["contracts"][0]
    named = {name.strip(" ()") for layer in contract["layers"] for name in layer.split(":")}
    root = Path(mirg.__file__).parent
    rooms = {path.stem for path in root.glob("*.py") if not path.stem.startswith("_")}
    rooms |= {path.parent.name for path in root.glob("*/__init__.py")}
    assert rooms <= named, f"not in the layers of pyproject.toml: {sorted(rooms - named)}"

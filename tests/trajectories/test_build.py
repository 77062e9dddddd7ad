"""Datasets with trajectories: every row is kept or refused with a reason, and what is kept passes again later."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from mirg.cli.main import app
from mirg.data.scenes.generate import write_scenes
from mirg.data.scenes.world import EASY
from mirg.errors import ConfigError, DataError, PluginError
from mirg.images import open_image
from mirg.samples import REJECTED_FILE, DatasetFolder, DatasetWriter, ObjectNote, Sample, Target, Trajectory
from mirg.samples import folder as folder_module
from mirg.samples import writer as writer_module
from mirg.storage import read_jsonl
from mirg.trajectories.build import build_dataset, check_dataset
from mirg.trajectories.checks import DEFAULT, VerifyConfig, checks_of
from mirg.trajectories.writer import build

N = 45


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data", N, split="train", config=EASY)


def rows_of(path: Path) -> dict[str, dict]:
    return {row["id"]: row for _, row in read_jsonl(path / "samples.jsonl")}  # type: ignore[index,misc]


def test_every_scene_gets_a_verified_trajectory(scenes: DatasetFolder, tmp_path: Path) -> None:
    report = build_dataset(scenes, tmp_path / "out")
    assert (report.n_rows, report.n_kept, report.rejections) == (N, N, [])
    out = DatasetFolder.open(tmp_path / "out")
    before, after = {s.id: s for s in scenes.read()}, {s.id: s for s in out.read(images="decode")}
    assert list(before) == list(after)
    for sample in after.values():
        assert sample.trajectory is not None
        assert sample.trajectory.checks == tuple(checks_of(DEFAULT)) and sample.trajectory.writer == "rules-plain/1"
        old = before[sample.id]
        assert sample.model_copy(update={"trajectory": None}).model_dump(exclude={"images"}) == old.model_dump(
            exclude={"images"}
        )
        assert [i.sha256 for i in sample.images] == [i.sha256 for i in old.images], "images are copied byte for byte"
    assert out.verify() == [] and out.card.tasks == scenes.card.tasks
    assert (tmp_path / "out" / REJECTED_FILE).read_text() == ""


def test_a_source_is_not_replaced_by_its_trajectories(scenes: DatasetFolder) -> None:
    before = (scenes.root / "samples.jsonl").read_bytes()
    with pytest.raises(ConfigError, match="which is read from"):
        build_dataset(scenes, scenes.root, overwrite=True)
    assert (scenes.root / "samples.jsonl").read_bytes() == before


def moody(sample: Sample) -> Trajectory:
    """A writer that leaks, points at the wrong place, or gives up, by the sample's number."""
    number, good = int(sample.id.rsplit("-", 1)[1]), build(sample)
    if number % 3 == 1:
        return good.model_copy(update={"thinking": "By the annotation. " + good.thinking})
    if number % 3 == 2:
        raise DataError("this one is too hard")
    return good


def test_refused_samples_are_counted_and_kept_with_their_reason(scenes: DatasetFolder, tmp_path: Path) -> None:
    report = build_dataset(scenes, tmp_path / "out", writer=moody)
    assert report.n_rows == N == report.n_kept + len(report.rejections)
    assert set(report.reasons) == {"no_leak", "writer"}
    rows = [json.loads(line) for line in (tmp_path / "out" / REJECTED_FILE).read_text().splitlines()]
    assert len(rows) == len(report.rejections) == report.as_dict()["rejected"]
    assert all(row["id"] and row["task"] and row["check"] and row["reason"] for row in rows)
    leaked = next(row for row in rows if row["check"] == "no_leak")
    assert "annotation" in leaked["reason"] and leaked["thinking"].startswith("By the annotation.")
    assert not {row["id"] for row in rows} & set(rows_of(tmp_path / "out"))


def test_the_order_of_the_rows_changes_nothing(scenes: DatasetFolder, tmp_path: Path) -> None:
    build_dataset(scenes, tmp_path / "a", writer=moody)
    lines = (scenes.root / "samples.jsonl").read_text().splitlines(keepends=True)
    turned = tmp_path / "turned"
    turned.mkdir()
    shutil.copytree(scenes.root / "images", turned / "images")
    (turned / "samples.jsonl").write_text("".join(reversed(lines)))
    (turned / "card.json").write_bytes((scenes.root / "card.json").read_bytes())
    build_dataset(DatasetFolder.open(turned), tmp_path / "b", writer=moody)
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")


def test_stored_trajectories_pass_again_from_their_text_alone(scenes: DatasetFolder, tmp_path: Path) -> None:
    build_dataset(scenes, tmp_path / "out", writer=moody)
    out = DatasetFolder.open(tmp_path / "out")
    report = check_dataset(out)
    assert report.n_kept == report.n_rows == out.card.n_samples and not report.rejections
    assert check_dataset(scenes).n_without == N, "samples without a trajectory are not failures"
    with pytest.raises(ConfigError, match="qwen9"):
        check_dataset(out, family="qwen9")


@pytest.mark.parametrize(
    ("why", "change", "check"),
    [
        ("a leak was edited in", lambda old: {"thinking": old["thinking"] + " As annotated."}, "no_leak"),
        ("the answer was dropped", lambda old: {"answer": []}, "final_image_set"),
        ("a check was never recorded", lambda old: {"checks": ["grammar"]}, "citations"),
    ],
)
def test_a_changed_trajectory_is_found(
    scenes: DatasetFolder, tmp_path: Path, why: str, change: Callable[[dict], dict], check: str
) -> None:
    build_dataset(scenes, tmp_path / "out")
    file = tmp_path / "out" / "samples.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    edited = next(row for row in rows if row["targets"])
    edited["trajectory"] |= change(edited["trajectory"])
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = check_dataset(DatasetFolder.open(tmp_path / "out"))
    assert [(row.id, row.check) for row in report.rejections] == [(edited["id"], check)]
    assert report.n_kept == N - 1


def test_broken_rows_and_images_are_refused_and_the_rest_is_built(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "in", name="x") as writer:
        for k in range(3):
            ref = writer.add_image(Image.new("RGB", (40, 30), (k, 90, 90)), f"i{k}")
            ref = ref.model_copy(update={"objects": (ObjectNote(label="ring", box=(0.1, 0.1, 0.5, 0.5)),)})
            target = Target(image=1, box=(0.1, 0.1, 0.5, 0.5), label="ring")
            writer.add(Sample(id=f"s{k}", task="multi_target", images=(ref, ref), question="?", targets=(target,)))
    (tmp_path / "in" / "images" / "i1.png").write_bytes(b"\x89PNG")
    with (tmp_path / "in" / "samples.jsonl").open("a") as stream:
        stream.write('{"id": "s9", "task"')
    report = build_dataset(DatasetFolder.open(tmp_path / "in"), tmp_path / "out")
    assert (report.n_rows, report.n_kept) == (4, 2)
    assert report.reasons == {"image": 1, "row": 1}
    assert "sample s1" in next(row.reason for row in report.rejections if row.check == "image")
    assert sorted(rows_of(tmp_path / "out")) == ["s0", "s2"]


def test_an_image_is_decoded_once(scenes: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: Counter[Path] = Counter()

    def counted(path: Path, **more: Any) -> Image.Image:
        decoded[path] += 1
        return open_image(path, **more)

    for module in (folder_module, writer_module):
        monkeypatch.setattr(module, "open_image", counted)
    build_dataset(scenes, tmp_path / "out")
    assert len(decoded) == scenes.card.n_images and set(decoded.values()) == {1}


@pytest.mark.parametrize("wrong_first", [True, False], ids=["before any right row", "after a right row"])
def test_a_row_that_tells_another_size_is_refused(tmp_path: Path, wrong_first: bool) -> None:
    with DatasetWriter(tmp_path / "in", name="x") as writer:
        note = ObjectNote(label="ring", box=(0.1, 0.1, 0.5, 0.5))
        ref = writer.add_image(Image.new("RGB", (40, 30)), "i").model_copy(update={"objects": (note,)})
        target = Target(image=1, box=(0.1, 0.1, 0.5, 0.5), label="ring")
        for name in ("wrong", "right") if wrong_first else ("right", "wrong"):
            told = ref.model_copy(update={"height": 31}) if name == "wrong" else ref
            writer.add(Sample(id=name, task="multi_target", images=(told, told), question="?", targets=(target,)))
    report = build_dataset(DatasetFolder.open(tmp_path / "in"), tmp_path / "out")
    (refused,) = report.rejections
    assert (refused.id, refused.check) == ("wrong", "image")
    assert "sample wrong: image" in refused.reason and "40 x 30 pixels, the row says 40 x 31" in refused.reason
    assert list(rows_of(tmp_path / "out")) == ["right"]


def never(sample: Sample) -> Trajectory:
    raise DataError(f"no idea about {sample.id}")


def test_nothing_verified_is_an_error_and_leaves_nothing(scenes: DatasetFolder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"no sample .* got a verified trajectory, {N} rows read; first: .*no idea"):
        build_dataset(scenes, tmp_path / "out", writer=never)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_writer_is_refused(scenes: DatasetFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown writer 'oracle'"):
        build_dataset(scenes, tmp_path / "out", writer="oracle")


OWN = """
def even(sample, trajectory):
    return f"{sample.id} is even" if sample.id[-1] in "02468" and trajectory.thinking else None
def odd(sample, trajectory):
    return None if even(sample, trajectory) else "it is odd"
def broken(sample, trajectory):
    return trajectory.nothing
def empty(sample, trajectory):
    return ""
iou = even
number = 3
"""


def test_a_check_of_the_users(scenes: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)

    def call(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["trajectories", *arguments, "--json"])

    built = json.loads(call("build", str(scenes.root), "out", "--check", "own.py:even").stdout)
    evens = [sample.id for sample in scenes if sample.id[-1] in "02468"]
    assert built["reasons"] == {"even": len(evens)} and 0 < len(evens) < N
    assert [(row["id"], row["reason"]) for row in built["rejections"]] == [(one, f"{one} is even") for one in evens]
    assert all(row["trajectory"]["checks"][-1] == "even" for row in rows_of(tmp_path / "out").values())
    build_dataset(scenes, "plain")
    checked = call("check", "plain", "--check", "own.py:even", "--check", f"{tmp_path}/own.py:odd")
    assert checked.exit_code == 1
    assert json.loads(checked.stdout)["reasons"] == {"even": len(evens), "odd": N - len(evens)}
    assert call("check", "out", "--check", "own.py:even").exit_code == 0


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("broken", PluginError, r"raised AttributeError:\n(.|\n)*own.py\", line \d+, in broken(.|\n)*'nothing'"),
        ("empty", PluginError, "sample .*: the trajectory check own.py:empty returned ''"),
        ("iou", ConfigError, "there are two trajectory checks 'iou'"),
        ("number", ConfigError, "is not a function but int"),
    ],
)
def test_a_check_of_the_users_that_cannot_be_used(
    scenes: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: type, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    with pytest.raises(error, match=message):
        build_dataset(scenes, "out", config=VerifyConfig(checks=(f"own.py:{name}",)))
    assert not Path("out").exists()

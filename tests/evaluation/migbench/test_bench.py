"""``mirg evaluate --bench migbench`` on drawn images: from the downloaded folder to the tables of both versions."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.commands import invoke
from fakes.engines import Script, ScriptedEngine
from fakes.migbench_tree import DEFECTS, ROWS, TOGETHER, WHOLE, picture, revised, right_answer, write_tree
from mirg.data.importers.migbench import load_annotations
from mirg.engines.base import Generation, Request
from mirg.engines.load import Remote, load_engine
from mirg.errors import ConfigError, DataError, EvaluationError
from mirg.evaluation.benches import open_bench, page_tables
from mirg.evaluation.migbench.evaluations import score_file
from mirg.evaluation.migbench.published import PUBLISHED
from mirg.evaluation.migbench.responses import indices_of
from mirg.evaluation.migbench.summary import PROTOCOLS
from mirg.evaluation.page_tables import read_evaluation
from mirg.evaluation.pages import report_from_run
from mirg.evaluation.runner import Plan
from mirg.families import FAMILIES, PixelLimits
from mirg.frames import to_frame
from mirg.samples import DatasetFolder

FILES = ["bench.json", "evaluation.json", "records.jsonl", "rejected.jsonl", "summary.json", "data/samples.jsonl"]
NAMES = {"migbench": "MIG_data.json", "migbench-revised": "revised_MIG_bench.json"}
ORIGINAL = PUBLISHED["original"]
PLAN = Plan(Generation(batch_size=4))
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both versions and their images. Not to be written to."""
    root = write_tree(tmp_path_factory.mktemp("tree"))
    (root / NAMES["migbench-revised"]).write_text(json.dumps(revised()))
    return root


def knowing(root: Path, name: str = "migbench") -> Script:
    """A model that answers with the truth."""
    truth = load_annotations(root / NAMES[name], revised=name != "migbench")

    def answer(request: Request, settings: Generation) -> str:
        found = indices_of(request.sample_id, revised=truth.revised)
        assert found is not None
        return right_answer([truth.items[index] for index in found])

    return answer


@pytest.fixture
def run(tree: Path, tmp_path: Path) -> Run:
    """``run(script, name="migbench", out="out", plan=PLAN, **options)``: the summary of one evaluation."""

    def evaluate(
        script: Script | ScriptedEngine, name: str = "migbench", out: str = "out", plan: Plan = PLAN, **options: Any
    ) -> dict[str, Any]:
        show = options.pop("show", False)
        opened = open_bench(name, plan, root=options.pop("root", tree), **options)
        engine = script if isinstance(script, ScriptedEngine) else ScriptedEngine(script)
        summary = opened.run(engine, tmp_path / out, plan, None)
        if show:
            opened.show(summary)
        return summary

    return evaluate


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.mark.parametrize(
    ("name", "mode", "prompts"),
    [
        ("migbench", "poll", "mirg"),
        ("migbench", "all", "published"),
        ("migbench-revised", "poll", "published"),
        ("migbench-revised", "all", "mirg"),
    ],
)
def test_the_truth_is_right_and_one_box_for_all_is_not(
    run: Run, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, mode: str, prompts: str
) -> None:
    result = run(knowing(tree, name), name, show=True, mode=mode, prompts=prompts)["bench"]
    assert (result["items"], result["responses"]["used"]) == (len(ROWS), len(ROWS))
    inverted = {index for index, kind in DEFECTS.items() if kind == "inverted_box"} if name == "migbench" else set()
    scores = score_file(load_annotations(tree / NAMES[name], revised=None), tmp_path / "out", PROTOCOLS).scores
    for protocol in PROTOCOLS:
        # The whole answer is read as one by the original protocol, and the thinking quotes a box.
        wrong = {score.item.index for score in scores if score.iou(protocol) < 0.5}
        together = {index for group in TOGETHER for index in group} if mode == "all" else set()
        assert wrong == (inverted if protocol != "official" else set(range(len(ROWS))) - together | inverted), protocol
    assert result.get("groups", []) == (TOGETHER if mode == "all" else [])
    said = capsys.readouterr().out
    version = "original" if name == "migbench" else "revised"
    assert all(f"MIG-Bench ({version}), {protocol}, percent" in said for protocol in PROTOCOLS)
    assert ("UniVG-R1" in said) == (version == "revised") and "mean of Common, OT, MV, Region" in said
    assert ("13 items were asked in 5 prompts" in said) == (mode == "all")

    options = {"show": True, "mode": mode, "prompts": prompts, "against": [tmp_path / "out"]}
    whole = run(lambda request, settings: WHOLE, name, "whole", **options)
    (against,) = whole["bench"]["against"]
    assert whole["bench"]["strict"]["mean"]["acc@0.5"] == 0.0 and against["items"] == len(ROWS)
    own, other = whole["bench"]["strict"], result["strict"]
    for task, cell in against["strict"]["tasks"].items():
        assert (cell["a"], cell["b"]) == pytest.approx((other["tasks"][task]["acc@0.5"], own["tasks"][task]["acc@0.5"]))
    assert against["strict"]["mean"]["high"] < 0 and "difference, 95 % interval" in capsys.readouterr().out


def test_stopped_anywhere_and_continued(run: Run, tree: Path, tmp_path: Path) -> None:
    run(knowing(tree), out="whole", mode="all")
    expected = content(tmp_path / "whole")
    for batches in (0, 3):
        out = f"stopped-{batches}"
        with pytest.raises(KeyboardInterrupt):
            run(ScriptedEngine(knowing(tree), die_after=batches), out=out, mode="all")
        assert not (tmp_path / out / "bench.json").exists()
        run(knowing(tree), out=out, mode="all")
        assert content(tmp_path / out) == expected
    (tmp_path / "whole" / "bench.json").unlink()  # killed between the summary and the tables
    asked = ScriptedEngine(knowing(tree))
    run(asked, out="whole", mode="all")
    assert content(tmp_path / "whole") == expected and asked.asked == []


def test_another_evaluation_is_not_overwritten(run: Run, tree: Path, tmp_path: Path) -> None:
    run(knowing(tree))
    before = content(tmp_path / "out")
    for options in ({"mode": "all"}, {"name": "migbench-revised"}, {"prompts": "published"}):
        with pytest.raises(EvaluationError, match="holds an"):
            run(knowing(tree), **options)
        assert {name: (tmp_path / "out" / name).exists() for name in FILES}["data/samples.jsonl"]
        assert (tmp_path / "out" / "data/samples.jsonl").read_bytes() == before["data/samples.jsonl"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_data_of_the_user_stays(run: Run, tree: Path, tmp_path: Path, overwrite: bool) -> None:
    kept = tmp_path / "out" / "data" / "photographs.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    with pytest.raises(EvaluationError, match="holds something else than the items of a benchmark"):
        run(knowing(tree), plan=Plan(PLAN.generation, overwrite=overwrite))
    assert kept.read_text() == "mine"


def test_score_migbench_gives_the_same_figures(run: Run, tree: Path, tmp_path: Path) -> None:
    """In the frame of the model of each evaluation: Qwen2.5-VL writes pixels of the resized image.

    With these limits, the images are enlarged and have different sizes.
    """
    limits = PixelLimits(12_544, 25_088)
    qwen = ScriptedEngine(lambda request, settings: "", family=FAMILIES["qwen2.5-vl"], limits=limits)

    def in_pixels(request: Request, settings: Generation) -> str:
        samples = {sample.id: sample for sample in DatasetFolder.open(tmp_path / "pixels" / "data").read()}
        (target,) = samples[request.sample_id].targets
        size = samples[request.sample_id].sizes[target.image - 1]
        return "Image-{}: ({},{}),({},{})".format(target.image, *to_frame(target.box, size, qwen.family, qwen.limits))

    qwen.script = in_pixels
    result = run(qwen, out="pixels")["bench"]
    found = {task: row["acc@0.5"] for task, row in result["strict"]["tasks"].items()}
    assert found == {task: 80.0 if task == "common_object" else 100.0 for task in found}
    assert result["official"]["mean"]["acc@0.5"] == pytest.approx(98.0)
    run(lambda request, settings: WHOLE, out="whole", against=[tmp_path / "pixels"])
    for out in ("pixels", "whole"):
        arguments = ["score", "migbench", tree / "MIG_data.json", tmp_path / out, "--protocol", "all"]
        if out == "whole":
            arguments += ["--against", tmp_path / "pixels"]
        assert invoke(*arguments, "--summary", tmp_path / "s.json").exit_code == 0
        kept = json.loads((tmp_path / out / "bench.json").read_text())
        scored = json.loads((tmp_path / "s.json").read_text())
        assert {name: kept[name] for name in scored} == scored


def test_a_part_of_the_items(run: Run, tree: Path, tmp_path: Path) -> None:
    result = run(knowing(tree), plan=Plan(tasks=("region", "diff"), limit=3))["bench"]
    assert {task: row["items"] for task, row in result["strict"]["tasks"].items()} == {"diff": 1, "region": 2}
    assert result["strict"]["mean"]["acc@0.5"] == 100.0 and "mean_of_four" not in result["strict"]
    other = run(lambda request, settings: WHOLE, out="other", against=[tmp_path / "out"])["bench"]
    assert other["items"] == len(ROWS) and other["against"][0]["items"] == 3
    with pytest.raises(ConfigError, match="no item of task tracking"):
        run(knowing(tree), plan=Plan(tasks=("tracking",)))


def test_what_cannot_be_asked_is_wrong_and_the_others_continue(run: Run, tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "copy")
    broken = tmp_path / "copy" / ROWS[9]["images"][2]
    broken.write_bytes(b"no picture")
    summary = run(knowing(tree), root=tmp_path / "copy")
    assert (summary["n"], summary["rejected"]) == (len(ROWS) - 3, 3)
    assert "3.png is not an image" in summary["rejections"][0]["reason"]
    result = summary["bench"]
    assert result["responses"]["missing_indices"] == [7, 8, 9] and result["items"] == len(ROWS)
    assert result["strict"]["tasks"]["object_tracking"]["acc@0.5"] == 0.0
    plan = Plan(PLAN.generation, tasks=("diff", "object_tracking"))
    part = run(knowing(tree), root=tmp_path / "copy", out="part", plan=plan)["bench"]
    assert part["responses"]["missing_indices"] == [7, 8, 9] and part["items"] == 4
    assert part["strict"]["mean"]["acc@0.5"] == 50.0, "items that could not be asked count in a part, too"


def move(tree: Path, to: Path) -> None:
    shutil.copytree(tree / "MIG-Bench", to)


def pack(tree: Path, archive: Path, below: str) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as packed:
        for file in (tree / "MIG-Bench").rglob("*.*"):
            packed.write(file, f"{below}{file.relative_to(tree / 'MIG-Bench' / 'images')}")


@pytest.mark.parametrize(
    ("layout", "root"),
    [
        (lambda tree, root: move(tree, root / "MIG-Bench"), "."),
        (lambda tree, root: move(tree, root / "MIG-Bench"), "MIG-Bench"),
        (lambda tree, root: shutil.copytree(tree / "MIG-Bench" / "images", root / "images"), "."),
        (lambda tree, root: shutil.copytree(tree / "MIG-Bench" / "images", root / "images"), "images"),
        (lambda tree, root: pack(tree, root / "images.zip", ""), "."),
        (lambda tree, root: pack(tree, root / "all_of_it.zip", "images/"), "."),
        (lambda tree, root: pack(tree, root / "images.zip", "MIG-Bench/images/"), "."),
        (lambda tree, root: pack(tree, root / "MIG-Bench" / "images.zip", "images/"), "."),
    ],
)
def test_layouts_of_the_folder(
    run: Run, tree: Path, tmp_path: Path, layout: Callable[[Path, Path], None], root: str
) -> None:
    place = tmp_path / "download"
    place.mkdir()
    layout(tree, place)
    shutil.copy(tree / "MIG_data.json", place)
    result = run(knowing(tree), root=place / root, plan=Plan(PLAN.generation, tasks=("object_tracking",)))
    assert result["bench"]["strict"]["tasks"]["object_tracking"]["acc@0.5"] == 100.0


@pytest.mark.parametrize(
    ("change", "options", "error", "says"),
    [
        ((), {"name": "migbench2"}, ConfigError, "no benchmark 'migbench2'"),
        ((), {"root": None}, ConfigError, "needs --root"),
        ((), {"root": Path("absent")}, ConfigError, "absent is not a folder"),
        ((), {"mode": "pol"}, ConfigError, "unknown mode 'pol'"),
        ((), {"prompts": "publishd"}, ConfigError, "unknown prompts 'publishd'"),
        ((), {"prompts": "published", "plan": Plan(instructions="full")}, ConfigError, "--instructions"),
        ((), {"against": [Path("absent")]}, Exception, "absent"),
        (("MIG_data.json",), {}, DataError, r"holds no MIG_data.json"),
        ((), {"annotations": Path("absent.json")}, Exception, "absent.json"),
        (
            ("MIG-Bench/images/region",),
            {},
            DataError,
            r"lacks 5 of 33 images of MIG-Bench, the first is \./MIG-Bench/images/region",
        ),
        (("MIG-Bench",), {"name": "migbench-revised"}, DataError, "lacks 33 of 33 images"),
        (("MIG-Bench", "images.zip"), {}, DataError, "images.zip cannot be read as a zip archive"),
    ],
)
def test_what_is_wrong_is_said_before_a_model_is_asked(
    run: Run,
    tree: Path,
    tmp_path: Path,
    change: tuple[str, ...],
    options: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    place = tmp_path / "download"
    shutil.copytree(tree, place)
    for name in change:
        path = place / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if name.endswith(".zip"):
            path.write_text("version https://git-lfs.github.com/spec/v1")
    engine = ScriptedEngine(lambda request, settings: WHOLE)
    with pytest.raises(error, match=says):
        run(engine, **{"root": place, **options})
    assert engine.asked == []


def test_a_version_is_not_read_as_the_other(run: Run, tree: Path) -> None:
    with pytest.raises(DataError, match="REVISED"):
        run(knowing(tree), annotations=tree / "revised_MIG_bench.json")
    with pytest.raises(DataError, match="ORIGINAL"):
        run(knowing(tree), "migbench-revised", annotations=tree / "MIG_data.json")


QUESTION = ROWS[10]["question"]
QWEN = "Format:<|box_start|>(x1,y1),(x2,y2)<|box_{}|>. Don't generate addtional words."
THINK = (
    " First output the thinking process in <think> </think> tags and then output the bounding box in <answer> "
    "</answer> tags."
)
INTERN = re.sub(r"\(<\|box_start\|>.*<\|box_end\|>", "(<box>[51,265,519,388]</box>", QUESTION)


@pytest.mark.parametrize(
    ("name", "prompts", "family", "text", "limits"),
    [
        ("migbench", "published", "qwen2-vl", QUESTION + QWEN.format("start"), None),
        ("migbench-revised", "published", "qwen2-vl", QUESTION + QWEN.format("end"), PixelLimits(3136, 401408)),
        ("migbench-revised", "published-think", "qwen2-vl", QUESTION + THINK, PixelLimits(3136, 401408)),
        ("migbench-revised", "published", "qwen3-vl", QUESTION + QWEN.format("end"), None),
        (
            "migbench",
            "published",
            "internvl",
            INTERN + "Format:<box>[[x1,y1,x2,y2]]</box>. Don't generate addtional words.",
            None,
        ),
    ],
)
def test_prompts_of_the_published_scripts(
    tree: Path, tmp_path: Path, name: str, prompts: str, family: str, text: str, limits: PixelLimits | None
) -> None:
    """Held to the scripts: images in order, nothing before them, and the question with its suffix, to the letter."""
    said: list[list[dict[str, Any]]] = []

    def script(request: Request, settings: Generation) -> str:
        if request.sample_id.endswith("-0010"):
            said.append(request.messages)
            assert [image.size for image in request.images] == sizes
        return WHOLE

    sizes = [image.size for image in map(picture, ROWS[10]["images"])]
    plan = Plan(PLAN.generation, tasks=("multi_view",))
    opened = open_bench(name, plan, root=tree, prompts=prompts)
    served = load_engine("m", family=family, remote=Remote("http://localhost:1/v1"), limits=opened.limits)
    assert served.limits == limits
    opened.run(ScriptedEngine(script, family=FAMILIES[family]), tmp_path / "out", plan, None)
    ((message,),) = said
    parts = message["content"]
    assert parts[-1] == {"type": "text", "text": text}
    kinds = [part["text"] or part["type"] for part in parts[:-1]]
    labels = ["Image-1: ", "image", "\n", "Image-2: ", "image", "\n", "Image-3: ", "image", "\n"]
    assert kinds == (labels if family == "internvl" else ["image"] * 3)


def test_the_page_shows_the_tables(run: Run, tree: Path, tmp_path: Path) -> None:
    run(lambda request, settings: knowing(tree)(request, settings).partition("</think>")[2], out="eval/right")
    run(lambda request, settings: WHOLE, out="eval/whole")
    tables = page_tables([read_evaluation(name, tmp_path / "eval" / name, []) for name in ("right", "whole")])
    assert [table.column.key for table in tables] == list(PROTOCOLS)
    mean = next(row for row in tables[1].rows if row.name == "mean of tasks")
    assert mean.cells["right"].mean == pytest.approx(0.98) and mean.cells["whole"].mean == 0.0
    assert tables[0].models[:3] == ("right", "whole", "human (published)") and mean.n == len(ROWS)
    robust = next(row for row in tables[0].rows if row.name == "Robust")
    assert {name: cell.mean for name, cell in robust.cells.items()} == pytest.approx(
        {"right": 1.0, "whole": 0.0} | {f"{row.model} (published)": row.tasks[1] / 100 for row in ORIGINAL if row.tasks}
    )
    page = report_from_run(tmp_path).read_text()
    assert "MIG-Bench (original): strict-box, Acc@0.5" in page and "arXiv 2501.05767" in page
    assert "was not found" not in page, "the images are those of the folder data/ of an evaluation"

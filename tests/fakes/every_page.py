"""One page of every kind with all of its parts, and texts changed in every field of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image

from mirg.report.charts import forest
from mirg.report.data import (
    OUTCOME_TITLES,
    Chart,
    Column,
    Completion,
    Differences,
    Example,
    Examples,
    Fact,
    Failures,
    GalleryItem,
    Group,
    GroupChart,
    Histogram,
    Interval,
    Mark,
    Matrix,
    PartLine,
    Picture,
    ReportData,
    ResultTable,
    RolloutGroup,
    Rollouts,
    Section,
    Series,
    Stage,
    TableRow,
    TaskTable,
)
from mirg.report.pages import (
    Chain,
    CheckData,
    LengthView,
    Line,
    Listing,
    ShapeView,
    SharedLine,
    TeacherPageData,
    markup,
    render,
    render_check,
    render_page,
    write_teacher_page,
)
from mirg.report.sheet import SheetBox, SheetData, SheetImage, SheetSample, render_sheet
from mirg.study.page import ArmRow, Claim, Spent

SIZES = ((120, 60), (50, 90), (64, 64))
TASKS = ("refer", "difference", "multi view")
# Fields of a fixed set of values, which no text from outside can be in.
FIXED = frozenset({*OUTCOME_TITLES, "true", "given", "noted", "learned from", "no signal", "joint", "iou"})

Change = Callable[[str], str]


def changed(value: Any, change: Change) -> Any:
    """``value`` with ``change`` applied to every text in it, also to keys; fixed values and paths stay."""
    if isinstance(value, str):
        return value if value in FIXED else change(value)
    if isinstance(value, Mapping):
        return {changed(key, change): changed(inner, change) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        inner = [changed(one, change) for one in value]
        return type(value)(*inner) if hasattr(value, "_fields") else type(value)(inner)
    return value


def pictures(folder: Path) -> tuple[Picture, ...]:
    """Three images of different shapes, and one that is missing."""
    found = []
    for number, size in enumerate(SIZES, 1):
        path = folder / f"{number}.png"
        Image.effect_noise(size, 40).convert("RGB").save(path)
        found.append(Picture(path, *size, caption="reference" if number == 1 else ""))
    return (*found, Picture(folder / "missing.png", 96, 96, "distractor"))


def gallery(shots: tuple[Picture, ...], count: int = 24) -> tuple[GalleryItem, ...]:
    """Answers of two models to ``count`` / 2 samples; the target is in the second image."""
    return tuple(
        GalleryItem(
            sample_id=f"scenes/{k // 2}",
            task=TASKS[k // 2 % 3],
            model=("base", "RL")[k % 2],
            outcome=("right", "wrong_image", "wrong_box", "unreadable")[k % 4],  # type: ignore[arg-type]
            question=f"Where is the ring number {k // 2}?",
            pictures=shots,
            true=(Mark(2, (0.1, 0.5, 0.7, 0.9), "ring"),),
            predicted=(Mark(2 - k % 2, (0.2, 0.4, 0.8, 0.9)),),
            given=(Mark(1, (0.5, 0.1, 0.9, 0.4)),),
            thinking=f"Found: ring{k}",
            answer="Image-2: (200,400),(800,900)",
            failure="no answer block" if k % 4 == 3 else None,
            parts=(PartLine("image", 1.0), PartLine("object", 0.4, "overlap scores 0.40")),
            iou=0.4,
            tokens=31,
            note="Right: A.",
        )
        for k in range(count)
    )


def report(folder: Path, models: tuple[str, ...] = ("base", "RL"), count: int = 24) -> ReportData:
    """A report with every section, and ``count`` answers."""
    shots = pictures(folder)
    items = gallery(shots, count)
    joint = Column("joint", "joint Acc@0.5", "Right image and IoU at least 0.5.")
    columns = (joint, *(Column(f"m{k}", f"measure {k}", "A share.") for k in range(6)))
    interval = Interval(0.55, 0.5, 0.6)
    cells = {column.key: interval for column in columns}
    gain = {column.key: Interval(0.1, -0.1, 0.3) for column in columns}
    steps = tuple(float(k) for k in range(20))
    chart = Chart("Reward", (Series("total", steps, steps), Series("image", steps, steps[::-1])), help="per step")
    group = RolloutGroup(
        11, "scenes/7", "refer", "learned from", "Where?", shots, items[0].true, items[0].given,
        (
            Completion("<think>ring</think>", (PartLine("total", 0.9),), 1.5, (Mark(2, (0.1, 0.5, 0.7, 0.8)),), 3),
            Completion("Image-1", (PartLine("object", 0.1, "IoU 0.1"),), None, (Mark(1, (0.0, 0.0, 1.0, 0.5)),)),
        ),
    )  # fmt: skip
    flat = group._replace(step=21, signal="no signal", completions=group.completions[:1])
    rows = [TableRow(f"task {k}", 9, dict.fromkeys(models, interval), 0.1) for k in range(4)]
    task_table = TaskTable(joint, models, tuple(rows))
    return ReportData(
        title="Report: demo",
        subtitle="evaluated: base, RL",
        examples=Examples("RL corrects 3.", (Example("wrong → right", items[:2], ("Image-1", "IoU 0.90")),)),
        sections=(Section("configuration", (("seed", "0"), ("data", "data/rl"))),),
        table=ResultTable(
            columns,
            tuple(TableRow(name, 1000, cells) for name in models),
            {"joint": 0.1},
            tuple(TableRow(f"{b} − {a}", 1000, gain) for a, b in pairwise(models)),
            "Intervals resample image sets.",
        ),
        task_tables=(task_table, task_table._replace(column=columns[1])),
        plugin_tables=(task_table._replace(column=columns[2]),),
        outcomes={name: {"right": 5, "wrong_box": 2, "wrong_image": 3, "unreadable": 1} for name in models},
        failures=Failures(
            ("RL prefers Image-1.",),
            (Matrix("RL", tuple("012345"), ("1", "2"), tuple((k, 10 - k) for k in range(6))),),
            "8 items",
            (Histogram("RL", (0.0, 0.5, 1.0), (1, 3), 0.5, interval),),
            "IoU of every true box",
            Differences((joint,), (TableRow("RL", 8, {"joint": Interval(0.1, 0.05, 0.2)}),), "Signed errors."),
            (GroupChart("by place", (Group("1", 4, 0.5), Group("2", 4)), {"RL": (interval, None)}, "all", "true"),),
        ),
        robustness=Differences((joint,), (TableRow("other order", 8, gain),), "The same samples."),
        stages=(Stage("GRPO", (chart,), (chart,), (("steps", "19"),)),),
        rollouts=(Rollouts("GRPO", "2 of 9 groups.", (group, flat)),),
        gallery=items,
        notes=("Two samples had no image.",),
    )


def sheet(folder: Path, count: int = 9) -> SheetData:
    """A contact sheet."""
    boxes = (SheetBox("noted", (0.1, 0.1, 0.3, 0.3), "star"), SheetBox("true", (0.2, 0.5, 0.7, 0.9), "ring"))
    images = tuple(
        SheetImage(p.path, f"Image-{k}", "", "a photograph", boxes) for k, p in enumerate(pictures(folder), 1)
    )
    facts: tuple[Fact, ...] = (("source", "scenes"),)
    samples = [
        SheetSample(
            f"s{k}", TASKS[k % 3], f"Where is ring {k}?", images, ("same object",), k % 2 == 0, ("Image-2 ring",),
            "Found: Image-2.", ("Image-2 (…)",), "written by rules", facts,
        )
        for k in range(count)
    ]  # fmt: skip
    return SheetData("Scenes", "12 samples.", samples, ("2 rows cannot be read",))


def check() -> CheckData:
    """A page of ``mirg data check`` with findings of every kind."""
    bars = [("1", 3), ("2", 1)]
    shape = ShapeView("refer", 4, 2, bars, bars, bars, bars, ((1, 0, 0), (0, 2, 0), (0, 0, 1)))
    line = Line(3, "s1", "question", "holds '<image>'", "remove it", "kind")
    return CheckData(
        "Check of data", "4 rows", True, "1 row cannot be used.", (("images", "every image was decoded"),),
        Listing(7, {"question": 7}, (line,)), Listing(1, {"tiny box": 1}, (line,)), "Compared with bench.",
        (SharedLine("s1", 1, "a.png", "b1", 2, "b.png", "bench", "the same file"),), 3, "Text is estimated.",
        (LengthView("qwen3-vl", 10, 20, 30, 0.5, 1, 2, ((30, "s1"),), bars),), (shape, shape),
    )  # fmt: skip


def teacher(folder: Path) -> TeacherPageData:
    """A page about chains of a teacher: kept ones, and those refused by two checks."""
    item = gallery(pictures(folder))[0]
    chains = [
        Chain(
            f"s{k}", TASKS[k % 3], ("", "grammar", "final_box")[k % 3], ("grammar: two blocks",) if k % 3 else (),
            "Where?", "Found: ring", "Image-2 ring", item.pictures, item.true, item.predicted, item.given,
            ("1 attempt",),
        )
        for k in range(9)
    ]  # fmt: skip
    return TeacherPageData(
        "Chains by teacher", "9 samples", 3, 6, 1, {"grammar": 3, "final_box": 3}, {"grammar": "It parses."},
        {"refer": (1, 2)}, chains, {"cost": "1.0"}, {"model": "teacher"},
    )  # fmt: skip


def study() -> tuple[dict[str, Any], dict[str, list[tuple[str, Interval]]]]:
    """The data of a study's page and its forest plots."""
    interval = Interval(0.2, 0.1, 0.3)
    cells = {"joint": (0.5, 0.4, 0.6), "family:refer": (0.5, 0.4, 0.6)}
    arms = [ArmRow(name, f"{name} of all", 3, cells, 1e6, 2e6, Spent(100, 1e9, 2.0, 1.1)) for name in ("sft", "dual")]
    steps = (0.0, 1.0, 2.0)
    data = {
        "title": "Study",
        "subtitle": "2 arms",
        "claims": [Claim("RL is better", 0.1, interval), Claim("SFT is better", 0.1, None)],
        "columns": {"joint": "joint Acc@0.5"},
        "families": {"refer": "Referring"},
        "arms": arms,
        "equal": "Equal compute.",
        "chance": {"joint": 0.1},
        "charts": [Chart("reward", (Series("dual", steps, steps),))],
        "facts": {"command": "mirg study"},
    }
    return data, {"Joint Acc@0.5": [("dual − sft", interval)]}


def every_page(folder: Path, change: Change = str) -> dict[str, str]:
    """Name to HTML of every kind of page, ``change`` applied to every text from outside."""
    data, forests = study()
    drawn = {change(title): markup(forest(changed(rows, change))) for title, rows in forests.items()}
    taught = write_teacher_page(folder / "teacher.html", changed(teacher(folder), change))
    return {
        "report": render(changed(report(folder), change)),
        "sheet": render_sheet(changed(sheet(folder), change)).html,
        "check": render_check(changed(check(), change)),
        "teacher": taught.read_text(encoding="utf-8"),
        "study": render_page("study.html.j2", data=_keys_kept(data, change), forests=drawn),
    }


def _keys_kept(data: Mapping[str, Any], change: Change) -> dict[str, Any]:
    """The names of the template's own values stay; those of metrics have to stay the same in all tables."""
    return {
        name: value if name == "chance" else
        {key: changed(inner, change) for key, inner in value.items()} if isinstance(value, dict) else
        [arm._replace(name=change(arm.name), title=change(arm.title)) for arm in value] if name == "arms" else
        changed(value, change)
        for name, value in data.items()
    }  # fmt: skip

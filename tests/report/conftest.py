"""Small report data: every field filled, two models, two samples, images on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mirg.report.data import (
    Chart,
    Column,
    Completion,
    Example,
    Examples,
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

MakeItem = Callable[..., GalleryItem]


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Picture, ...]:
    found = []
    for number, colour in enumerate(("#d03030", "#3050d0"), start=1):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (96, 96), colour).save(path)
        found.append(Picture(path, 96, 96))
    return tuple(found)


@pytest.fixture
def make_item(pictures: tuple[Picture, ...]) -> MakeItem:
    def make(**changes: object) -> GalleryItem:
        fields: dict[str, object] = {
            "sample_id": "s1",
            "task": "refer",
            "model": "SFT",
            "outcome": "right",
            "question": "Where is the red ring?",
            "pictures": pictures,
            "true": (Mark(2, (0.25, 0.25, 0.75, 0.5), "red ring"),),
            "predicted": (Mark(2, (0.2, 0.25, 0.75, 0.5), "ring"),),
            "given": (Mark(1, (0.0, 0.0, 0.5, 0.5)),),
            "thinking": "Found: red ring Image-2.",
            "answer": "Image-2: (200,250),(750,500)",
            "parts": (PartLine("image", 1.0), PartLine("object", 0.9, "IoU 0.90")),
            "iou": 0.9,
            "tokens": 31,
        }
        return GalleryItem(**(fields | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture
def full_report(pictures: tuple[Picture, ...]) -> Callable[[Callable[[str], str]], ReportData]:
    """``full_report(change)``: a report with every section, ``change`` applied to every text in it."""

    def build(t: Callable[[str], str]) -> ReportData:
        column = Column("joint", t("joint"), t("Right image and IoU at least 0.5."))
        interval = Interval(0.5, 0.4, 0.6)
        shots = tuple(Picture(p.path, p.width, p.height, t("reference")) for p in pictures)
        broken = Picture(pictures[0].path.parent / "missing.png", 96, 96, t("candidate"))

        def item(outcome: str, failure: str | None) -> GalleryItem:
            return GalleryItem(
                sample_id=t("s1"),
                task=t("refer"),
                model=t("SFT") if failure else t("base"),
                outcome=outcome,  # type: ignore[arg-type]
                question=t("Where is the red ring?"),
                pictures=(*shots, broken),
                true=(Mark(1, (0.1, 0.1, 0.5, 0.5), t("red ring")),),
                predicted=(Mark(2, (0.1, 0.1, 0.5, 0.5), t("ring")),),
                given=(Mark(1, (0.5, 0.5, 0.9, 0.9), t("here")),),
                thinking=t("Found: red ring Image-1."),
                answer=t("Image-2: (1,2),(3,4)"),
                failure=failure and t(failure),
                parts=(PartLine(t("image"), 0.0, t("named Image-2")),),
            )

        points = tuple(float(i) for i in range(20))
        chart = Chart(t("Loss"), (Series(t("loss"), points, points),), help=t("per step"))
        failures = Failures(
            matrices=(
                Matrix(t("SFT"), (t("1"), t("none")), (t("1"), t("none"), t("unreadable")), ((3, 1, 0), (0, 2, 2))),
            ),
            matrix_note=t("8 items"),
            histograms=(Histogram(t("SFT"), (0.0, 0.5, 1.0), (1, 3), 0.5, interval),),
            histogram_note=t("IoU of every true box"),
            charts=(
                GroupChart(
                    t("by place"),
                    (Group(t("1"), 4, 0.5), Group(t("none"), 4)),
                    {t("SFT"): (interval, None)},
                    help=t("all items"),
                    reference=t("truly there"),
                ),
            ),
        )
        low = PartLine(t("object"), 0.02, t("overlap scores 0.02"))
        group = RolloutGroup(
            step=11,
            sample_id=t("s7"),
            task=t("refer"),
            signal="learned from",
            question=t("Where is the ring?"),
            pictures=shots,
            true=(Mark(2, (0.1, 0.2, 0.4, 0.3), t("ring")),),
            given=(Mark(1, (0.5, 0.5, 0.9, 0.9), t("here")),),
            completions=(
                Completion(t("Image-2: (1,2),(3,4)"), (PartLine(t("total"), 0.9),), 1.5, times=3),
                Completion(t("Image-1"), (low,), None, (Mark(1, (0, 0, 1, 0.5)),)),
            ),
        )
        before, after = item("unreadable", "no answer block"), item("right", None)
        example = Example(t("unreadable → right"), (before, after), (t("no answer block"), t("Image-2, IoU 0.90")))
        return ReportData(
            title=t("Demo"),
            subtitle=t("tiny"),
            examples=Examples(t("RL fixes 1 of 8 items"), (example, Example(t("right"), (after,), (t("Image-2"),)))),
            failures=failures,
            sections=(Section(t("Configuration"), ((t("seed"), t("0")),)),),
            table=ResultTable(
                (column,),
                (TableRow(t("base"), 8, {"joint": interval}), TableRow(t("SFT"), 8, {})),
                {"joint": 0.1},
                (TableRow(t("SFT − base"), 8, {"joint": Interval(0.1, -0.1, 0.3)}),),
                t("8 items"),
            ),
            task_tables=(TaskTable(column, (t("base"),), (TableRow(t("refer"), 8, {t("base"): interval}, 0.1),)),),
            outcomes={t("base"): {"right": 1, "wrong_box": 2}},
            stages=(Stage(t("GRPO"), (chart,), (chart,), ((t("steps"), t("19")),)),),
            rollouts=(Rollouts(t("GRPO"), t("2 of 9 groups"), (group,)),),
            gallery=(item("right", None), item("unreadable", "no answer block")),
            notes=(t("two samples had no image"),),
        )

    return build

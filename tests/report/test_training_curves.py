"""metrics.jsonl rows become the right charts."""

from __future__ import annotations

import math

from mirg.report.training_curves import duration, stages_from_rows

GRPO_ROW = {
    "step": 1,
    "time": 10.0,
    "loss": 0.01,
    "reward": 0.7,
    "reward_std": 0.2,
    "rewards/format/mean": 0.99,
    "rewards/image/mean": 0.8,
    "rewards/object/mean": 0.5,
    "rewards/object/std": 0.3,
    "completions/mean_length": 50.0,
    "completions/max_length": 80.0,
    "frac_reward_zero_std": 0.25,
    "grad_norm": 1.5,
    "learning_rate": 1e-4,
    "note": "text is no metric",
    "done": True,
}


def test_grpo_rows_group_into_the_charts_of_the_method() -> None:
    (stage,) = stages_from_rows("GRPO", [GRPO_ROW, GRPO_ROW | {"step": 2, "time": 75.0}])
    charts = {chart.title: [series.name for series in chart.series] for chart in stage.charts}
    assert charts == {
        "Loss": ["loss"],
        "Reward": ["total", "image", "object", "format"],
        "Completion length": ["mean length", "max length"],
        "Groups without signal": ["frac reward zero std"],
    }
    assert {chart.title for chart in stage.more} == {"reward_std", "rewards/object/std", "grad_norm", "learning_rate"}
    assert [*stage.facts] == [("steps", "2"), ("time", "1 min 05 s")]


def test_plain_reward_names_are_known_too() -> None:
    (stage,) = stages_from_rows("GRPO", [{"step": 1, "reward/image": 0.5, "rewards/object_reward/mean": 0.4}])
    assert [s.name for s in stage.charts[0].series] == ["image", "object"]


def test_rewards_between_0_and_1_get_that_axis_others_their_own() -> None:
    (stage,) = stages_from_rows("GRPO", [{"step": 1, "reward": 0.5}])
    assert (stage.charts[0].low, stage.charts[0].high) == (0.0, 1.0)
    (stage,) = stages_from_rows("GRPO", [{"step": 1, "reward": 2.5}])
    assert (stage.charts[0].low, stage.charts[0].high) == (None, None)


def test_a_step_logged_again_after_resuming_counts_once_with_its_later_value() -> None:
    (stage,) = stages_from_rows("SFT", [{"step": 1, "loss": 9.0}, {"step": 2, "loss": 2.0}, {"step": 1, "loss": 3.0}])
    assert stage.charts[0].series[0].steps == (1.0, 2.0)
    assert stage.charts[0].series[0].values == (3.0, 2.0)


def test_rows_of_several_stages_are_told_apart() -> None:
    rows = [{"step": 1, "stage": "names", "loss": 1.0}, {"step": 1, "stage": "locate", "loss": 2.0}]
    assert [stage.name for stage in stages_from_rows("Perception", rows)] == ["Perception: names", "Perception: locate"]


def test_odd_rows_are_left_out() -> None:
    rows: list[dict[str, object]] = [
        {"loss": 1.0},
        {"step": "3", "loss": 1.0},
        {"step": math.nan, "loss": 1.0},
        {"step": 10**400, "loss": 1.0},
        {"step": 4, "loss": math.inf, "grad_norm": 10**400},
    ]
    assert stages_from_rows("SFT", rows) == ()


def test_unknown_metrics_are_shown_first_where_there_is_nothing_else() -> None:
    (stage,) = stages_from_rows("x", [{"step": 1, "alpha": 1.0, "beta": 2.0}])
    assert [chart.title for chart in stage.charts] == ["alpha", "beta"] and stage.more == ()


def test_durations() -> None:
    assert [duration(s) for s in (0.4, 42, 390, 7500)] == ["0 s", "42 s", "6 min 30 s", "2 h 05 min"]

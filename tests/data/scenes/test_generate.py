"""Generation: pure functions of the key, splits that share nothing, folders and memory alike."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from mirg.data.scenes.generate import (
    SPLITS,
    Key,
    corpus,
    difficulty,
    generate,
    iter_samples,
    keys,
    make_draft,
    names,
    write_scenes,
)
from mirg.data.scenes.objects import NAMES
from mirg.data.scenes.tasks import TASKS
from mirg.data.scenes.world import DIFFICULTIES, EASY, HARD
from mirg.errors import ConfigError


def test_a_sample_does_not_depend_on_order_or_on_other_tasks() -> None:
    both = {key: draft for key, draft in generate(["refer", "none"], 20, split="train", seed=3)}
    alone = {key: draft for key, draft in generate(["none"], 10, split="train", seed=3)}
    assert all(both[key] == draft for key, draft in alone.items())
    assert all(make_draft(key) == both[key] for key in reversed(list(both)))


def test_start_continues_where_n_ended() -> None:
    whole = list(keys(n=35, split="rl", seed=1))
    assert whole == list(keys(n=20, split="rl", seed=1)) + list(keys(n=15, split="rl", seed=1, start=20))
    assert list(islice(keys(split="rl", seed=1), 35)) == whole


def test_tasks_take_turns() -> None:
    drawn = [key.task for key in keys(n=2 * len(TASKS) + 5, split="train")]
    assert drawn[: len(TASKS)] == list(TASKS)
    assert {task: drawn.count(task) for task in TASKS} == {task: 2 + (k < 5) for k, task in enumerate(TASKS)}
    assert [key.index for key in keys(["refer", "none"], 5, split="train")] == [0, 0, 1, 1, 2]


def test_no_two_keys_share_a_random_stream() -> None:
    seen = {
        Key(split, task, seed, index).entropy()
        for split in SPLITS
        for task in TASKS
        for seed in (0, 1, 2**40)
        for index in range(20)
    }
    assert len(seen) == len(SPLITS) * len(TASKS) * 3 * 20
    assert len(set(SPLITS.values())) == len(SPLITS)


def test_splits_share_no_image() -> None:
    hashes: dict[str, set[str]] = {}
    for split in SPLITS:
        images = (image for _, images in iter_samples(None, 150, split=split, seed=0, config=EASY) for image in images)
        hashes[split] = {hashlib.sha256(image.tobytes()).hexdigest() for image in images}
    assert len(set().union(*hashes.values())) == sum(len(found) for found in hashes.values())


def test_another_process_draws_the_same_pixels() -> None:
    code = (
        "import hashlib; from mirg.data.scenes.generate import iter_samples; h = hashlib.sha256();"
        "[h.update(s.model_dump_json().encode() + b''.join(i.tobytes() for i in im))"
        " for s, im in iter_samples(None, 20, split='test', seed=7)]; import sys; sys.stdout.write(h.hexdigest())"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout
        for env in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"})
    ]
    assert runs[0] == runs[1] != ""


def test_folder_holds_what_memory_gives(tmp_path: Path) -> None:
    folder = write_scenes(tmp_path / "scenes", 2 * len(TASKS), split="test", seed=2, config=HARD)
    assert folder.card.n_samples == 2 * len(TASKS)
    assert folder.card.tasks == dict.fromkeys(sorted(TASKS), 2)
    assert folder.card.seed == 2
    assert json.loads(folder.card.description.split("Settings: ")[1])["clutter"] == HARD.clutter
    for stored, (fresh, images) in zip(
        folder.read(), iter_samples(None, 2 * len(TASKS), split="test", seed=2, config=HARD), strict=True
    ):
        plain = {"images": stored.images}
        assert stored == fresh.model_copy(update=plain)
        for ref, twin, image in zip(stored.images, fresh.images, images, strict=True):
            assert ref.model_copy(update={"path": twin.path, "sha256": None}) == twin
            assert folder.open_image(ref).tobytes() == image.tobytes()


@pytest.mark.parametrize(
    "wrong",
    [
        {"tasks": ["refer", "reffer"], "split": "train"},  # unknown task
        {"tasks": ["refer", "refer"], "split": "train"},  # the same keys twice
        {"tasks": [], "split": "train"},
        {"split": "tset"},
        {"split": "train", "seed": -1},  # SeedSequence takes no negative number
        {"split": "train", "n": -1},
    ],
)
def test_wrong_requests_are_refused_at_once(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        keys(**wrong)  # type: ignore[arg-type]
    assert caught.value.hint


def test_difficulty() -> None:
    assert difficulty("hard") is DIFFICULTIES["hard"]
    with pytest.raises(ConfigError, match="easy, medium, hard"):
        difficulty("nightmare")


def test_corpus_has_every_word() -> None:
    texts = list(corpus(0, 600))
    assert len(texts) == 1200
    joined = " ".join(texts)
    assert all(name in joined for name in NAMES)
    assert names() == list(NAMES)


def test_imports_neither_torch_nor_pillow() -> None:
    code = "import sys, mirg.data.scenes.generate; sys.exit(any(m in sys.modules for m in ('torch', 'PIL', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

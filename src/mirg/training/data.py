"""From a dataset folder to the rows that TRL's trainers take.

Every row is checked before training starts: the image opens, the prompt can be written, its length is known, and the
number of placeholders equals the number of image features. What fails is a rejection with a reason; nothing
replaces it.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from mirg.answers.looks import LookBudget, replay, split_turns
from mirg.answers.prompts import messages, write_completion
from mirg.console import logger
from mirg.engines.looking import cut, shown_as
from mirg.errors import DataError, MirgError
from mirg.models.load import LoadedModel
from mirg.models.prompts import further_turn, render, taught
from mirg.rewards.trl import sample_of
from mirg.samples import DatasetFolder, Sample, refuse_for_family, tokens
from mirg.samples.folder import ImageCheck
from mirg.samples.rejected import Rejection
from mirg.samples.reorder import in_orders
from mirg.training.recipe import GrpoRecipe, MeasuredConfig, PromptConfig, SftRecipe

if TYPE_CHECKING:
    import datasets
    from PIL import Image

_EPOCH_STRIDE = 1_000_003  # keeps (seed, epoch) pairs of neighbouring seeds apart
# Decoded images that are kept, so that the G copies of a prompt decode its images once.
_KEPT_PIXELS = 64 * 2**20
MAX_TOKENS = 2**17  # of a prompt
CROPS = "crops"  # the column of (image from 0, x1, y1, x2, y2 in pixels of the original, width, height as shown)
EARLIER = "earlier"  # the column of the turns of the model that its prompt contains, each with the token that ends it
SELECTION = "selection"  # the field of a rejection that is no fault of its sample


class LeftOut(DataError):
    """The recipe's own bounds leave a sample out."""


@dataclass(frozen=True)
class Length:
    """Tokens of a row: those of its text, and the visual ones of each image."""

    id: str
    text: int
    images: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens of text and images together."""
        return self.text + sum(self.images)


@dataclass
class Prepared:
    """Rows for a trainer with their lengths, and what was refused on the way."""

    rows: datasets.Dataset
    lengths: list[Length]
    rejections: list[Rejection] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(length.tokens for length in self.lengths)


def longest_rows(lengths: Sequence[Length], count: int) -> list[int]:
    """The numbers of the ``count`` longest rows, the longest first; of equal ones the earlier."""
    return heapq.nsmallest(count, range(len(lengths)), key=lambda row: (-lengths[row].tokens, row))


class EpochSampler(torch.utils.data.Sampler[int]):
    """TRL's RepeatSampler, seeded again in every epoch: its generator would continue from wherever a restart left it.

    The first epoch begins with the rows ``first``, which change places with those that it would begin with.
    """

    def __init__(self, sampler: Any, seed: int, epoch: Callable[[], int], first: Sequence[int] = ()) -> None:
        self._sampler, self._seed, self._epoch, self._first = sampler, seed, epoch, first

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[int]:
        epoch = self._epoch()
        self._sampler.generator.manual_seed(self._seed + _EPOCH_STRIDE * epoch)
        order: list[int] = list(self._sampler)
        swap: dict[int, int] = {} if epoch else exchange(order, self._first)
        return iter([swap.get(row, row) for row in order])


def exchange(order: Sequence[int], first: Sequence[int]) -> dict[int, int]:
    """Which rows of ``order`` change places with which, so that it begins with those of ``first``."""
    begin = list(dict.fromkeys(order))[: len(first)]
    leave = [row for row in begin if row not in first]
    enter = [row for row in first if row not in begin]
    pairs = list(zip(leave, enter, strict=False))
    return dict(pairs) | {b: a for a, b in pairs}


Extra = Callable[[Sample], dict[str, Any]]  # what a row has beside its prompt


def sft_rows(
    data: str, loaded: LoadedModel, prompt: PromptConfig, max_tokens: int, look: LookBudget = LookBudget()
) -> Prepared:
    """Rows with ``prompt`` and ``completion`` (both text) and ``images``; samples without a trajectory are rejected.

    The prompt of a trajectory with looks ends where the last turn of the model begins: the earlier turns, the crops and
    the words of the environment are part of it. The column :data:`EARLIER` has the earlier turns, on which
    :class:`mirg.training.sft.TurnLabels` puts the loss. If the chat template ends a turn with another token than an
    answer, each turn is a separate row.
    """
    extra = _completion(loaded)
    return _Preparation(DatasetFolder.open(data), loaded, prompt, max_tokens, extra, look=look).prepared()


def grpo_rows(
    data: str,
    loaded: LoadedModel,
    prompt: PromptConfig,
    max_tokens: int = MAX_TOKENS,
    *,
    orders: int = 1,
    measured: Sequence[MeasuredConfig] = (),
    look: LookBudget = LookBudget(),
) -> Prepared:
    """Rows with ``prompt``, ``images`` and ``sample``, the :class:`mirg.samples.Sample` that the rewards read.

    Each sample gives a row for each of up to ``orders`` orders of its images; those that ``measured`` leaves out are
    rejections that say so.
    """
    folder = DatasetFolder.open(data)
    return _Preparation(folder, loaded, prompt, max_tokens, _record(measured), orders, look).prepared()


def row_lengths(recipe: SftRecipe | GrpoRecipe, loaded: LoadedModel) -> list[Length]:
    """The lengths of all rows by what the dataset says about its images, none of which is opened.

    The weights of ``loaded`` are not used. DataError if no row can be used.
    """
    folder, prompt = DatasetFolder.open(recipe.data), recipe.prompt
    if isinstance(recipe, SftRecipe):
        work = _Preparation(folder, loaded, prompt, recipe.max_tokens, _completion(loaded), look=recipe.look)
    else:
        extra = _record(recipe.measured)
        work = _Preparation(folder, loaded, prompt, MAX_TOKENS, extra, recipe.image_orders, recipe.look)
    return [length for _, length in work.rows("none")]


def _completion(loaded: LoadedModel) -> Extra:
    def extra(sample: Sample) -> dict[str, Any]:
        trajectory = sample.trajectory
        if trajectory is None:
            raise DataError("the sample has no trajectory", hint="run `mirg trajectories build` first")
        thinking, answer = trajectory.thinking, trajectory.answer
        return {"completion": write_completion(thinking, answer, sample.sizes, loaded.family, limits=loaded.limits)}

    return extra


def _record(measured: Sequence[MeasuredConfig]) -> Extra:
    """The sample that completions are scored by, as JSON: an Arrow table holds no objects."""

    def extra(sample: Sample) -> dict[str, Any]:
        for wanted in measured:
            reason = wanted.why_not(sample.meta)
            if reason:
                kind = DataError if wanted.measured(sample.meta) is None else LeftOut
                raise kind(reason, hint=f"`mirg data difficulty` measures it, {wanted.key} of the recipe selects by it")
        return {"record": sample.model_copy(update={"trajectory": None}).model_dump_json()}

    return extra


@dataclass
class _Preparation:
    """One dataset on its way to rows."""

    folder: DatasetFolder
    loaded: LoadedModel
    prompt: PromptConfig
    max_tokens: int
    extra: Extra
    orders: int = 1
    look: LookBudget = field(default_factory=LookBudget)
    rejections: list[Rejection] = field(default_factory=list)

    def prepared(self) -> Prepared:
        import datasets

        rows = self.rows("decode")
        table = datasets.Dataset.from_list([row for row, _ in rows]).with_transform(_Opener(self.folder))
        return Prepared(table, [length for _, length in rows], self.rejections)

    def rows(self, check: ImageCheck) -> list[tuple[dict[str, Any], Length]]:
        """Every usable row and its length; what is not usable is added to ``rejections``. DataError if none is."""
        found: list[tuple[dict[str, Any], Length]] = []
        for number, stored in self.folder.numbered(self.rejections.append, images=check):
            for sample in in_orders(stored, self.orders):
                try:
                    found += self._rows(sample)
                except MirgError as error:
                    where = SELECTION if isinstance(error, LeftOut) else "sample"
                    self.rejections.append(self.folder.rejection(number, sample, where, error))
        _report(self.folder, len(found), self.rejections)
        return found

    def _rows(self, sample: Sample) -> list[tuple[dict[str, Any], Length]]:
        family, limits = self.loaded.family, self.loaded.limits
        refuse_for_family(sample, family, limits)
        asked = messages(sample, family, limits, self.prompt.instructions, max_looks=self.look.max_looks)
        row = {
            "id": sample.id,
            "prompt": asked,
            "images": [str(self.folder.image_path(ref)) for ref in sample.images],
            **self.extra(sample),
        }
        processor: Any = self.loaded.processor
        facts: Any = {"n_images": len(sample.images), "sample_id": sample.id, "thinking": self.prompt.thinking}
        if "completion" not in row:
            return [(row, self._length(sample, render(processor, asked, **facts).text))]
        # As text, so that TRL's way of joining a prompt and an answer decides nothing.
        row["prompt"], row["completion"] = taught(processor, asked, row["completion"], **facts)
        return [
            (one, self._length(sample, one["prompt"] + one["completion"], [crop[5:] for crop in one.get(CROPS, ())]))
            for one in self._turns(row, sample)
        ]

    def _turns(self, row: dict[str, Any], sample: Sample) -> list[dict[str, Any]]:
        """The rows of a trajectory: one with all turns of the model, else one for each with the crops seen by then."""
        turns = split_turns(row["completion"])
        if len(turns) == 1:  # datasets takes the columns from the first row, which may be one without looks
            return [row | {CROPS: [], EARLIER: []}] if self.look.max_looks else [row]
        family, limits, processor = self.loaded.family, self.loaded.limits, self.loaded.processor
        steps = replay(row["completion"], sample.sizes, family, self.look, limits)
        refused = next((step.refusal for step in steps if step.refusal), None)
        if refused or len(steps) != len(turns) - 1:
            raise DataError(
                f"a look of its trajectory cannot be shown: {refused or 'a look ends without having begun'}",
                hint=f"look.max_looks is {self.look.max_looks}; `mirg trajectories check` verifies the looks",
            )
        crops = [[s.look.image - 1, *s.pixels, *s.shown] for s in steps if s.look and s.pixels and s.shown]
        rows, prompt, end = [], row["prompt"], processor.tokenizer.eos_token
        for k, turn in enumerate(turns):
            said = turn if k == len(steps) else turn + end
            rows.append(row | {"prompt": prompt, "completion": said, CROPS: crops[:k], EARLIER: []})
            if k < len(steps):
                answer = shown_as(steps[k].name)
                prompt += turn + further_turn(processor, answer, sample.id, thinking=self.prompt.thinking).text
        earlier = [one["completion"] for one in rows[:-1]]
        written = self.loaded.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        return [rows[-1] | {EARLIER: earlier}] if turn_spans(written, earlier, self.loaded.tokenizer) else rows

    def _length(self, sample: Sample, text: str, crops: Sequence[Sequence[int]] = ()) -> Length:
        length = length_of(sample, text, self.loaded, [(width, height) for width, height in crops])
        if length.tokens > self.max_tokens:
            raise DataError(
                f"{length.tokens} tokens are more than max_tokens = {self.max_tokens}",
                hint="raise max_tokens or lower the pixel limits",
            )
        return length


def length_of(sample: Sample, text: str, loaded: LoadedModel, crops: Sequence[tuple[int, int]] = ()) -> Length:
    """Tokens of a prompt and its completion, image placeholders expanded, without touching a pixel.

    ``text`` is the prompt as the chat template writes it, with one placeholder for each image, and what follows it.
    ``crops`` are the (width, height) in pixels of further images.
    """
    sizes = [*sample.sizes, *crops]
    written = len(loaded.tokenizer(text, add_special_tokens=False)["input_ids"]) - len(sizes)
    written += sum(tokens.mark_tokens(size, loaded.family, loaded.limits) for size in sizes)
    return Length(sample.id, written, tuple(image_tokens(size, loaded) for size in sizes))


def turn_spans(ids: Sequence[int], turns: Sequence[str], tokenizer: Any) -> list[tuple[int, int]]:
    """(start, end) in ``ids`` of each of ``turns``, the last of which comes last; empty if one of them is not found."""
    spans: list[tuple[int, int]] = []
    end = len(ids)
    for turn in reversed(turns):
        said = tokenizer(turn, add_special_tokens=False)["input_ids"]
        starts = range(end - len(said), -1, -1)
        start = next((k for k in starts if ids[k] == said[0] and ids[k : k + len(said)] == said), None)
        if start is None:
            return []
        spans.append((start, start + len(said)))
        end = start
    return spans[::-1]


def image_tokens(size: tuple[int, int], loaded: LoadedModel) -> int:
    """Visual tokens of an image of ``size`` (width, height in pixels)."""
    return tokens.image_tokens(size, loaded.family, loaded.limits)


class _Opener:
    """Turns paths into RGB images and ``record`` into ``sample`` when a row is taken.

    Equal paths share one image, and equal records one sample: an Arrow table holds neither images nor samples.
    """

    def __init__(self, folder: DatasetFolder) -> None:
        self._limits = folder.limits
        self._kept: OrderedDict[str, Image.Image] = OrderedDict()
        self._pixels = 0

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        paths: Sequence[Sequence[str]] = batch["images"]
        opened: dict[str, list[Any]] = batch | {"images": [[self._open(path) for path in row] for row in paths]}
        for images, crops in zip(opened["images"], opened.pop(CROPS, ()), strict=False):
            images += [cut(images[k], (x1, y1, x2, y2), (w, h)) for k, x1, y1, x2, y2, w, h in crops or ()]
        if "record" in opened:
            opened["sample"] = [sample_of(record) for record in opened.pop("record")]
        return opened

    def _open(self, path: str) -> Image.Image:
        from mirg.images import open_image

        if path in self._kept:
            self._kept.move_to_end(path)
            return self._kept[path]
        image = open_image(path, limits=self._limits)
        self._kept[path] = image
        self._pixels += image.width * image.height
        while self._pixels > _KEPT_PIXELS and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._pixels -= old.width * old.height
        return image


def _report(folder: DatasetFolder, kept: int, rejections: Sequence[Rejection]) -> None:
    faults = [rejection for rejection in rejections if rejection.field != SELECTION]
    words = f"{kept} samples, {len(faults)} rejected"
    if len(faults) < len(rejections):
        words += f", {len(rejections) - len(faults)} left out by what was measured"
    logger.info("%s: %s", folder.root, words)
    for rejection in faults[:5]:
        logger.warning("rejected %s (row %d): %s", rejection.id, rejection.row, rejection.reason)
    if rejections and not faults and not kept:
        raise DataError(
            f"{folder.root}: what was measured leaves out all {len(rejections)} prompts, the first as "
            f"{rejections[0].reason}",
            hint="loosen the recipe's bounds (pass_rate, reward_std), or first train the model that was asked further",
        )
    if not kept:
        first = f": {rejections[0].reason}" if rejections else ""
        hints = Counter(rejection.hint for rejection in rejections if rejection.hint).most_common(1)
        hint = hints[0][0] if hints else "`mirg data check` lists every rejection"
        raise DataError(f"{folder.root} has no usable sample{first}", hint=hint)

"""Two alarms about the completions of a GRPO step, with advice, and the reward of the ground truth before the first.

A run that cannot learn usually says so in its first steps: nearly no completion can be read, or nearly all groups have
one reward for all completions. :class:`StepAlarms` looks at the completions of each step for the cause and writes it to
``alarms.jsonl``. :func:`check_ground_truth` asks the question the other way round: would the right answer be rewarded?
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mirg.answers import Reading, write_completion
from mirg.answers.blocks import THINK_CLOSE, THINK_OPEN
from mirg.answers.read import ReadBox
from mirg.console import logger, one_line
from mirg.errors import ConfigError
from mirg.families import FAMILIES
from mirg.frames import from_frame, to_frame
from mirg.models.load import LoadedModel
from mirg.plugins import load_plugin
from mirg.rewards import Score, score
from mirg.rewards.total import PARTS, score_reading
from mirg.rewards.trl import RewardFunctions
from mirg.samples import Sample
from mirg.storage import append_line
from mirg.training.data import Prepared
from mirg.training.recipe import GrpoRecipe
from mirg.training.run import ALARMS, RunFolder

UNREADABLE, NO_SIGNAL = 0.9, 0.8  # shares from which a step raises an alarm
_FEWEST = 4  # completions or groups that a share can be trusted of
_MOST = 0.5  # share of the completions concerned that a cause must explain
_AGAIN = 10  # alarms of one kind until it is said again, then twice as many
_LOOKED_AT = 64  # completions that are read as if they were of another family
_TINY = 1e-6


@dataclass(frozen=True)
class StepOf:
    """The completions of one step in the process that writes, in whole groups if it has them all."""

    texts: Sequence[str]
    lengths: Sequence[int]  # tokens
    samples: Sequence[Sample]
    scores: Sequence[Score]
    totals_PG: torch.Tensor  # (prompts, completions each) weighted rewards of all processes


class StepAlarms:
    """Looks at every step, says what is wrong with it once, and again if it lasts."""

    def __init__(self, run: RunFolder, recipe: GrpoRecipe, loaded: LoadedModel, rewards: RewardFunctions) -> None:
        self._run, self._recipe, self._loaded, self._rewards = run, recipe, loaded, rewards
        self._raised: Counter[str] = Counter()

    def look(
        self,
        step: int,
        samples: Sequence[Sample],
        completions: Sequence[object],
        lengths: Sequence[int],
        rewards: torch.Tensor,
    ) -> None:
        """Raise what is wrong with the completions after ``step`` updates.

        ``rewards`` (rows of all processes, functions) begin with the rows of ``completions``, which are G for a prompt.
        """
        weights = torch.tensor(self._rewards.weights, device=rewards.device)
        totals_PG = (rewards * weights).nansum(1).view(-1, self._recipe.group_size)
        texts = [self._rewards.scorer.turn(completion) for completion in completions]
        scores = [self._rewards.scorer(text, sample) for text, sample in zip(texts, samples, strict=True)]
        seen = StepOf(texts, lengths, samples, scores, totals_PG)
        unread = [k for k, one in enumerate(scores) if one.reading.format_score == 0]
        silent = (totals_PG.amax(1) - totals_PG.amin(1) < _TINY).tolist()
        if len(texts) >= _FEWEST and len(unread) >= UNREADABLE * len(texts):
            if self._due("unreadable"):
                told = f"{len(unread)} of {len(texts)} completions cannot be read or do not keep the format"
                self._tell("unreadable", step, told, self._why_unreadable(seen, unread))
        elif len(silent) >= _FEWEST and sum(silent) >= NO_SIGNAL * len(silent) and self._due("no_signal"):
            told = f"{sum(silent)} of {len(silent)} groups have one reward for all completions"
            self._tell("no_signal", step, told, self._why_no_signal(seen, silent))

    def _due(self, alarm: str) -> bool:
        """Count an alarm; True for the first, the tenth, the twentieth, the fortieth …"""
        self._raised[alarm] += 1
        times, rest = divmod(self._raised[alarm], _AGAIN)
        return self._raised[alarm] == 1 or not (rest or times & (times - 1))

    def _tell(self, alarm: str, step: int, told: str, causes: dict[str, str]) -> None:
        times = self._raised[alarm]
        text = f"{told}{f', in {times} steps so far' if times > 1 else ''}. {' '.join(causes.values())}"
        logger.warning("step %d: %s", step + 1, text)
        row = {"step": step + 1, "alarm": alarm, "times": times, "causes": list(causes), "text": text}
        append_line(self._run.path / ALARMS, row)

    def _why_unreadable(self, seen: StepOf, unread: Sequence[int]) -> dict[str, str]:
        limit = self._recipe.max_new_tokens
        cut = sum(seen.lengths[k] >= limit for k in unread)
        opened = sum(THINK_CLOSE in seen.texts[k] and THINK_OPEN not in seen.texts[k] for k in unread)
        causes = {}
        if cut >= _MOST * len(unread):
            causes["truncated"] = f"{cut} of them end at max_new_tokens = {limit}: raise max_new_tokens."
        if opened >= _MOST * len(unread):
            causes["template_opens_thinking"] = (
                f"{opened} close a thinking that they did not open: the chat template of the model writes {THINK_OPEN}"
                " itself. Use a template that does not, or a model whose template leaves it to the answer."
            )
        causes |= self._other_family(seen)
        if not causes:
            why = (seen.scores[k].reading for k in unread)
            reason, count = Counter(one.failure or one.format_reason for one in why).most_common(1)[0]
            causes["form_not_known"] = (
                f"The most frequent reason ({count} times) is: {reason}. The model does not know the form of an answer:"
                " train it with SFT first, or set prompt.instructions: full. One of them:"
                f" {one_line(seen.texts[unread[0]], 160)!r}"
            )
        return causes

    def _why_no_signal(self, seen: StepOf, silent: Sequence[bool]) -> dict[str, str]:
        size, count = self._recipe.group_size, sum(silent)
        groups = [seen.texts[k : k + size] for k in range(0, len(seen.texts) - size + 1, size)]
        same = sum(len(set(texts)) == 1 for texts in groups)
        means = [mean for mean, quiet in zip(seen.totals_PG.mean(1).tolist(), silent, strict=True) if quiet]
        # What is left without the reward of the format, which a wrong answer gets as well.
        form = self._rewards.weights[PARTS.index("format")]
        easy, hard = sum(mean > 0.95 for mean in means), sum(mean <= form + _TINY for mean in means)
        causes = self._other_family(seen)
        if groups and same >= _MOST * len(groups):
            causes["same_completions"] = (
                f"In {same} of {len(groups)} groups all completions are the same text: raise temperature"
                f" (now {self._recipe.temperature:g})."
            )
        if easy >= _MOST * count:
            causes["too_easy"] = (
                f"{easy} of these groups are solved: measure with `mirg data difficulty` and leave them out with"
                " pass_rate.below: 1."
            )
        if hard >= _MOST * count and not causes:
            causes["too_hard"] = (
                f"{hard} of these groups find nothing: train further with SFT, or measure with `mirg data difficulty`"
                " and leave them out with pass_rate.above: 0."
            )
        return causes or {
            "alike": "The completions of a group are equally good: a larger group_size finds differences."
        }

    def _other_family(self, seen: StepOf) -> dict[str, str]:
        """Whether the same texts earn clearly more when they are read in the numbers of another family."""
        own, config = self._loaded.family, self._recipe.reward
        rows = range(0, len(seen.texts), -(-len(seen.texts) // _LOOKED_AT))
        earned = sum(seen.scores[k].object.value for k in rows) / len(rows)
        best, name = earned, ""
        for other in FAMILIES.values():
            if (other.box_frame, other.axes) == (own.box_frame, own.axes):
                continue
            read = (
                score(seen.texts[k], seen.samples[k], other, config, self._loaded.limits).object.value for k in rows
            )
            mean = sum(read) / len(rows)
            best, name = max((best, name), (mean, other.name))
        if not name or best < 2 * earned + 0.1:
            return {}
        return {
            "wrong_family": f"Their boxes earn {best:.2f} if they are read as answers of {name}, and {earned:.2f} as"
            f" answers of {own.name}: set prompt.family: {name}."
        }


# The ground truth.


def check_ground_truth(
    recipe: GrpoRecipe, loaded: LoadedModel, rewards: RewardFunctions, prepared: Prepared, first: Sequence[int]
) -> None:
    """ConfigError if a right answer would not get the full reward, in the first ``health.ground_truth`` samples.

    ``first`` are the rows that training begins with. The answer is written in the numbers of the model's family,
    encoded and decoded as a completion is, read and rewarded; it must earn what the rounded boxes can earn. A plug-in
    reward may count other things than the truth, so one that gives less than 1 is a warning, unless the function says
    what the truth earns: ``score.maximum = 2.0`` after its definition.
    """
    rows = list(dict.fromkeys([*first, *range(len(prepared))]))[: recipe.health.ground_truth]
    plain = prepared.rows.with_format(None).select_columns(["record"])
    small: list[str] = []
    long: list[str] = []
    below: list[str] = []
    for row in rows:
        sample = Sample.model_validate_json(plain[row]["record"])
        text, tokens = as_sampled(sample, loaded)
        found, best = rewards.scorer(text, sample), _best(sample, loaded, recipe)
        if any(own < most - _TINY for own, most in zip(found.values, best.values, strict=True)):
            raise ConfigError(
                f"the ground truth of sample {sample.id} does not get the full reward: {found.reasons}",
                hint=f"it was written for {loaded.family.name} and read as {one_line(text, 160)!r};"
                " check prompt.family, the special tokens of the tokenizer, and the boxes of the sample",
            )
        small += [sample.id] * (best.object.value < 0.5)
        long += [sample.id] * (tokens >= recipe.max_new_tokens)
        below += [sample.id] * _below_one(recipe, rewards, sample, text)
    numbers, limit, plugin = loaded.family.name, recipe.max_new_tokens, recipe.reward.function
    for ids, problem in (
        (small, f"have boxes so small that they earn under half of the object reward in numbers of {numbers}"),
        (long, f"have an answer that fills max_new_tokens = {limit} without any thinking"),
        (below, f"get less than 1 for the ground truth from {plugin}; if that is right, declare its maximum there"),
    ):
        if ids:
            logger.warning("%d of %d samples %s; the first is %s", len(ids), len(rows), problem, ids[0])
    if rows:
        logger.info("the ground truth of %d samples gets the full reward", len(rows))


def as_sampled(sample: Sample, loaded: LoadedModel) -> tuple[str, int]:
    """The right answer to ``sample``, with an empty thinking, as TRL would decode it; and its number of tokens."""
    text = write_completion("", sample.targets, sample.sizes, loaded.family, limits=loaded.limits)
    ids = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
    return str(loaded.tokenizer.decode(ids, skip_special_tokens=True)), len(ids)


def _best(sample: Sample, loaded: LoadedModel, recipe: GrpoRecipe) -> Score:
    """What the ground truth can earn once its boxes are rounded to the numbers of the family."""
    family, limits = loaded.family, loaded.limits
    sizes = [sample.sizes[target.image - 1] for target in sample.targets]
    boxes = tuple(
        ReadBox(target.image, from_frame(to_frame(target.box, size, family, limits), size, family, limits))
        for target, size in zip(sample.targets, sizes, strict=True)
    )
    return score_reading(Reading(boxes, not boxes, None, "", "", 1.0, None), sample, recipe.reward)


def _below_one(recipe: GrpoRecipe, rewards: RewardFunctions, sample: Sample, text: str) -> bool:
    """Whether a plug-in that declares no maximum gives the ground truth less than 1; ConfigError if it declares one."""
    name = recipe.reward.function
    if not name:
        return False
    value = rewards.functions[len(PARTS)](completions=[text.removeprefix(rewards.scorer.opened)], sample=[sample])[0]
    declared = getattr(load_plugin(name), "maximum", None)
    if declared is not None and value < float(declared) - _TINY:
        raise ConfigError(
            f"the plug-in {name} gives {value:g} for the ground truth of sample {sample.id}, less than its maximum"
            f" {declared:g}",
            hint=f"it was given {one_line(text, 160)!r}",
        )
    return declared is None and value < 1 - _TINY

"""The recipe of a teacher's run (``docs/how-to/teacher.md``). It names the variable of the key and never the key."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import (
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from mirg.answers.looks import LookBudget
from mirg.config import Section
from mirg.engines.endpoint import EndpointUrl, KeyVariable, key_from_environment
from mirg.engines.limits import Budget, Limits, Price
from mirg.errors import ConfigError
from mirg.families import family
from mirg.trajectories.checks import DEFAULT_FAMILY, VerifyConfig

_SECRET = re.compile(r"api_?key|secret|password|authorization|bearer|credential|access_?token|^key$", re.IGNORECASE)
# Fields that the run sets itself: a second value in ``extra`` would change requests without a trace in the ledger.
_OURS = frozenset({"model", "messages", "n", "stream", "seed", "temperature", "top_p", "max_tokens"})


class Sampling(Section):
    """Sampling settings of a reply. With ``seed`` None no seed is sent, else draw k gets ``seed + k``."""

    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=2048, ge=1, description="Most tokens of one reply.")
    max_tokens_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seed: int | None = Field(default=0, ge=0)


class ImageSettings(Section):
    """Limits of the images that are sent, which are upright and have no metadata. Boxes stay fractions."""

    max_side: int = Field(default=2048, ge=28)
    max_pixels: int = Field(default=4_000_000, ge=784)
    max_bytes: int = Field(default=5_000_000, ge=1000, description="Of one encoded image.")
    max_total_bytes: int = Field(default=20_000_000, ge=1000, description="Of all images of one request.")
    detail: Literal["low", "high", "auto"] | None = None
    pixels_per_token: int = Field(default=784, ge=1, description="For the estimate: 28 x 28 for Qwen-VL.")


class TeacherRecipe(Section):
    """One teacher: its address, what is asked, the budget, and which replies are kept."""

    model: str = Field(min_length=1)
    url: EndpointUrl = Field(default="https://api.openai.com/v1", description="Base address; most end with /v1.")
    key_env: KeyVariable = Field(
        default="OPENAI_API_KEY", description="Environment variable that holds the key; null: the server needs none."
    )
    family: str = Field(default=DEFAULT_FAMILY, description="Frame in which the teacher reads and writes boxes.")
    language: str = "en"
    templates: str | None = Field(default=None, description="Folder with other prompt templates.")
    draws: int = Field(default=1, ge=1, le=64, description="Replies asked for per sample; the best verified is kept.")
    stop_early: bool = Field(default=False, description="Ask for one draw after the other, up to the first verified.")
    repair: bool = Field(default=True, description="If no draw is verified, ask once for a repair.")
    sampling: Sampling = Sampling()
    extra: dict[str, JsonValue] = Field(default_factory=dict, description="More fields of the request body.")
    limits: Limits = Limits()
    budget: Budget = Budget()
    price: Price = Price()
    images: ImageSettings = ImageSettings()
    verify: VerifyConfig = VerifyConfig()
    look: LookBudget = Field(default=LookBudget(), description="Looks of one reply: the teacher is sent the crops.")

    @model_serializer(mode="wrap")
    def _without_looks(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Ledgers that were begun before there were looks hold the same recipe as those without looks."""
        values = serialise(self)
        return values if self.look.max_looks else {key: value for key, value in values.items() if key != "look"}

    @field_validator("extra")
    @classmethod
    def _harmless(cls, extra: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name in _names(extra):
            if _SECRET.search(name):
                raise ConfigError(f"recipe: extra.{name} looks like a secret", hint="name the key in key_env instead")
        for name in _OURS & extra.keys():
            raise ConfigError(f"recipe: extra.{name} is a key of the recipe", hint="see sampling, model and draws")
        return extra

    @model_validator(mode="after")
    def _together(self) -> Self:
        if family(self.family).axes == "yx":
            raise ConfigError(f"recipe: family {self.family} writes y first", hint="a request to a teacher has x first")
        if self.budget.money is not None and not (self.price.input or self.price.output):
            raise ConfigError("recipe: a budget in money needs a price", hint="set price.input and price.output")
        return self

    def key(self) -> str | None:
        """The key from the environment, None if no key is needed. ConfigError if it is not set or cannot be a key."""
        return key_from_environment(self.key_env, self.url)

    def shared_out(self, index: int, count: int) -> TeacherRecipe:
        """The recipe of shard ``index`` of ``count``: budgets and rates are divided among the shards.

        ConfigError if a share is zero.
        """
        if count == 1:
            return self

        def part(section: str, name: str) -> int | None:
            total = getattr(getattr(self, section), name)
            mine = None if total is None else total // count + (index <= total % count)
            if mine == 0:
                raise ConfigError(
                    f"{section}.{name} = {total} cannot be divided by {count} shards", hint="take fewer shards"
                )
            return mine

        money = None if self.budget.money is None else self.budget.money / count
        budget = {"requests": part("budget", "requests"), "tokens": part("budget", "tokens"), "money": money}
        rates = {name: part("limits", name) for name in ("requests_per_minute", "tokens_per_minute")}
        shares = {"budget": self.budget.model_copy(update=budget), "limits": self.limits.model_copy(update=rates)}
        return self.model_copy(update=shares)


def _names(value: JsonValue) -> list[str]:
    """Every key at every depth."""
    if isinstance(value, dict):
        return [*value, *(name for inner in value.values() for name in _names(inner))]
    if isinstance(value, list):
        return [name for inner in value for name in _names(inner)]
    return []

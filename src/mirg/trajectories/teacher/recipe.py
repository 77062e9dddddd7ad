"""What a teacher run may be told: a closed recipe (``docs/how-to/teacher.md``). No key stands in it, only its name."""

from __future__ import annotations

import os
import re
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from mirg.errors import ConfigError
from mirg.frames import family
from mirg.trajectories.verify import DEFAULT_FAMILY, VerifyConfig

_ENV_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_SECRET = re.compile(r"api_?key|secret|password|authorization|bearer|credential|access_?token|^key$", re.IGNORECASE)
# What the run itself decides: a second value in ``extra`` would change requests behind the ledger's back.
_OURS = frozenset({"model", "messages", "n", "stream", "seed", "temperature", "top_p", "max_tokens"})


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sampling(_Section):
    """How the teacher draws. ``seed`` None sends none; else draw k gets ``seed + k``."""

    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=2048, ge=1, description="Most tokens of one reply.")
    max_tokens_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seed: int | None = Field(default=0, ge=0)


class Limits(_Section):
    """How fast, and how patiently. Rates hold in every window of 60 seconds, also across a restart."""

    concurrency: int = Field(default=16, ge=1, le=4096, description="Most requests in flight.")
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    timeout: float = Field(default=180, gt=0, description="Seconds for one whole reply.")
    tries: int = Field(default=8, ge=1, description="Attempts of one request in one run.")
    max_wait: float = Field(default=120, gt=0, description="Longest pause between two attempts, seconds.")


class Budget(_Section):
    """Hard limits over the life of a ledger; None is without limit. An attempt that may have been billed counts."""

    requests: int | None = Field(default=None, ge=1, description="Attempts, also those that failed.")
    tokens: int | None = Field(default=None, ge=1, description="Input and output.")
    money: float | None = Field(default=None, gt=0, description="In the currency of the price.")


class Price(_Section):
    """Cost of a million tokens."""

    input: float = Field(default=0.0, ge=0)
    output: float = Field(default=0.0, ge=0)

    def of(self, input_tokens: float, output_tokens: float) -> float:
        """Cost of so many tokens, in the currency of the prices."""
        return (self.input * input_tokens + self.output * output_tokens) / 1e6


class ImageSettings(_Section):
    """How images are sent: never larger than this, upright, without metadata. Boxes stay fractions."""

    max_side: int = Field(default=2048, ge=28)
    max_pixels: int = Field(default=4_000_000, ge=784)
    max_bytes: int = Field(default=5_000_000, ge=1000, description="Of one encoded image.")
    max_total_bytes: int = Field(default=20_000_000, ge=1000, description="Of all images of one request.")
    detail: Literal["low", "high", "auto"] | None = None
    pixels_per_token: int = Field(default=784, ge=1, description="For the estimate: 28 x 28 for Qwen-VL.")


class TeacherRecipe(_Section):
    """One teacher: where it is, what it is asked, what it may cost, what is kept."""

    model: str = Field(min_length=1)
    url: str = Field(default="https://api.openai.com/v1", description="Base address; most end with /v1.")
    key_env: str | None = Field(
        default="OPENAI_API_KEY", description="Environment variable that holds the key; null: the server wants none."
    )
    family: str = Field(default=DEFAULT_FAMILY, description="Frame in which the teacher reads and writes boxes.")
    language: str = "en"
    templates: str | None = Field(default=None, description="Folder of your own prompt templates.")
    draws: int = Field(default=1, ge=1, le=64, description="Replies asked for per sample; the best verified is kept.")
    stop_early: bool = Field(default=False, description="Ask for one draw after the other, up to the first verified.")
    repair: bool = Field(default=True, description="Where no draw is verified, tell the teacher what failed, once.")
    sampling: Sampling = Sampling()
    extra: dict[str, JsonValue] = Field(default_factory=dict, description="More fields of the request body.")
    limits: Limits = Limits()
    budget: Budget = Budget()
    price: Price = Price()
    images: ImageSettings = ImageSettings()
    verify: VerifyConfig = VerifyConfig()

    @field_validator("key_env")
    @classmethod
    def _a_name(cls, name: str | None) -> str | None:
        # A ConfigError passes pydantic by, which would print the value: it may be the key itself.
        if name is not None and not _ENV_NAME.fullmatch(name):
            raise ConfigError(
                "recipe: key_env is no name of an environment variable",
                hint="it names the variable that holds the key, such as OPENAI_API_KEY; the key itself stays out",
            )
        return name

    @field_validator("url")
    @classmethod
    def _an_address(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            host, _, secrets = parts.hostname, parts.port, parts.username or parts.password or parts.query
        except ValueError:
            host, secrets = None, ""
        if secrets:
            raise ConfigError("recipe: url holds a user, a password or a query", hint="keys belong into key_env")
        if not host or not url.startswith(("http://", "https://")):
            raise ConfigError("recipe: url is no http(s) address", hint="for example http://127.0.0.1:8000/v1")
        return url.rstrip("/")

    @field_validator("extra")
    @classmethod
    def _harmless(cls, extra: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name in _names(extra):
            if _SECRET.search(name):
                raise ConfigError(f"recipe: extra.{name} looks like a secret", hint="keys belong into key_env")
        for name in _OURS & extra.keys():
            raise ConfigError(f"recipe: extra.{name} has a key of its own", hint="see sampling, model and draws")
        return extra

    @model_validator(mode="after")
    def _together(self) -> Self:
        family(self.family)
        if self.budget.money is not None and not (self.price.input or self.price.output):
            raise ConfigError("recipe: a budget in money needs a price", hint="set price.input and price.output")
        return self

    def key(self) -> str | None:
        """The key from the environment, None if no key is wanted. ConfigError if it is not set or is not a key."""
        if self.key_env is None:
            return None
        value = os.environ.get(self.key_env, "").strip()
        if not value:
            raise ConfigError(
                f"the environment variable {self.key_env} is not set, and {self.url} wants a key",
                hint=f"export {self.key_env}=…, or key_env: null for a server without keys",
            )
        if not value.isascii() or not value.isprintable() or " " in value:
            # The message of the client library would hold the key, spelled in another way.
            raise ConfigError(
                f"the environment variable {self.key_env} holds characters that no key has",
                hint="one line of ASCII without spaces: was something copied with it?",
            )
        return value

    def shared_out(self, index: int, count: int) -> TeacherRecipe:
        """The recipe of shard ``index`` of ``count``: budgets and rates are divided, so that all together keep them.

        ConfigError where a share is nothing.
        """
        if count == 1:
            return self

        def part(total: int | None, name: str) -> int | None:
            if total is None:
                return None
            mine = total // count + (index <= total % count)
            if not mine:
                raise ConfigError(f"{name} = {total} cannot be divided by {count} shards", hint="take fewer shards")
            return mine

        budget, limits = self.budget, self.limits
        money = budget.money / count if budget.money is not None else None
        shares = Budget(
            requests=part(budget.requests, "budget.requests"), tokens=part(budget.tokens, "budget.tokens"), money=money
        )
        rates = {
            name: part(getattr(limits, name), f"limits.{name}") for name in ("requests_per_minute", "tokens_per_minute")
        }
        return self.model_copy(update={"budget": shares, "limits": limits.model_copy(update=rates)})


def _names(value: JsonValue) -> list[str]:
    """Every key at every depth."""
    if isinstance(value, dict):
        return [*value, *(name for inner in value.values() for name in _names(inner))]
    if isinstance(value, list):
        return [name for inner in value for name in _names(inner)]
    return []

"""OpenAI's chat format: a request's JSON becomes messages and images for an engine, completions become a response.

What would change an answer and is not supported is refused by name rather than ignored; what changes nothing is let
pass. Images come inside the request as ``data:`` URIs; addresses are never fetched.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from mirg.engines.base import Completion
from mirg.errors import first_problem
from mirg.serve.limits import Refused, ServeLimits

# Parameters that are accepted only with these values, which are those of a request without them. Clients that were
# written for vLLM, SGLang or llama.cpp send all of theirs with every request.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    name: values
    for names, values in (
        ("best_of length_penalty repetition_penalty top_p typical_p", (1,)),
        ("frequency_penalty min_p min_tokens presence_penalty top_logprobs", (0,)),
        ("echo ignore_eos include_stop_str_in_output logprobs use_beam_search", (False,)),
        ("skip_special_tokens spaces_between_special_tokens", (True,)),
        ("bad_words functions stop_token_ids tools", ([],)),
        ("logit_bias mm_processor_kwargs", ({},)),
        ("top_k", (-1, 0)),
        ("stop", ([], "")),
        ("response_format", ({"type": "text"},)),
        ("tool_choice", ("none", "auto")),
        ("modalities", (["text"],)),
    )
    for name in names.split()
}
# Those without an effect on the answer.
_IGNORED = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls"}
)
_DATA_URI = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)
_NO_BLANKS = str.maketrans("", "", " \t\r\n")
_STRUCTURE = (b'"', b",", b"[", b"{")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nothing(cls, value: Any) -> Any:
        """Remove empty fields: clients send unset fields as null, and earlier answers have empty lists."""
        return {k: v for k, v in value.items() if v is not None and v != []} if isinstance(value, dict) else value


class _TextPart(_Strict):
    type: Literal["text"]
    text: str


class _ImageUrl(_Strict):
    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class _ImagePart(_Strict):
    type: Literal["image_url"]
    image_url: _ImageUrl


_Part = Annotated[_TextPart | _ImagePart, Field(discriminator="type")]


def _content_kind(content: Any) -> str:
    return "text" if isinstance(content, str) else "parts"


class _Message(_Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[Annotated[str, Tag("text")] | Annotated[list[_Part], Tag("parts")], Discriminator(_content_kind)]
    name: str = ""


class _StreamOptions(_Strict):
    include_usage: bool = False


class _TemplateOptions(_Strict):
    enable_thinking: bool | None = None


class Body(_Strict):
    """The parameters of a request that are supported."""

    model: str
    messages: list[_Message] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=2, allow_inf_nan=False)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    n: int = Field(default=1, ge=1)
    stream: bool = False
    stream_options: _StreamOptions = _StreamOptions()
    continue_final_message: bool = False
    add_generation_prompt: bool | None = None
    chat_template_kwargs: _TemplateOptions = _TemplateOptions()


@dataclass(frozen=True)
class Chat:
    """A valid request: ``messages`` for a chat template, and the bytes of the images in their order.

    ``prefix`` is the beginning of the assistant's answer (``continue_final_message``), ``texts`` all texts, and
    ``asked`` everything else of the request.
    """

    asked: Body
    messages: list[dict[str, Any]]
    images: list[bytes]
    texts: list[str]
    prefix: str
    new_tokens: int


def parse_chat(body: bytes, limits: ServeLimits, default_tokens: int) -> Chat:
    """The request in ``body``. For every invalid body, :class:`Refused` says what is wrong and where."""
    asked = _validated(_loaded(body, limits))
    if len(asked.messages) > limits.messages:
        raise Refused(400, f"{len(asked.messages)} messages, {limits.messages} are allowed", param="messages")
    if asked.n > limits.choices:
        raise Refused(400, f"n is {asked.n}, {limits.choices} is allowed", param="n")
    reader = _Reader(limits)
    messages = [reader.message(number, message) for number, message in enumerate(asked.messages)]
    prefix = _prefix(asked, messages)
    wanted = asked.max_completion_tokens or asked.max_tokens or min(default_tokens, limits.new_tokens)
    if wanted > limits.new_tokens:
        name = "max_completion_tokens" if asked.max_completion_tokens else "max_tokens"
        raise Refused(400, f"{name} is {wanted}, {limits.new_tokens} is allowed", param=name)
    return Chat(asked, messages, reader.images, reader.texts, prefix, wanted)


def _loaded(body: bytes, limits: ServeLimits) -> dict[str, Any]:
    # Counted before parsing: a megabyte of brackets would become a hundred of Python objects.
    if sum(body.count(mark) for mark in _STRUCTURE) > limits.values:
        raise Refused(400, f"the body holds more than {limits.values:,} quotes, commas and brackets")

    def no_constant(name: str) -> float:
        raise ValueError(f"{name} is not a JSON number")

    try:
        value = json.loads(body.decode("utf-8"), parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        words = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise Refused(400, f"the body is not JSON: {words}", code="invalid_json") from error
    if not isinstance(value, dict):
        raise Refused(400, "the body is not a JSON object", code="invalid_json")
    return value


def _validated(value: dict[str, Any]) -> Body:
    known: dict[str, Any] = {}
    for name, given in value.items():
        if name in _IGNORED or given is None:
            continue
        if name not in _NEUTRAL:
            known[name] = given
        # True is not 1, as in JSON; 1.0 is.
        elif not any(given == one and isinstance(given, bool) == isinstance(one, bool) for one in _NEUTRAL[name]):
            raise Refused(400, f"{name} is not supported", param=name, code="unsupported_parameter")
    try:
        return Body.model_validate(known)
    except ValidationError as error:
        where, reason = first_problem(error)
        raise Refused(400, f"{where[:200]}: {reason[:300]}", param=where[:200]) from error


class _Reader:
    """Reads messages in their order and counts texts and images."""

    def __init__(self, limits: ServeLimits) -> None:
        self.limits = limits
        self.images: list[bytes] = []
        self.texts: list[str] = []

    def message(self, number: int, message: _Message) -> dict[str, Any]:
        """The message in the form of a chat template."""
        role = "system" if message.role == "developer" else message.role
        where = f"messages.{number}"
        if role == "system" and number:
            raise Refused(400, "a system message is the first one", param=where)
        content = message.content
        if isinstance(content, str):
            content = [_TextPart(type="text", text=content)]
        return {"role": role, "content": [self._part(f"{where}.content.{k}", role, p) for k, p in enumerate(content)]}

    def _part(self, where: str, role: str, part: _TextPart | _ImagePart) -> dict[str, Any]:
        if isinstance(part, _ImagePart):
            if role != "user":
                raise Refused(400, f"an image in a message of the {role}", param=where)
            self._image(f"{where}.image_url.url", part.image_url.url)
            return {"type": "image", "text": None}
        self.texts.append(part.text)
        if sum(map(len, self.texts)) > self.limits.text:
            raise Refused(400, f"more than {self.limits.text:,} characters of text", param=where)
        try:
            part.text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise Refused(400, "the text holds half of a surrogate pair", param=where) from error
        return {"type": "text", "text": part.text}

    def _image(self, where: str, url: str) -> None:
        if len(self.images) >= self.limits.images:
            raise Refused(400, f"more than {self.limits.images} images", param=where)
        head = _DATA_URI.match(url)
        if head is None:
            raise Refused(
                400, "an image must be a data: URI (data:image/png;base64,…); addresses are not fetched", param=where
            )
        try:
            # MIME writes base64 in lines of 76 characters, and so do the tools of most systems.
            data = url[head.end() :].translate(_NO_BLANKS).encode("ascii")
            self.images.append(base64.b64decode(data, validate=True))
        except (binascii.Error, UnicodeEncodeError) as error:
            raise Refused(400, "the image is not base64", param=where) from error


def _prefix(asked: Body, messages: list[dict[str, Any]]) -> str:
    """Remove and return the text of the last message if the model is to continue it."""
    if asked.add_generation_prompt is not None and asked.add_generation_prompt == asked.continue_final_message:
        raise Refused(400, "either a new message is begun or the last one is continued", param="add_generation_prompt")
    if not asked.continue_final_message:
        if not any(message["role"] == "user" for message in messages):
            raise Refused(400, "there is no message of the user", param="messages")
        return ""
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise Refused(400, "there is no last message of the assistant to continue", param="continue_final_message")
    return "".join(part["text"] for part in messages.pop()["content"])


def completion_body(name: str, fingerprint: str, created: int, said: Sequence[Completion]) -> bytes:
    """The response to a request that is not streamed; one choice per completion."""
    body = _head("chat.completion", name, fingerprint, created) | {"choices": _choices("message", said)}
    for choice in body["choices"]:
        choice["message"]["refusal"] = None
    return json.dumps(body | {"usage": usage(said)}).encode("ascii")


class Events:
    """The response to a streamed request, as server-sent events; ``with_usage`` adds one with the token counts."""

    def __init__(self, name: str, fingerprint: str, created: int, *, with_usage: bool) -> None:
        self._head = _head("chat.completion.chunk", name, fingerprint, created)
        self._usage = with_usage

    async def whole(self, said: Sequence[Completion]) -> AsyncIterator[bytes]:
        """Whole completions in one event."""
        yield self._event(_choices("delta", said))
        yield self._end(said)

    async def of(
        self, first: str | list[Completion], rest: AsyncGenerator[str | list[Completion], None]
    ) -> AsyncIterator[bytes]:
        """One completion while it grows: ``first`` and ``rest`` are its texts so far, and at last the completion."""
        sent = ""
        said = first
        async with contextlib.aclosing(rest):
            while isinstance(said, str):
                if said.startswith(sent):
                    yield self._event(self._grown(said[len(sent) :], begins=not sent))
                    sent = said
                try:
                    said = await anext(rest)
                except Refused as refused:  # the status was sent before
                    yield b"data: " + refused.response().body + b"\n\n"
                    return
        (one,) = said
        yield self._event(self._grown(one.text[len(sent) :], begins=not sent, finish=one.finish))
        yield self._end(said)

    def _grown(self, text: str, *, begins: bool, finish: str | None = None) -> list[dict[str, Any]]:
        delta = {"role": "assistant", "content": text} if begins else {"content": text}
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]

    def _event(self, choices: list[dict[str, Any]], counts: Mapping[str, int] | None = None) -> bytes:
        event = self._head | {"choices": choices} | ({"usage": counts} if self._usage else {})
        return f"data: {json.dumps(event)}\n\n".encode("ascii")

    def _end(self, said: Sequence[Completion]) -> bytes:
        return (self._event([], usage(said)) if self._usage else b"") + b"data: [DONE]\n\n"


def _choices(part: str, said: Sequence[Completion]) -> list[dict[str, Any]]:
    return [
        {
            "index": number,
            part: {"role": "assistant", "content": one.text},
            "logprobs": None,
            "finish_reason": one.finish,
        }
        for number, one in enumerate(said)
    ]


def usage(said: Sequence[Completion]) -> dict[str, int]:
    """Token counts: the prompt once for all completions, and all completions."""
    prompt, generated = said[0].prompt_tokens, sum(one.tokens for one in said)
    return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}


def _head(kind: str, name: str, fingerprint: str, created: int) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": kind,
        "created": created,
        "model": name,
        "system_fingerprint": fingerprint,
    }

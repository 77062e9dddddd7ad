"""A request that is not served: its status, and the error body that OpenAI's clients expect."""

from __future__ import annotations

import json
from typing import Any

from mirg.errors import MirgError

_KINDS = {
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "timeout_error",
}


class Refused(MirgError):
    """``status`` is the HTTP status, ``param`` the wrong part of the request, ``code`` a key for programs."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, retry: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.retry = retry

    @property
    def body(self) -> bytes:
        """The error as JSON; everything beyond ASCII is escaped."""
        kind = _KINDS.get(self.status, "invalid_request_error")
        error: dict[str, Any] = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return json.dumps({"error": error}).encode("ascii")

    @property
    def headers(self) -> dict[str, str]:
        """The headers: when to try again (seconds), and that a half-read request ends its connection."""
        found = {"content-type": "application/json"}
        if self.retry is not None:
            found["retry-after"] = str(self.retry)
        if self.status in {408, 413}:
            found["connection"] = "close"
        return found

"""The one form of the errors that the gateway and the head answer over HTTP: OpenAI's."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

from attrs import frozen

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


@frozen
class ApiError(Exception):
    """An HTTP answer that reports an error; raised where a request is handled.

    Attributes:
        status: The HTTP status.
        code: The kind of error for programs, as ``body_too_large``: a word, never a number.
        message: One sentence for a person: what is wrong and what to do.
        param: The field of the request that is wrong, if one is.
        retry_after: Seconds after which the client should try again, or None.
        detail: The error object of an engine, which is sent as it is in place of the fields above, or None.
        allow: The methods that the path takes, for a 405; empty for any other error.
        mistakes: What is wrong with a document, each as ``{"param": …, "message": …}``; sent beside the other
            fields where there are any.
        accept_encoding: The codings that a body may have, for a 415; empty for any other error.
        should_retry: What ``x-should-retry`` tells the client's library; None leaves that to the status.
    """

    status: int
    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None
    detail: object = None
    allow: tuple[str, ...] = ()
    mistakes: tuple[dict[str, str | None], ...] = ()
    should_retry: bool | None = None
    accept_encoding: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.message

    @property
    def body(self) -> bytes:
        """The JSON document ``{"error": …}``, in UTF-8."""
        error = self.detail or {
            "message": self.message,
            "type": _TYPES.get(
                self.status, "server_error" if self.status >= 500 else "invalid_request_error"
            ),
            "param": self.param,
            "code": self.code,
            **({"mistakes": self.mistakes} if self.mistakes else {}),
        }
        return json.dumps({"error": error}, ensure_ascii=False).encode(errors="replace")

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the answer, content type and length included; names are in lower case."""
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self.body)).encode()),
        ]
        if self.retry_after is not None:
            headers.append((b"retry-after", str(max(1, math.ceil(self.retry_after))).encode()))
        if self.should_retry is not None:
            headers.append((b"x-should-retry", b"true" if self.should_retry else b"false"))
        if self.allow:
            headers.append((b"allow", ", ".join(self.allow).encode()))
        if self.accept_encoding:
            headers.append((b"accept-encoding", ", ".join(self.accept_encoding).encode()))
        if self.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        return headers

    @property
    def event(self) -> bytes:
        """The error as a server-sent event, for a stream whose status has already been sent."""
        return b"data: " + self.body + b"\n\n"


def method_not_allowed(method: str, path: str, allowed: Iterable[str]) -> ApiError:
    """Return the 405 for a path that exists and does not take ``method``; ``allowed`` has those it takes."""
    allow = tuple(sorted(allowed))
    sentence = f"{path[:200]} does not take {method}: it takes {', '.join(allow)}"
    return ApiError(405, "method_not_allowed", sentence, allow=allow)


def too_many_connections(limit: int) -> ApiError:
    """Return the 503 of a server that has ``limit`` connections, which is as many as it may have."""
    sentence = f"this server has {limit} connections, and takes no more: try again"
    return ApiError(503, "too_many_connections", sentence, retry_after=1)

"""The dialects of the API that engines serve: how an error looks in each, and how a stream ends. Pure."""

from __future__ import annotations

import json
import re

from attrs import frozen

from sllm_actors.api_error import ApiError
from sllm_actors.gateway.headers import Headers

_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


@frozen
class Dialect:
    """OpenAI's errors, and a stream that ends when its body does.

    Attributes:
        last_words: Some of these bytes are in the last event of a stream; empty where there is no such event.
        last_event: Finds the beginning of that event, and the line break before it.
        whole: Whether the client needs that event whole; if not, its beginning says all.
    """

    last_words: tuple[bytes, ...] = ()
    last_event: re.Pattern[bytes] = re.compile(rb"(?!)")
    whole: bool = False

    def body(self, error: ApiError) -> bytes:
        """Return the body of an answer that is an error."""
        return error.body

    def headers(self, error: ApiError) -> Headers:
        """Return the headers of that answer, names in lower case; content type and length are among them."""
        length = str(len(self.body(error))).encode()
        return [(name, length if name == b"content-length" else value) for name, value in error.headers]

    def event(self, error: ApiError) -> bytes:
        """Return the error as an event, for a stream whose status has already been sent."""
        return error.event


@frozen
class _Responses(Dialect):
    def event(self, error: ApiError) -> bytes:
        # The event of the API has its fields at the top; clients raise what stands under "error".
        shown = json.loads(error.body)["error"]
        fields = {key: shown.get(key) for key in ("code", "message", "param")}
        return _named("error", {"type": "error", **fields, "error": shown})


@frozen
class _Anthropic(Dialect):
    def body(self, error: ApiError) -> bytes:
        return _encoded(self._document(error))

    def event(self, error: ApiError) -> bytes:
        return _named("error", self._document(error))

    def _document(self, error: ApiError) -> dict[str, object]:
        shown = json.loads(error.body)["error"]
        general = "api_error" if error.status >= 500 else "invalid_request_error"
        kind = _ANTHROPIC_TYPES.get(error.status, general)
        return {"type": "error", "error": {**shown, "type": kind}}


def _encoded(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode(errors="replace")


def _named(name: str, document: object) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + _encoded(document) + b"\n\n"


def _named_event(names: str) -> re.Pattern[bytes]:
    """Find an event by its name, in the line ``event`` or at the beginning of its data."""
    return re.compile(
        rb'[\r\n](?:event:[ \t]*|data:[ \t]*\{\s*"type"\s*:\s*")(?:' + names.encode() + rb')(?=["\s])'
    )


OTHER = Dialect()
"""Everything but the paths below."""

CHAT = Dialect((b"[DONE]",), re.compile(rb"[\r\n]data:[ \t]*\[DONE\]"))
"""``/v1/chat/completions`` and ``/v1/completions``: a stream ends with ``data: [DONE]``."""

MESSAGES = _Anthropic((b"message_stop",), _named_event("message_stop"), whole=True)
"""``/v1/messages`` and what is below it: Anthropic's errors, and a stream ends with ``message_stop``."""

RESPONSES = _Responses(
    (b"complete", b"failed"),
    _named_event(r"response\.(?:completed|incomplete|failed)"),
    whole=True,
)
"""``/v1/responses`` and what is below it: a stream ends with the event that says how the response ended."""

_BY_PATH = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": CHAT,
    "/v1/messages": MESSAGES,
    "/v1/responses": RESPONSES,
}


def dialect_of(path: str) -> Dialect:
    """Return the dialect of a path, which comes without a query."""
    found = _BY_PATH.get(path)
    if found is not None:
        return found
    for below in ("/v1/messages/", "/v1/responses/"):
        if path.startswith(below):
            return _BY_PATH[below[:-1]]
    return _BY_PATH.get(path.rstrip("/"), OTHER)

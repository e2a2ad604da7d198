"""The bytes of a request to an OpenAI-compatible server. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from attrs import field, frozen

from sllm_actors.loadgen.work.request import LoadRequest

Endpoint = Literal["chat", "completions"]

PATHS: Mapping[Endpoint, str] = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}

_encode = msgspec.json.Encoder().encode


@frozen
class Encoding:
    """How requests are written.

    Attributes:
        authority: Host and port, for the ``Host`` header.
        base: The path in front of that of the API, without a slash at its end.
        key: The bearer token, or "" for none.
        endpoint: Whether chats are asked for or completions.
        streamed: Whether answers are streamed.
        extra: Further members of each body.
    """

    authority: str
    base: str
    key: str = field(repr=False)
    endpoint: Endpoint
    streamed: bool
    extra: Mapping[str, Any]

    def head(self, method: str, path: str, more: str = "") -> bytes:
        """Return the head of a request up to the last header, without the empty line."""
        key = f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        return (
            f"{method} {self.base}{path} HTTP/1.1\r\nHost: {self.authority}\r\n"
            f"User-Agent: sllm-bench\r\nAccept: */*\r\n{key}{more}"
        ).encode("latin-1")

    def encode(self, request: LoadRequest) -> bytes:
        """Return a whole request."""
        body = _encode(self._body(request))
        head = self.head("POST", PATHS[self.endpoint], "Content-Type: application/json\r\n")
        return b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body)

    def _body(self, request: LoadRequest) -> dict[str, Any]:
        body: dict[str, Any] = {"model": request.model, "max_tokens": request.output_tokens}
        if self.endpoint == "chat":
            body["messages"] = [{"role": each.role, "content": each.content} for each in request.messages]
        else:
            body["prompt"] = "\n".join(each.content for each in request.messages)
        body["stream"] = self.streamed
        if self.streamed:
            body["stream_options"] = {"include_usage": True}
        return {**body, **self.extra}

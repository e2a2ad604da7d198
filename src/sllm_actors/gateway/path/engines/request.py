"""The request that an engine gets, made of a client's. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from sllm_actors.engines.external import ServerAccess
from sllm_actors.gateway.bodies.form_passing import FormPassing
from sllm_actors.gateway.bodies.request_fields import RequestFields
from sllm_actors.gateway.bodies.rewriting import with_changes
from sllm_actors.gateway.headers import for_engine, query_for_engine
from sllm_actors.gateway.hops import HEADER as HOPS
from sllm_actors.gateway.hops import passed_on
from sllm_actors.gateway.path.clients.http1 import header_lines
from sllm_actors.gateway.path.clients.request_head import RequestHead
from sllm_actors.gateway.path.clients.upload import Upload
from sllm_actors.gateway.path.reading import Reading
from sllm_actors.gateway.routing.memory.poison import digest
from sllm_actors.gateway.routing.route import Route
from sllm_actors.gateway.surface import ModelIn, with_model_in_query

from .target import Target

LARGEST_DIGESTED = 2**20
"""Bytes of a body that are hashed at most: a millisecond's work."""


_HEAD = b"%b %b%b%b HTTP/1.1\r\nhost: %b\r\n%bx-request-id: %b\r\n" + HOPS + b": %b\r\n%b\r\n"


class EngineRequest:
    """A client's request, for whichever engine gets it.

    Attributes:
        head: The head as it came.
        fields: What was read of the body.
        body: The body as it came, decoded.
        upload: What comes in place of it, if that is passed on as it comes.
    """

    __slots__ = ("_digest", "_gateway", "_query", "_reading", "body", "fields", "head", "upload")

    def __init__(self, head: RequestHead, reading: Reading, gateway: bytes) -> None:
        self.head = head
        self.fields = reading.fields
        self.body = reading.body
        self.upload = reading.upload
        self._reading = reading
        self._digest: bytes | None = None
        self._query = query_for_engine(head.query.decode("latin-1")) if head.query else ""
        self._gateway = gateway

    @property
    def digest(self) -> bytes | None:
        """What tells it from other requests; None for one that is too large to be hashed on the event loop,
        or passed on as it comes.

        Only a request that breaks an engine has one made, or one for a deployment that refuses some.
        """
        if self._digest is None and self.upload is None and len(self.body) <= LARGEST_DIGESTED:
            self._digest = digest(self.head.path, self.body)
        return self._digest

    def head_for(
        self, target: Target, route: Route, server: ServerAccess | None, length: int | None
    ) -> bytes:
        """Return the head of the request to one engine, whose body has ``length`` bytes.

        Args:
            target: Where the engine is.
            route: See ``body_for``.
            server: See ``body_for``.
            length: If it is 0, and the method is one that has no body, no length is sent; None: the body is
                sent in chunks.
        """
        head, query = self.head, self._query
        if target.headers:
            own = {name for name, _ in target.headers}
            kept = [each for each in for_engine(head.headers) if each[0] not in own]
            lines = header_lines([*kept, *target.headers])
        else:
            lines = head.lines_for_engine()
        if query and self._reading.destination.model_in is ModelIn.QUERY:
            query = with_model_in_query(query, _name(route, server) or self.fields.model)
        return _HEAD % (
            head.method.encode(),
            target.prefix,
            head.path,
            b"?" + query.encode("latin-1") if query else b"",
            target.host,
            lines,
            head.id.encode(),
            passed_on(head.headers, self._gateway)[1] if HOPS in head.named else self._gateway,
            b"content-length: %d\r\n" % length if length else _without_bytes(head.method, length),
        )

    def body_for(self, route: Route, server: ServerAccess | None, *, assembled: bool) -> bytes:
        """Return the body for an engine: the client's own bytes, unless a key of it must differ.

        Args:
            route: The route of the deployment, whose name for the model engines know.
            server: How an external server is reached, or None for an engine. Such a server has its own name
                for the model, and may refuse keys that it does not know, as ``backend``. ``keep_alive`` is
                for the head, and neither gets it.
            assembled: Whether the engine is to stream, and to tell its usage, for an assembly.

        Raises:
            ApiError: A part of the body that has to be changed is not JSON (400).
        """
        fields = self.fields
        changes: dict[str, Any] = {}
        name = _name(route, server)
        if name and fields.model != name:
            changes["model"] = name
        if assembled:
            changes["stream"] = True
            changes["stream_options"] = _with_usage(fields)
        drop = () if fields.keep_alive is UNSET else ("keep_alive",)
        if server is not None and fields.backend is not None:
            drop = ("backend", *drop)
        return self._reading.body_with(changes, drop)

    def passing_for(self, upload: Upload, route: Route, server: ServerAccess | None) -> FormPassing:
        """Return what makes, of an upload that comes, the body for an engine; see ``body_for``."""
        name = _name(route, server)
        changes = {"model": name} if name else {}
        drop = ("keep_alive",) if server is None else ("keep_alive", "backend")
        return FormPassing(upload.content_type, changes, drop)

    @property
    def is_form(self) -> bool:
        """Whether the body is a form."""
        return self._reading.form is not None


def _without_bytes(method: str, length: int | None) -> bytes:
    if length is None:
        return b"transfer-encoding: chunked\r\n"
    return b"content-length: 0\r\n" if method == "POST" else b""


def _name(route: Route, server: ServerAccess | None) -> str:
    """Return the name that the engine, or the server, has for the model; "" if it is not known."""
    if server is not None:
        return server.model
    return "" if route.served is None else route.served.model


def _with_usage(fields: RequestFields) -> msgspec.Raw:
    """Return the client's options for a stream, unchanged but that its end tells the usage."""
    raw = bytes(fields.stream_options)
    return msgspec.Raw(with_changes(raw if raw.startswith(b"{") else b"{}", {"include_usage": True}))

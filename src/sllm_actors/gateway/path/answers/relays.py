"""What a client gets of an engine's answer: as it comes, held until it is whole, or made into another. Pure.

A relay takes the pieces of the answer's body, and returns what may be passed on of them. ``relay_for``
chooses one when the head of the answer has come.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from sllm_actors.api_error import ApiError
from sllm_actors.gateway import errors
from sllm_actors.gateway.bodies.dialects import Dialect
from sllm_actors.gateway.bodies.stream_end import COMMON_END, StreamEnd
from sllm_actors.gateway.bodies.stream_error import error_in
from sllm_actors.gateway.headers import (
    Headers,
    for_client,
    for_event_stream,
    is_event_stream,
    is_plain_json,
    without_length,
)
from sllm_actors.gateway.path.clients.request_head import RequestHead
from sllm_actors.gateway.path.engines.broke import EngineBroke

from .assembly import Assembly
from .events import DONE, EventCutter, data_of
from .model_name import with_model, with_model_in_events

HELD_WHOLE = 4 * 2**20
"""Bytes of an unstreamed answer that are held back until it is whole: if the engine breaks before, the client
gets an error, or the answer of another engine, and not a part of one."""


class Relay(Protocol):
    """Attributes are those of the response.

    Attributes:
        status: The status.
        headers: The headers, without ``content-length``.
        length: Bytes of the whole body, where that is known and something is passed on before the end.
        events: Whether the response is a stream of events.
        midway: Whether what was returned last ends within an event.
        flows: Whether ``feed`` would do nothing but return them, were it given whole events that end with
            ``COMMON_END``.
    """

    status: int
    headers: Headers
    length: int | None
    events: bool
    midway: bool
    flows: bool

    def feed(self, data: bytes) -> bytes:
        """Take the next piece; return what may be passed on, or ``b""``.

        Raises:
            EngineBroke: The answer is not what it claims to be.
            ApiError: The engine reports an error that the client is to be told.
        """

    def end(self) -> bytes:
        """Return the rest, once the answer is complete.

        Raises:
            EngineBroke: The answer is not complete after all.
            ApiError: As for ``feed``.
        """


class Whole:
    """Holds an answer until it is whole, or has more than ``HELD_WHOLE`` bytes."""

    def __init__(self, status: int, headers: Headers) -> None:
        self.status = status
        self.events = self.midway = self.flows = False
        self.length: int | None = None
        self.headers: Headers = for_client(headers)
        for at, (name, value) in enumerate(self.headers):
            if name == b"content-length":
                self.length = int(value)
                del self.headers[at]
                break
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """See ``Relay``."""
        self._size += len(data)
        self._held.append(data)
        return self.end() if self._size > HELD_WHOLE else b""

    def end(self) -> bytes:
        """See ``Relay``."""
        held, self._held = self._held, []
        return held[0] if len(held) == 1 else b"".join(held)


class _Collected:
    """Collects a whole answer of at most ``limit`` bytes."""

    def __init__(self, status: int, headers: Headers, limit: int) -> None:
        self.events = self.midway = self.flows = False
        self.length: int | None = None
        self.status = status
        self.headers = headers
        self._limit = limit
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """See ``Relay``."""
        self._size += len(data)
        if self._size > self._limit:
            raise EngineBroke(f"its answer has over {self._limit} bytes", final=True)
        self._held.append(data)
        return b""

    def _collected(self) -> bytes:
        return b"".join(self._held)


class Renamed(_Collected):
    """A JSON answer with another name of the model in it; it is held whole: that may come at its end."""

    def __init__(self, status: int, headers: Headers, name: str, limit: int) -> None:
        super().__init__(status, _unsized(headers), limit)
        self._name = name

    def end(self) -> bytes:
        """See ``Relay``."""
        return with_model(self._collected(), self._name)


class NotStreamed(_Collected):
    """One document for a client that has the head of a stream already: it becomes an error."""

    def end(self) -> bytes:
        """See ``Relay``."""
        raise errors.not_streamed() if self.status == 200 else as_error(self.status, self._collected())


class Assembled(_Collected):
    """One answer made of a stream that the client did not ask for."""

    def __init__(self, headers: Headers, assembly: Assembly, limit: int) -> None:
        ours = (b"content-type", b"cache-control")
        kept = [header for header in _unsized(headers) if header[0] not in ours]
        super().__init__(200, [*kept, (b"content-type", b"application/json; charset=utf-8")], limit)
        self._assembly = assembly
        self._cutter = EventCutter()
        self._done = False

    def feed(self, data: bytes) -> bytes:
        """See ``Relay``."""
        self._size += len(data)
        if self._size > self._limit:
            raise EngineBroke(f"its answer has over {self._limit} bytes", final=True)
        for each in data_of(self._cutter.feed(data)):
            if each == DONE:
                self._done = True
            else:
                self._add(each)
        return b""

    def end(self) -> bytes:
        """See ``Relay``."""
        if not self._done:
            raise EngineBroke("it ended its answer too early")
        return json.dumps(self._assembly.document(), ensure_ascii=False).encode(errors="replace")

    def _add(self, data: bytes) -> None:
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            raise EngineBroke("an event of its stream is not JSON") from None
        if isinstance(chunk, dict):
            if chunk.get("error"):
                raise as_error(502, data)
            self._assembly.add(chunk)


class Events:
    """A stream of events, passed on event by event.

    An engine that dies may say so in an event, under the status 200. As long as the client has no event yet,
    such an engine broke.

    Args:
        headers: Those of the engine.
        dialect: How a stream of it ends.
        name: What clients call the model, where the server has its own name for it; else None.
    """

    def __init__(self, headers: Headers, dialect: Dialect, name: str | None) -> None:
        self.status, self.events, self.midway, self.flows = 200, True, False, False
        self.length: int | None = None
        self.headers = for_event_stream(headers)
        self._name = name
        self._cutter = EventCutter()
        self._end = StreamEnd(dialect)
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """See ``Relay``."""
        if self.flows and data.endswith(COMMON_END):
            return data
        self._end.feed(data)
        events = self._cutter.feed(data)
        self.midway = self._cutter.midway
        if not self._begun and events:
            error = error_in(events)
            if error is not None and (error.status or 500) >= 500:
                raise EngineBroke(f"it said: {error.message[:200]}")
            self._begun = True
        self.flows = events is data and self._name is None and self._end.is_far
        return events if self._name is None else with_model_in_events(events, self._name)

    def end(self) -> bytes:
        """See ``Relay``."""
        if not self._end.ended:
            raise EngineBroke("it ended its stream too early")
        return self._cutter.rest()


def relay_for(
    status: int,
    headers: Headers,
    *,
    head: RequestHead,
    assembly: Assembly | None,
    name: str | None,
    in_stream: bool,
    limit: int,
) -> Relay:
    """Return what relays an answer.

    Args:
        status: The status of the answer.
        headers: Its headers.
        head: The head of the request, for the dialect of its path.
        assembly: Makes one answer of a stream that the client did not ask for, or None.
        name: What clients call the model, where the server has its own name for it; else None.
        in_stream: Whether the client has got the head of a stream of events already.
        limit: The most bytes of an answer that has to be held in memory as a whole.
    """
    if status == 200 and is_event_stream(headers):
        return (
            Events(headers, head.dialect, name) if assembly is None else Assembled(headers, assembly, limit)
        )
    if in_stream:
        return NotStreamed(status, [], limit)
    if name is not None and is_plain_json(headers):
        return Renamed(status, headers, name, limit)
    return Whole(status, headers)


def as_error(status: int, body: bytes) -> ApiError:
    """Return the error that an engine's answer describes, with its own ``error`` object unchanged.

    Args:
        status: The status of the answer; 502 for an error within a stream, which is replaced by the error's
            own ``code`` where that is a status.
        body: The answer, or the data of the event: JSON, if the engine is well-behaved.
    """
    detail: Any = None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        detail = document.get("error") or None
    if isinstance(detail, dict):
        code = detail.get("code")
        if status == 502 and isinstance(code, int) and 400 <= code <= 599:
            status = code
    elif detail is not None:
        detail = {"message": str(detail), "type": "engine_error", "param": None, "code": "engine_error"}
    return ApiError(status, "engine_error", f"the engine answered with status {status}", detail=detail)


def _unsized(headers: Headers) -> Headers:
    return without_length(for_client(headers))

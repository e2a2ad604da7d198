"""One kept connection to an engine: HTTP/1.1, one request at a time, over a socket or a tunnel's stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import httptools

from sllm_actors.gateway.headers import Headers
from sllm_actors.gateway.path.clients.http1 import CHUNK_BEGINS
from sllm_actors.gateway.path.repeated_head import RepeatedHead
from sllm_actors.transport import TunnelStream

from .answer_head import AnswerHead
from .broke import EngineBroke, broken_by
from .caller import BodySource, Caller
from .target import Target

LARGEST_HEAD = 64 * 2**10
"""Bytes that may come before the head of a response is complete."""

_FRAMING = frozenset([b"content-length", b"transfer-encoding"])

JOINED = 64 * 2**10
"""A request's body below this size is sent in one piece with its head."""


class Wire(Protocol):
    """What carries the bytes: an ``asyncio.Transport``, or a stream of a tunnel."""

    def write(self, data: bytes, /) -> None: ...

    def abort(self) -> None: ...

    def is_closing(self) -> bool: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class EngineConnection(asyncio.Protocol):
    """A connection to one engine.

    Args:
        target: The engine's own part of each request.
        idle: Called when an answer was complete and another request may be sent.
        closed: Called once, when the connection is lost.

    Attributes:
        target: As above.
        used: How many requests it has carried to their end.
        made_at: When it was made, for those who bound its age.
        idle_since: Since when it carries no request; None while it carries one.
    """

    __slots__ = (
        "_at_chunk",
        "_between",
        "_caller",
        "_closed",
        "_complete",
        "_flow",
        "_flow_end",
        "_framed",
        "_full",
        "_head_new",
        "_head_seen",
        "_headers",
        "_idle",
        "_kept",
        "_known",
        "_parser",
        "_paused",
        "_pieces",
        "_received",
        "_source",
        "_status",
        "_until_closed",
        "_wire",
        "idle_since",
        "made_at",
        "target",
        "used",
    )

    def __init__(
        self,
        target: Target,
        *,
        idle: Callable[[EngineConnection], None],
        closed: Callable[[EngineConnection], None],
        made_at: float = 0.0,
    ) -> None:
        self.target = target
        self.used = 0
        self.made_at = made_at
        self.idle_since: float | None = None
        self._idle = idle
        self._closed = closed
        self._wire: Wire | None = None
        self._caller: Caller | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: Headers = []
        self._pieces: list[bytes] = []
        self._status = self._received = 0
        self._head_new = self._head_seen = self._complete = self._until_closed = self._paused = False
        self._kept = self._framed = self._full = False
        self._source: BodySource | None = None  # while the body of a request is not sent to its end
        self._between = True  # whether the parser is between two answers
        self._at_chunk = False  # whether it is in one, and between two chunks
        self._flow: Callable[[bytes], None] | None = None
        self._flow_end = b""
        self._known: RepeatedHead[AnswerHead] | None = None

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._wire is not None and not self._wire.is_closing()

    @property
    def reaches(self) -> bool:
        """Whether a request that was sent may have come to the engine.

        It has not, for all that is known, while the worker has not accepted the stream that leads there; nor
        over a stream that was kept, until something of the answer comes: the worker may be gone.
        """
        wire = self._wire
        return not isinstance(wire, TunnelStream) or (
            wire.accepted and (self.used == 0 or self._received > 0)
        )

    def send(self, caller: Caller, head: bytes, body: bytes) -> None:
        """Send a whole request; only while no other is under way.

        An engine may refuse a request and close before it has read all of it: its answer then still counts.
        """
        self._caller = caller
        self._received = 0
        self._head_seen = self._complete = self._until_closed = self._at_chunk = False
        self._flow = None
        wire = self._wire
        if wire is None:
            raise RuntimeError("the connection is not made yet")
        if len(body) < JOINED:
            wire.write(head + body)
        else:
            wire.write(head)
            wire.write(body)

    def send_while_it_comes(self, caller: Caller, head: bytes, source: BodySource) -> None:
        """Send the head of a request whose body follows by ``write_body``, up to ``body_sent``.

        Only while no other is under way. If the answer is complete before that, the connection is closed.
        """
        self.send(caller, head, b"")
        self._source = source

    @property
    def takes_more(self) -> bool:
        """Whether more of the body is to be sent now; when it is again, ``BodySource.more`` is called."""
        return self._source is not None and not self._full and self.is_open

    def write_body(self, data: bytes) -> None:
        """Send a piece of the body, with the framing that the head says."""
        if self._wire is not None and self.is_open:
            self._wire.write(data)

    def body_sent(self) -> None:
        """Take note that the whole body is sent."""
        self._source = None

    def abort(self) -> None:
        """Close at once; whoever has sent the request hears no more of it."""
        self._caller = None
        self._stop_source()
        if self._wire is not None:
            self._wire.abort()

    def let_flow(self, flow: Callable[[bytes], None] | None, end: bytes = b"") -> None:
        """Pass on chunks by a shorter way, for the rest of the answer, or until told otherwise.

        Args:
            flow: Called, in place of the caller, with each chunk that comes alone and ends with ``end``: the
                chunk with its framing, as ``http1.chunk`` makes it. None: the caller hears everything.
            end: How the data in such a chunk ends.
        """
        self._flow, self._flow_end = flow, end + b"\r\n"

    def pause(self) -> None:
        """Read no more until ``resume``."""
        if not self._paused and self._wire is not None and not self._wire.is_closing():
            self._paused = True
            self._wire.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            if self._wire is not None and not self._wire.is_closing():
                self._wire.resume_reading()

    # ---- asyncio.Protocol

    def connection_made(self, transport: Wire) -> None:  # type: ignore[override]
        """Take the transport, or the tunnel's stream."""
        self._wire = transport

    def data_received(self, data: bytes) -> None:
        """Take bytes, and tell the caller what they have completed."""
        if self._caller is None:
            self.abort()  # nobody has asked for these bytes
            return
        if self._at_chunk and self._flow is not None:
            begin = CHUNK_BEGINS.get(len(data))
            if begin is not None and data.startswith(begin) and data.endswith(self._flow_end):
                self._flow(data)
                return
        elif self._between and self._known is not None and not self._received:
            found = self._known.find(data)
            if found is not None and sum(found) == len(data):
                self._received = len(data)
                self._finish().answer_came(self._known.made, data[found[0] :])
                return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._complete:
                self._break(f"what it sent is not HTTP ({error})")
                return
            self._until_closed = True  # what follows a complete answer concerns nobody
        if not self._head_seen and self._received > LARGEST_HEAD:
            self._break(f"it sent over {LARGEST_HEAD} bytes of headers")
            return
        pieces = self._pieces
        if pieces:
            self._pieces = []
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self._head_new:
            self._head_new = False
            if self._complete:
                head = AnswerHead(self._status, self._headers)
                if piece and self._kept and self._received == len(data):
                    self._known = RepeatedHead.of(data, len(piece), head)
                self._finish().answer_came(head, piece)
                return
            self._caller.answer_began(self._status, self._headers)
        if piece and self._caller is not None:
            self._caller.answer_continued(piece)
        if self._complete and self._caller is not None:
            self._finish().answer_ended()

    def eof_received(self) -> None:
        """Take note that the engine sends no more."""

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the caller, if there is one, that its answer is complete or broken."""
        self._closed(self)
        self._stop_source()
        caller, self._caller = self._caller, None
        if caller is None:
            return
        if self._head_seen and self._until_closed and error is None:
            caller.answer_ended()
        elif self._received:
            caller.answer_broken(EngineBroke("it closed the connection in the middle of its answer"))
        elif self.used:
            caller.answer_broken(EngineBroke("it closed a connection that was kept", stale=True))
        else:
            caller.answer_broken(broken_by(error, "its connection broke", unreached=not self.reaches))

    def pause_writing(self) -> None:
        """The engine does not read. What was written is in memory, and bounded there."""
        self._full = True

    def resume_writing(self) -> None:
        """The engine reads again."""
        self._full = False
        if self._source is not None:
            self._source.more()

    def _stop_source(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.stop()

    def _finish(self) -> Caller:
        """Take note that the answer is complete, and return whom to tell."""
        caller, self._caller = self._caller, None
        self._flow = None
        self.used += 1
        if self._paused:
            self.resume()
        if self._until_closed or not self._kept or self._source is not None or not self.is_open:
            self.abort()
        else:
            self._idle(self)
        if caller is None:
            raise RuntimeError("an answer is complete that nobody has asked for")
        return caller

    def _break(self, reason: str) -> None:
        caller = self._caller
        self.abort()
        if caller is not None:
            caller.answer_broken(EngineBroke(reason))

    # ---- callbacks of the parser

    def on_message_begin(self) -> None:
        """Begin a response: an interim one (status 1xx), or the final one after it.

        Nobody has asked for one that comes after that: the connection is of no more use.
        """
        self._between = False
        if self._complete:
            self._until_closed = True
        if not self._head_seen:
            self._headers = []
            self._framed = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; one that comes after the body (a trailer) is dropped."""
        if not self._head_seen:
            name = name.lower()
            self._headers.append((name, value))
            if name in _FRAMING:
                self._framed = True

    def on_headers_complete(self) -> None:
        """Take note that all headers of a response have come."""
        status = self._parser.get_status_code()
        if status >= 200 and not self._head_seen:
            self._status = status
            self._head_seen = self._head_new = True
            # Without a length and chunks, the body is whatever comes until the connection is closed.
            self._until_closed = not self._framed and status not in (204, 304)

    def on_chunk_header(self) -> None:
        """Take note that a chunk begins."""
        self._at_chunk = False

    def on_chunk_complete(self) -> None:
        """Take note that a chunk has ended, and no other has begun yet."""
        self._at_chunk = True

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body, without the framing of chunks."""
        if not self._complete:
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        """Take note that a response has ended; only the final one counts."""
        self._between, self._at_chunk = True, False
        self._complete = self._head_seen
        self._kept = self._parser.should_keep_alive()  # only now: afterwards the parser has forgotten

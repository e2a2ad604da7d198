"""One connection of a client: HTTP/1.1 over an asyncio transport, parsed by httptools.

Transport, parser and response call the same object: a request costs no call between objects that could be
spared. What is refused, dropped or left waiting is in ``unserved``, the response in ``response``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import httptools
import structlog

from sllm_actors.api_error import ApiError
from sllm_actors.gateway import errors
from sllm_actors.gateway.bodies.dialects import dialect_of
from sllm_actors.gateway.headers import Headers, without_length
from sllm_actors.gateway.path.repeated_head import RepeatedHead
from sllm_actors.http_server.bounds import LARGEST_HEAD, LINGER_SECONDS

from .handler import RequestHandler
from .hang_up import has_hung_up
from .http1 import CONTINUE
from .request_head import RequestHead, new_request_id
from .response import Http1Response
from .server_side import ServerSide
from .unserved import LINGER_BYTES, Unwanted, WaitingRequest
from .upgrade import head_without_upgrade

log = structlog.get_logger()


class _Request(NamedTuple):
    """What a parser makes of a head."""

    head: RequestHead
    version: str
    keep_alive: bool


class ClientConnection(asyncio.Protocol):
    """Reads requests and hands them to the server, one at a time and in order.

    - A request whose head is larger than ``LARGEST_HEAD`` is refused with 431, what is not HTTP with 400.
    - ``Upgrade`` is ignored; see ``upgrade``.
    - Nothing more is read while a request waits for the response to the one before it.

    Attributes:
        idle_since: For the server: since when no request is under way, if none is.
    """

    __slots__ = (
        "_between",
        "_came",
        "_expects",
        "_full",
        "_handler",
        "_headers",
        "_known",
        "_left",
        "_parser",
        "_paused_reading",
        "_queue",
        "_request",
        "_response",
        "_server",
        "_sink",
        "_transport",
        "_unread",
        "_unused",
        "_url",
        "_whole",
        "idle_since",
        "write",
    )

    def __init__(self, server: ServerSide) -> None:
        self.idle_since = 0.0
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        # The requests whose responses are not complete:
        self._handler: RequestHandler | None = None  # serves the one under way
        self._response: Http1Response | None = None  # its response, or the one before it
        self._queue: deque[WaitingRequest] = deque()  # those that came too early
        # The request that is read:
        self._url = b""
        self._headers: Headers = []
        self._unused = 0  # bytes of its head, or between pieces of its body
        self._sink: RequestHandler | WaitingRequest | Unwanted | None = None  # takes its body
        self._came = 0  # bytes of its body that have come
        self._left = 0  # bytes of its body that are to come, past the parser
        self._whole = True  # whether all of it has come
        self._between = True  # whether the parser is between two requests
        self._expects = False  # whether its client waits for ``CONTINUE``
        # The head that was read last, and how it is known again without the parser:
        self._request: _Request | None = None
        self._known: RepeatedHead[_Request] | None = None
        self._paused_reading = False  # whether the client is not read
        self._full = False  # whether the client does not read
        self._unread = 0  # bytes that it had not read when ``is_read`` was called last
        self.write: Callable[[bytes], None]

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection."""
        self._transport = transport
        self.write = transport.write
        self._server.opened(self)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio.Protocol
        """Tell whoever serves the client that it has left."""
        self._server.closed(self)
        self._queue.clear()
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.client_left()

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        between, known, before = self._between, self._known, self._request
        try:
            if self._left:
                data = self._body_came(data)
            elif known is not None and between and self._handler is None:
                found = known.find(data)
                if found is not None:
                    data = self._repeat(known.made, found[1], data[found[0] :])
            if not data:
                return
            self._unused += len(data)
            self._feed(data)
        except ApiError as error:
            self._refuse(error)
        except httptools.HttpParserCallbackError as error:
            self._fail(error.__context__)
        except httptools.HttpParserError as error:
            self._refuse(errors.bad_request(f"the request is not HTTP/1.1 ({error})", code="bad_http"))
        except Exception as error:  # noqa: BLE001 - what serves the request has stumbled
            self._fail(error)
        else:
            if self._unused > LARGEST_HEAD:
                self._refuse(errors.head_too_large(LARGEST_HEAD))
            elif between and self._request is not before:
                self._learn(data)

    def eof_received(self) -> None:
        """Close the connection: a client that sends no more is taken for one that has left."""

    def pause_writing(self) -> None:
        """The client does not read."""
        self._full = True
        if self._handler is not None:
            self._handler.pause()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._full = False
        if self._handler is not None:
            self._handler.resume()

    # ---- callbacks of the parser

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._between = False
        self._headers = []
        self._url = b""

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; one that comes after the body (a trailer) is dropped."""
        if self._whole:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Begin to serve the request, or let it wait for the one before it."""
        parser = self._parser
        if parser.should_upgrade():
            return  # see _feed
        if self._unused > LARGEST_HEAD and self._size_of_head() > LARGEST_HEAD:
            raise errors.head_too_large(LARGEST_HEAD)
        self._unused = 0
        path, _, query = self._url.partition(b"?")
        if not path.startswith(b"/") and path != b"*":
            path = _path_of(self._url)
        head = RequestHead(parser.get_method().decode(), path, query, self._headers)
        self._came = 0
        self._request = _Request(head, parser.get_http_version(), parser.should_keep_alive())
        self._serve(head, self._request)

    def on_body(self, data: bytes) -> None:
        """Take a piece of a request's body."""
        self._unused = 0
        self._came += len(data)
        if self._sink is not None:
            self._sink.body(data)

    def on_message_complete(self) -> None:
        """Take note that a request is complete."""
        sink, self._sink = self._sink, None
        self._whole = self._between = True
        if sink is not None:
            sink.body_ended()

    # ---- for the response

    def request_is_whole(self) -> bool:
        """See ``ResponseWire``."""
        return self._whole or bool(self._queue)

    def response_ended(self, *, keep_alive: bool) -> None:
        """See ``ResponseWire``."""
        self._handler = None
        if not self.request_is_whole():
            self._linger()
        elif not keep_alive:
            self.close()
        elif self._queue:
            asyncio.get_running_loop().call_soon(self._next)
        else:
            self._server.waits(self)

    def leave_if_gone(self) -> None:
        """See ``ResponseWire``."""
        if has_hung_up(self._transport):
            self._transport.abort()

    def cut_off(self) -> None:
        """See ``ResponseWire``."""
        self._handler = None
        self._transport.abort()

    # ---- for the application

    @property
    def client(self) -> tuple[str, int] | None:
        """See ``asgi_request.ClientSide``."""
        return _address(self._transport.get_extra_info("peername"))

    @property
    def server(self) -> tuple[str, int] | None:
        """See ``asgi_request.ClientSide``."""
        return _address(self._transport.get_extra_info("sockname"))

    def pause_reading(self) -> None:
        """See ``asgi_request.ClientSide``."""
        if not self._paused_reading and not self._transport.is_closing():
            self._paused_reading = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See ``asgi_request.ClientSide``."""
        if self._paused_reading and not self._queue:
            self._paused_reading = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    # ---- for the server

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return self._handler is None

    @property
    def is_new(self) -> bool:
        """Whether no request has begun to come yet."""
        return not self._url

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way, or its client does not have the whole response yet."""
        return self._handler is not None or self._transport.get_write_buffer_size() > 0

    def close(self) -> None:
        """Close the connection once all that was written is sent."""
        self._transport.close()

    @property
    def is_closing(self) -> bool:
        """Whether it is to be closed once all that was written is sent."""
        return self._transport.is_closing()

    def is_read(self) -> bool:
        """Return whether the client has read anything of what waits for it since this was asked last."""
        before, self._unread = self._unread, self._transport.get_write_buffer_size()
        return self._unread != before

    def give_up(self) -> None:
        """End the response that is under way; see ``RequestHandler.give_up``."""
        if self._handler is not None:
            self._handler.give_up()

    # ---- inside

    def _serve(self, head: RequestHead, request: _Request) -> None:
        """Begin to serve a request, or let it wait for the one before it."""
        self._whole = False
        keep_alive = request.keep_alive and not self._server.stopping
        response = Http1Response(self, head.id, head.method, request.version, keep_alive=keep_alive)
        if self._handler is not None:
            waiting = WaitingRequest(head, response)
            self._queue.append(waiting)
            self._sink = waiting
            self.pause_reading()
        else:
            handler = self._begin(head, response)
            if not response.ended:
                self._sink = handler

    def _learn(self, data: bytes) -> None:
        """Remember the head of a request that has come in ``data``."""
        if self._request is not None and self._request.keep_alive:
            self._known = RepeatedHead.of(data, self._came, self._request)

    def _repeat(self, request: _Request, length: int, data: bytes) -> bytes:
        """Serve a request whose head is known, past the parser; return what follows its body."""
        self._left = length
        self._serve(request.head.again(length), request)
        return self._body_came(data)

    def _body_came(self, data: bytes) -> bytes:
        """Take a piece of a body that the parser does not get, and return what follows the body."""
        piece = data[: self._left]
        self._left -= len(piece)
        if piece:
            self.on_body(piece)
        if not self._left:
            self.on_message_complete()
        return data[len(piece) :]

    def _begin(self, head: RequestHead, response: Http1Response) -> RequestHandler:
        self._expects = b"expect" in head.named and response.version != "1.0"  # RFC 9110, 10.1.1
        self._response = response
        handler = self._server.handle(head, response, self)
        if not response.ended:
            self._handler = handler
            if self._full:
                handler.pause()
            if self._expects:
                self._transport.write(CONTINUE)
        return handler

    def _next(self) -> None:
        """Serve the request that has waited longest."""
        if not self._queue or self._handler is not None:
            return
        waiting = self._queue.popleft()
        self.resume_reading()  # first: what has come of its body may be too much already
        waiting.start(self._begin(waiting.head, waiting.response))

    def _feed(self, data: bytes) -> None:
        """Let the parser read. Where it stops for an ``Upgrade``, another one reads on.

        Raises:
            ApiError: A client takes the gateway for a proxy.
        """
        rest: bytes | memoryview = data
        while True:
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as stopped:
                rest = memoryview(rest)[stopped.args[0] :]
            else:
                return
            if self._parser.get_method() == b"CONNECT":
                raise errors.bad_request("this server is no proxy: it takes no CONNECT")
            head = head_without_upgrade(self._parser, self._url, self._headers)
            self._parser = httptools.HttpRequestParser(self)
            self._parser.feed_data(head)

    def _size_of_head(self) -> int:
        return len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers)

    def _fail(self, error: BaseException | None) -> None:
        """Answer a request whose head is refused, or over which our own code has stumbled."""
        if isinstance(error, ApiError):
            self._refuse(error)
        else:
            log.error("request.mistake", exc_info=error)
            self._refuse(errors.internal(), self._response)

    def _refuse(self, error: ApiError, response: Http1Response | None = None) -> None:
        """Answer what cannot be read as a request, and close the connection; what still comes is dropped.

        Args:
            error: Why it cannot be.
            response: Where the error goes, if the fault is our own: the response to the request under way.
        """
        if self._handler is not None:
            handler, self._handler = self._handler, None
            handler.client_left()
            if response is None or response.begun:  # the client's own fault cuts off its response
                self._transport.abort()
                return
        self._whole = self._whole and response is not None
        if not self._whole:
            self._left = 2 * LINGER_BYTES  # the parser cannot go on: all that comes is taken for a body
            self._queue.clear()
        self._expects = False
        if response is None or response.begun:
            response = Http1Response(self, new_request_id(), "GET", "1.1", keep_alive=False)
        response.keep_alive = False
        dialect = dialect_of(self._url.partition(b"?")[0].decode("latin-1"))
        response.respond(error.status, without_length(dialect.headers(error)), dialect.body(error))

    def _linger(self) -> None:
        if self._expects:
            self.close()  # the client sends nothing before it has an answer
            return
        self._sink = Unwanted(self)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)


def _path_of(url: bytes) -> bytes:
    """Return the path of a target in absolute form (``http://host/path``)."""
    try:
        return httptools.parse_url(url).path or b"/"
    except httptools.HttpParserInvalidURLError:
        return url


def _address(name: object) -> tuple[str, int] | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None

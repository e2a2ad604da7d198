"""A client's connection, byte by byte: what its requests become, and what happens to bad ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from attrs import define, field
from tests.gateway.path.wire import Wire, one_by_one

from sllm_actors.gateway.path.clients.connection import ClientConnection
from sllm_actors.gateway.path.clients.request_head import RequestHead
from sllm_actors.gateway.path.clients.response import Http1Response
from sllm_actors.gateway.path.clients.unserved import LINGER_BYTES
from sllm_actors.http_server.bounds import LARGEST_HEAD

pytestmark = pytest.mark.anyio

POST = b"POST /v1/chat?x=1 HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX-Key: no\r\n\r\n"
)
H2C = (
    b"POST /u HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
    b"Content-Length: 5\r\n\r\nhello"
)


@define(eq=False)
class Handler:
    """Writes down what it hears of one request."""

    head: RequestHead
    response: Http1Response
    data: bytes = b""
    heard: list[str] = field(factory=list)
    on_end: Callable[[Handler], None] | None = None

    def body(self, data: bytes) -> None:
        assert data
        assert "whole" not in self.heard
        self.data += data

    def body_ended(self) -> None:
        self.heard.append("whole")
        if self.on_end is not None:
            self.on_end(self)

    def client_left(self) -> None:
        self.heard.append("left")

    def pause(self) -> None:
        self.heard.append("pause")

    def resume(self) -> None:
        self.heard.append("resume")

    def give_up(self) -> None:
        self.heard.append("give up")

    def answer(self, body: bytes = b"ok") -> None:
        self.response.respond(200, [], body)


@define(eq=False)
class Server:
    """The server of one connection."""

    stopping: bool = False
    waiting: int = 0
    closed_ones: int = 0
    requests: list[Handler] = field(factory=list)
    on_head: Callable[[Handler], None] | None = None
    on_end: Callable[[Handler], None] | None = None

    def opened(self, connection: ClientConnection) -> None:
        pass

    def closed(self, connection: ClientConnection) -> None:
        self.closed_ones += 1

    def waits(self, connection: ClientConnection) -> None:
        self.waiting += 1

    def handle(self, head: RequestHead, response: Http1Response, connection: ClientConnection) -> Handler:
        handler = Handler(head, response, on_end=self.on_end)
        self.requests.append(handler)
        if self.on_head is not None:
            self.on_head(handler)
        return handler


def connected(**more: object) -> tuple[ClientConnection, Wire, Server]:
    server, wire = Server(**more), Wire()  # type: ignore[arg-type]
    connection = ClientConnection(server)
    connection.connection_made(wire)
    return connection, wire, server


def fed(data: bytes, **more: object) -> tuple[ClientConnection, Wire, Server]:
    connection, wire, server = connected(**more)
    connection.data_received(data)
    return connection, wire, server


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("request_", [POST, CHUNKED, H2C], ids=["length", "chunked", "h2c"])
async def test_a_request_is_the_same_however_its_bytes_come(request_: bytes) -> None:
    cuts = [[request_[:at], request_[at:]] for at in range(1, len(request_))]
    for pieces in (*cuts, one_by_one(request_), [request_]):
        connection, wire, server = connected()
        for piece in pieces:
            connection.data_received(piece)
        (handler,) = server.requests
        assert handler.data == b"hello", pieces
        assert handler.heard == ["whole"]
        assert handler.head.method == "POST"
        assert b"upgrade" not in handler.head.named
        assert b"x-key" not in handler.head.named, "a trailer is no header"
        handler.answer()
        assert wire.written.startswith(b"HTTP/1.1 200 OK\r\n")
        assert wire.written.endswith(b"\r\ncontent-length: 2\r\n\r\nok")
        assert server.waiting == 1
        assert not wire.is_closing()


async def test_the_parts_of_a_target_are_told_apart() -> None:
    for target, path, query in [
        (b"/v1/a?b=c?d", b"/v1/a", b"b=c?d"),
        (b"/", b"/", b""),
        (b"*", b"*", b""),
        (b"http://other:80/v1/a?b=c", b"/v1/a", b"b=c"),
        (b"http://other", b"/", b""),
    ]:
        method = b"OPTIONS" if target == b"*" else b"GET"
        _, _, server = fed(method + b" " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n")
        head = server.requests[0].head
        assert (head.path, head.query) == (path, query)


async def test_requests_in_one_segment_are_answered_in_their_order() -> None:
    connection, wire, server = fed(POST + CHUNKED + H2C)
    assert len(server.requests) == 1
    assert wire.is_paused(), "nothing more is read while a request waits"
    for number, path in enumerate([b"/v1/chat", b"/c", b"/u"]):
        handler = server.requests[number]
        assert (handler.head.path, handler.data, handler.heard) == (path, b"hello", ["whole"])
        handler.answer(b"answer-%d" % number)
        await turns()
    assert [bytes(wire.written).index(b"answer-%d" % number) for number in range(3)] == sorted(
        bytes(wire.written).index(b"answer-%d" % number) for number in range(3)
    )
    assert (wire.is_paused(), wire.is_closing(), server.waiting) == (False, False, 1)
    connection.data_received(POST)
    assert len(server.requests) == 4


async def test_the_rest_of_a_request_that_had_to_wait_goes_to_its_handler() -> None:
    connection, wire, server = fed(POST + POST[:-3])
    server.requests[0].answer()
    await turns()
    assert not wire.is_paused()
    second = server.requests[1]
    assert (second.data, second.heard) == (b"he", [])
    connection.data_received(POST[-3:])
    assert (second.data, second.heard) == (b"hello", ["whole"])


async def test_a_request_hears_that_the_client_has_left_and_those_that_wait_never_begin() -> None:
    connection, _, server = fed(POST + POST)
    connection.connection_lost(None)
    await turns()
    assert [handler.heard for handler in server.requests] == [["whole", "left"]]
    assert server.closed_ones == 1


async def test_a_client_that_does_not_read_holds_up_its_next_request_too() -> None:
    connection, _, server = fed(POST)
    connection.pause_writing()
    server.requests[0].answer()
    connection.data_received(POST)
    assert server.requests[0].heard == ["whole", "pause"]
    assert server.requests[1].heard == ["pause", "whole"]
    connection.resume_writing()
    assert server.requests[1].heard == ["pause", "whole", "resume"]


async def test_what_a_body_holds_up_stays_held_up_when_its_request_has_waited() -> None:
    connection, wire, server = fed(POST + POST)
    server.on_head = lambda _: connection.pause_reading()
    server.requests[0].answer()
    await turns()
    assert wire.is_paused()
    connection.resume_reading()
    assert not wire.is_paused()


async def test_100_continue_is_said_once_the_request_is_wanted() -> None:
    head = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    _, wire, server = fed(head)
    assert wire.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert server.requests[0].heard == []
    _, wire, _ = fed(head, on_head=lambda handler: handler.response.respond(413, [], b"no"))
    assert wire.written.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nconnection: close\r\n" in wire.written
    assert wire.is_closing()


async def test_a_client_of_http_1_0_is_not_told_to_continue() -> None:
    _, wire, server = fed(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
    assert not wire.written
    assert server.requests[0].data == b"hello"


async def test_the_rest_of_a_refused_body_is_read_and_dropped_until_it_has_come() -> None:
    connection, wire, server = fed(POST[:-5], on_head=lambda handler: handler.answer())
    assert b"\r\nconnection: close\r\n" in wire.written
    assert (wire.ended, wire.is_closing()) == (True, False)
    connection.data_received(b"hel")
    assert not wire.is_closing()
    connection.data_received(b"lo")
    assert wire.is_closing()
    assert not wire.aborted
    assert server.requests[0].data == b""


async def test_no_more_than_so_much_of_a_refused_body_is_read() -> None:
    head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (2 * LINGER_BYTES)
    connection, wire, _ = fed(head, on_head=lambda handler: handler.answer())
    piece = bytes(2**20)
    sent = 0
    while not wire.is_closing():
        connection.data_received(piece)
        sent += len(piece)
    assert wire.aborted
    assert sent == LINGER_BYTES + len(piece)


@pytest.mark.parametrize(
    ("version", "header", "kept"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: keep-alive\r\n", True),
    ],
)
async def test_a_connection_is_kept_as_the_client_wants(version: bytes, header: bytes, kept: bool) -> None:
    _, wire, server = fed(b"GET / HTTP/%b\r\nHost: h\r\n%b\r\n" % (version, header))
    server.requests[0].answer()
    assert wire.is_closing() is not kept
    assert (b"connection: close" in wire.written) is not kept
    assert (b"connection: keep-alive" in wire.written) is (kept and version == b"1.0")


async def test_no_connection_is_kept_by_a_server_that_stops() -> None:
    connection, wire, server = fed(POST[:-1])
    server.stopping = True
    connection.data_received(POST[-1:])
    server.requests[0].answer()
    assert (wire.is_closing(), server.waiting) == (False, 1), "it was promised before: the server closes it"
    _, wire, server = fed(POST, stopping=True)
    server.requests[0].answer()
    assert wire.is_closing()
    assert b"connection: close" in wire.written


async def test_a_body_of_unknown_length_is_chunked_or_ends_with_the_connection() -> None:
    for version, kept in ((b"1.1", True), (b"1.0", False)):
        _, wire, server = fed(b"GET / HTTP/%b\r\nHost: h\r\nConnection: keep-alive\r\n\r\n" % version)
        response = server.requests[0].response
        response.begin(200, [(b"x-a", b"b")])
        response.write(b"one")
        response.end(b"two")
        head, _, body = bytes(wire.written).partition(b"\r\n\r\n")
        assert b"\r\nx-a: b\r\n" in head
        assert body == (b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n" if kept else b"onetwo")
        assert wire.is_closing() is not kept


@pytest.mark.parametrize("status", [200, 204, 304])
async def test_a_response_without_a_body_has_none_of_any_framing(status: int) -> None:
    method = b"HEAD" if status == 200 else b"GET"
    for length in (None, 5):
        _, wire, server = fed(method + b" / HTTP/1.1\r\nHost: h\r\n\r\n")
        response = server.requests[0].response
        response.begin(status, [], length)
        response.write(b"he")
        response.end(b"llo")
        assert wire.written.endswith(b"\r\n\r\n")
        assert wire.written.count(b"\r\n\r\n") == 1
        assert (b"content-length" in wire.written) is (status == 200 and length is not None)
        assert not wire.is_closing()


def drops_the_rest(connection: ClientConnection, wire: Wire) -> None:
    """The client has its answer, and loses it to no reset, whatever it still sends."""
    assert (wire.ended, wire.is_closing()) == (True, False)
    for _ in range(4):
        connection.data_received(POST)
    assert not wire.is_closing()
    connection.data_received(bytes(LINGER_BYTES))
    assert wire.aborted, "there is a bound"


@pytest.mark.parametrize("size", [100, 100_000], ids=["pieces", "at once"])
@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"], ids=["endless", "whole"])
async def test_a_head_that_is_too_large_is_refused_however_it_comes(size: int, end: bytes) -> None:
    data = b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(b"x-%d: %b\r\n" % (n, b"x" * 1000) for n in range(80))
    connection, wire, server = connected()
    data = data.removesuffix(b"\r\n") + end
    for at in range(0, len(data), size):
        if not wire.is_closing():
            connection.data_received(data[at : at + size])
    assert wire.written.startswith(b"HTTP/1.1 431 ")
    drops_the_rest(connection, wire)
    assert wire.written.count(b"HTTP/1.1 ") == 1
    assert server.requests == []


async def test_a_head_below_the_bound_is_taken_with_whatever_comes_behind_it() -> None:
    long = b"GET /1 HTTP/1.1\r\nx: " + b"x" * (LARGEST_HEAD - 100) + b"\r\n\r\n"
    body = b"POST /2 HTTP/1.1\r\nContent-Length: 200000\r\n\r\n" + bytes(200_000)
    for request_ in (long + long[:-1], body):
        _, wire, server = fed(request_)
        assert len(server.requests) == 1
        assert not wire.written


async def test_endless_trailers_are_not_collected() -> None:
    connection, wire, server = fed(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: ")
    fed_ = 0
    while not wire.is_closing():
        connection.data_received(b"x" * 1000)
        fed_ += 1000
    assert fed_ <= LARGEST_HEAD + 1000
    assert server.requests[0].heard == ["left"]


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\nno header\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"CONNECT other:443 HTTP/1.1\r\nHost: other\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_answered_with_400(data: bytes) -> None:
    for pieces in ([data], one_by_one(data)):
        connection, wire, server = connected()
        for piece in pieces:
            if not wire.is_closing():
                connection.data_received(piece)
        assert wire.written.startswith(b"HTTP/1.1 400 Bad Request\r\n"), pieces
        drops_the_rest(connection, wire)
        assert wire.written.count(b"HTTP/1.1 400 ") == 1
        assert server.requests == []


async def test_a_client_that_breaks_its_own_body_cuts_off_its_response() -> None:
    connection, wire, server = fed(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.data_received(b"no chunk\r\n")
    assert server.requests[0].heard == ["left"]
    assert wire.aborted
    connection.connection_lost(None)
    assert server.requests[0].heard == ["left"], "it is told once"


@pytest.mark.allow_blocking  # structlog reads the lines of code that a traceback shows
async def test_a_mistake_of_a_handler_is_no_fault_of_the_client() -> None:
    def stumble(_: Handler) -> None:
        raise ZeroDivisionError

    def stumble_midway(handler: Handler) -> None:
        handler.response.begin(200, [])
        raise ZeroDivisionError

    _, wire, server = fed(POST, on_end=stumble)
    assert server.requests[0].heard == ["whole", "left"]
    assert wire.written.startswith(b"HTTP/1.1 500 ")
    assert wire.is_closing()
    connection, wire, _ = fed(POST, on_head=stumble)
    assert wire.written.startswith(b"HTTP/1.1 500 ")
    drops_the_rest(connection, wire)
    _, wire, server = fed(POST, on_end=stumble_midway)
    assert server.requests[0].heard == ["whole", "left"]
    assert wire.aborted


async def test_it_is_known_whether_a_client_reads_what_waits_for_it() -> None:
    connection, wire, server = fed(POST)
    server.requests[0].answer()
    assert not connection.is_read()
    for unsent, read in ((100, True), (100, False), (50, True), (0, True), (0, False)):
        wire.unsent = unsent
        assert connection.is_read() is read


async def test_a_connection_that_is_told_to_give_up_passes_that_on() -> None:
    connection, _, server = fed(POST)
    idle = [connection.is_idle]
    connection.give_up()
    assert server.requests[0].heard == ["whole", "give up"]
    server.requests[0].answer()
    idle.append(connection.is_idle)
    assert idle == [False, True]
    connection.give_up()
    assert server.requests[0].heard == ["whole", "give up"]

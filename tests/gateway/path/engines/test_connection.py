"""An engine's connection, byte by byte: what answers become, and what happens to bad ones."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field
from tests.gateway.path.wire import Wire, one_by_one

from sllm_actors.gateway.headers import Headers
from sllm_actors.gateway.path.engines.answer_head import AnswerHead
from sllm_actors.gateway.path.engines.broke import EngineBroke
from sllm_actors.gateway.path.engines.connection import JOINED, LARGEST_HEAD, EngineConnection
from sllm_actors.gateway.path.engines.target import Target

SIZED = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-Trailer: no\r\n\r\n"
)
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\nhello"
CODED = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + SIZED
EMPTY = b"HTTP/1.1 204 No Content\r\nContent-Type: a/b\r\n\r\n"


@define
class Caller:
    """Writes down what it hears of an answer; it may hang up once its head, or a byte of it, has come."""

    connection: EngineConnection
    hangs_up_at: str = ""
    status: int = 0
    headers: Headers = field(factory=list)
    data: bytes = b""
    came: bool = False
    ended: bool = False
    broke: EngineBroke | None = None

    def answer_came(self, head: AnswerHead, body: bytes) -> None:
        self.came = True
        self.answer_began(head.status, head.headers(len(body)))
        self.data = body
        self.answer_ended()

    def answer_began(self, status: int, headers: Headers) -> None:
        assert not self.status
        self.status, self.headers = status, headers
        self._hang_up("head")

    def answer_continued(self, data: bytes) -> None:
        assert self.status
        assert data
        assert not self.is_over
        self.data += data
        self._hang_up("body")

    def flowed(self, chunk: bytes) -> None:
        self.answer_continued(chunk.partition(b"\r\n")[2][:-2])

    def answer_ended(self) -> None:
        assert not self.is_over
        self.ended = True

    def answer_broken(self, broke: EngineBroke) -> None:
        assert not self.is_over
        self.broke = broke

    @property
    def is_over(self) -> bool:
        return self.ended or self.broke is not None

    def _hang_up(self, at: str) -> None:
        if self.hangs_up_at == at:
            self.connection.abort()


@define
class Line:
    """A connection to an engine, and where it has come to."""

    idle: list[EngineConnection] = field(factory=list)
    closed: list[EngineConnection] = field(factory=list)
    wire: Wire = field(factory=Wire)
    connection: EngineConnection = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.connection = EngineConnection(
            Target(), idle=self.idle.append, closed=self.closed.append, made_at=1.0
        )

    def ask(self, *, hangs_up_at: str = "", **more: Any) -> Caller:
        if not self.connection.is_open:
            self.connection.connection_made(self.wire)
        caller = Caller(self.connection, hangs_up_at)
        self.connection.send(caller, more.get("head", b"head"), more.get("body", b"body"))
        return caller

    def feed(self, *pieces: bytes) -> None:
        for piece in pieces:
            if not self.wire.is_closing():
                self.connection.data_received(piece)

    def close(self, error: Exception | None = None) -> None:
        self.connection.connection_lost(error)


def every_split(data: bytes) -> list[list[bytes]]:
    return [[data[:at], data[at:]] for at in range(1, len(data))] + [[data], one_by_one(data)]


@pytest.mark.parametrize(
    ("answer", "kept"),
    [(SIZED, True), (CHUNKED, True), (INTERIM, True), (EMPTY, True), (UNTIL_CLOSED, False), (CODED, False)],
    ids=["sized", "chunked", "interim", "empty", "until closed", "connection: close"],
)
def test_an_answer_is_the_same_however_its_bytes_come(answer: bytes, kept: bool) -> None:
    for pieces in every_split(answer):
        line = Line()
        caller = line.ask()
        line.feed(*pieces)
        if answer is UNTIL_CLOSED:
            assert not caller.is_over
            line.close()
        status, body = (204, b"") if answer is EMPTY else (200, b"hello")
        assert (caller.status, caller.data, caller.ended) == (status, body, True), pieces
        if pieces == [answer]:
            assert caller.came is (answer is not UNTIL_CLOSED)
        assert caller.headers[0] == (b"content-type", b"a/b")
        assert (line.idle == [line.connection]) is kept
        assert line.wire.aborted is (not kept and answer is not UNTIL_CLOSED)


@pytest.mark.parametrize(
    "answer",
    [
        SIZED,
        SIZED.replace(b": 5\r\n\r\nhello", b": 11\r\n\r\nhello again"),
        SIZED.replace(b"a/b", b"b/a"),
        SIZED.replace(b"200 OK", b"500 no"),
        CODED,
        INTERIM,
        CHUNKED,
        UNTIL_CLOSED,
    ],
)
def test_an_answer_is_the_same_whatever_came_before_it(answer: bytes) -> None:
    for pieces in every_split(answer):
        fresh, line = Line(), Line()
        line.ask()
        line.feed(SIZED)
        callers = fresh.ask(), line.ask()
        fresh.feed(*pieces)
        line.feed(*pieces)
        for name in ("status", "headers", "data", "came", "ended", "broke"):
            assert getattr(callers[0], name) == getattr(callers[1], name), pieces
        assert (len(line.idle), line.wire.aborted) == (len(fresh.idle) + 1, fresh.wire.aborted)


@pytest.mark.parametrize("extra", [b"x", SIZED, b"HTTP/1.1 200 OK\r\n"])
def test_a_repeated_answer_after_which_more_comes_is_the_last_one(extra: bytes) -> None:
    line = Line()
    line.ask()
    line.feed(SIZED)
    caller = line.ask()
    line.feed(SIZED + extra)
    assert (caller.data, caller.ended, line.wire.aborted) == (b"hello", True, True)


BEGIN = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n"


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ([b"3\r\nllo\r\n", b"0\r\n\r\n"], b"hello"),
        ([b"3\r\nllo\r\n" * 2 + b"0\r\n\r\n"], b"hellollo"),
        ([b"3\r\nllo", b"\r\n", b"3\r\nllo\r\n", b"0\r\n\r\n"], b"hellollo"),
        ([b"8\r\n3\r\n", b"1\r\nl\r\n", b"\r\n0\r\n\r\n"], None),
        ([b"9\r\n3\r\n", b"1\r\nl\r\n", b"\r\n0\r\n\r\n"], b"he3\r\n1\r\nl\r\n"),
        ([b"a\r\n0123456789\r\n", b"0A\r\n0123456789\r\n", b"0\r\n\r\n"], b"he" + b"0123456789" * 2),
        ([b"3;x\r\nllo\r\n", b"0\r\n\r\n"], b"hello"),
        ([b"+3\r\nllo\r\n"], None),
        ([b" 3\r\nllo\r\n"], None),
        ([b"3\r\nllo!\r\n"], None),
        ([b"4\r\nllo\r\n", b"0\r\n\r\n"], None),
    ],
)
@pytest.mark.parametrize("flows", [True, False])
def test_chunks_are_the_same_alone_and_in_any_pieces(
    pieces: list[bytes], body: bytes | None, flows: bool
) -> None:
    for cut in (pieces, one_by_one(b"".join(pieces))):
        line = Line()
        caller = line.ask()
        line.feed(BEGIN)
        if flows:
            line.connection.let_flow(caller.flowed)
        line.feed(*cut)
        assert caller.ended is (body is not None)
        assert body is None or caller.data == body
        assert (caller.broke is None) is (body is not None)


def test_a_kept_connection_carries_one_answer_after_another() -> None:
    line = Line()
    for number, answer in enumerate([SIZED, INTERIM, EMPTY, CHUNKED, SIZED], 1):
        caller = line.ask()
        line.feed(*one_by_one(answer))
        assert caller.ended
        assert line.connection.used == len(line.idle) == number


@pytest.mark.parametrize("answer", [SIZED, CHUNKED, UNTIL_CLOSED])
def test_an_answer_that_stops_anywhere_is_broken(answer: bytes) -> None:
    for at in range(len(answer)):
        for error in (None, ConnectionResetError("reset")):
            line = Line()
            caller = line.ask()
            line.feed(*([answer[:at]] if at else []))
            line.close(error)
            whole = answer is UNTIL_CLOSED and error is None and b"\r\n\r\n" in answer[:at]
            assert caller.ended is whole
            assert (caller.broke is None) is whole
            assert line.closed == [line.connection]
            assert line.idle == []


def test_the_first_request_of_a_connection_that_closes_says_why() -> None:
    for error, said in (
        (None, "without an answer"),
        (ConnectionResetError("reset by peer"), "reset by peer"),
    ):
        line = Line()
        caller = line.ask()
        line.close(error)
        assert caller.broke is not None
        assert said in str(caller.broke)
        assert (caller.broke.stale, caller.broke.unreached) == (False, False)


def test_a_kept_connection_that_closes_without_a_byte_was_only_kept_too_long() -> None:
    for byte in (b"", b"H"):
        line = Line()
        line.ask()
        line.feed(SIZED)
        caller = line.ask()
        line.feed(*([byte] if byte else []))
        line.close()
        assert caller.broke is not None
        assert caller.broke.stale is not bool(byte)


@pytest.mark.parametrize(
    "extra",
    [b"x", b"HTTP/1.1 200 OK\r\n", SIZED, SIZED[:-2], CHUNKED],
    ids=["x", "line", "all", "part", "more"],
)
@pytest.mark.parametrize("answer", [SIZED, CHUNKED, EMPTY])
def test_a_connection_on_which_more_comes_than_the_answer_is_not_used_again(
    answer: bytes, extra: bytes
) -> None:
    line = Line()
    caller = line.ask()
    line.feed(answer + extra)
    assert (caller.ended, caller.data) == (True, b"" if answer is EMPTY else b"hello")
    assert line.idle == []
    assert line.wire.aborted
    line = Line()
    line.ask()
    line.feed(answer, extra)
    assert line.wire.aborted


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfive\r\nhello\r\n",
    ],
)
def test_what_is_not_http_breaks_the_answer(data: bytes) -> None:
    for pieces in ([data], one_by_one(data)):
        line = Line()
        caller = line.ask()
        line.feed(*pieces)
        assert caller.broke is not None
        assert "not HTTP" in str(caller.broke)
        assert line.wire.aborted


@pytest.mark.parametrize("line_", [b"x-more: " + b"x" * 1000 + b"\r\n", b"x" * 1000], ids=["many", "one"])
def test_endless_headers_break_the_answer(line_: bytes) -> None:
    line = Line()
    caller = line.ask()
    line.feed(b"HTTP/1.1 200 OK\r\nx: y", *[line_] * 200)
    assert caller.broke is not None
    assert f"over {LARGEST_HEAD} bytes" in str(caller.broke)


@pytest.mark.parametrize("at", ["head", "body"])
@pytest.mark.parametrize("answer", [SIZED, CHUNKED, UNTIL_CLOSED])
def test_whoever_hangs_up_hears_no_more(at: str, answer: bytes) -> None:
    for pieces in every_split(answer):
        line = Line()
        caller = line.ask(hangs_up_at=at)
        line.feed(*pieces)
        line.close()
        if caller.came:
            continue  # there was no time to hang up
        assert not caller.is_over
        assert line.idle == []
        assert line.wire.aborted


def test_reading_stops_and_goes_on_as_told_and_a_kept_connection_reads() -> None:
    line = Line()
    line.connection.pause()  # before there is anything to pause
    line.ask()
    line.connection.pause()
    line.connection.pause()
    assert line.wire.is_paused()
    line.connection.resume()
    assert not line.wire.is_paused()
    line.connection.pause()
    line.feed(SIZED)  # had come before
    assert line.idle
    assert not line.wire.is_paused()


def test_a_closed_wire_is_neither_paused_nor_resumed() -> None:
    line = Line()
    line.ask()
    line.connection.pause()
    line.wire.closing = True
    line.connection.resume()
    line.connection.pause()
    assert line.wire.is_paused()  # untouched


def test_bytes_that_nobody_asked_for_close_the_connection() -> None:
    line = Line()
    line.ask()
    line.feed(SIZED)
    line.connection.data_received(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert line.wire.aborted
    line.close()
    assert line.closed == [line.connection]


def test_a_request_is_sent_whole_and_the_size_of_its_body_changes_nothing() -> None:
    for size in (0, JOINED - 1, JOINED, 2 * JOINED):
        line = Line()
        line.ask(head=b"head", body=b"x" * size)
        assert line.wire.written == b"head" + b"x" * size


def test_nothing_is_sent_over_a_connection_that_is_not_made() -> None:
    line = Line()
    with pytest.raises(RuntimeError, match="not made"):
        line.connection.send(Caller(line.connection), b"", b"")
    line.connection.abort()  # and there is nothing to abort
    line.connection.pause_writing()
    line.connection.resume_writing()
    line.connection.eof_received()
    assert not line.connection.is_open

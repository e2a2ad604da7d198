"""A request whose head repeats the one before it is served as any other."""

from __future__ import annotations

import re

import pytest
from tests.gateway.path.clients.test_connection import (
    CHUNKED,
    H2C,
    POST,
    Handler,
    drops_the_rest,
    fed,
    turns,
)
from tests.gateway.path.wire import Wire, one_by_one

pytestmark = pytest.mark.anyio


def without_what_differs(wire: Wire) -> bytes:
    return re.sub(rb"\r\n(x-request-id|date): [^\r]+", b"", wire.written)


OTHER_LENGTH = POST.replace(b": 5\r\n\r\nhello", b": 11\r\n\r\nhello again")


@pytest.mark.parametrize("before", [POST, H2C, CHUNKED], ids=["length", "h2c", "chunked"])
@pytest.mark.parametrize(
    "after",
    [
        POST,
        OTHER_LENGTH,
        POST.replace(b"Host: here", b"Host: there"),
        POST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        b"\r\n" + POST,
        H2C,
        CHUNKED,
    ],
    ids=["the same", "longer", "other host", "last", "blank line", "h2c", "chunked"],
)
async def test_a_request_is_the_same_whatever_came_before_it(before: bytes, after: bytes) -> None:
    _, alone, alone_server = fed(after)
    (fresh,) = alone_server.requests
    fresh.answer()
    cuts = [[after[:at], after[at:]] for at in range(1, len(after))]
    more = [] if b"close" in after else [[after + b"GET"]]
    for pieces in (*cuts, one_by_one(after), [after], *more):
        connection, wire, server = fed(before)
        server.requests[0].answer()
        del wire.written[:]
        for piece in pieces:
            connection.data_received(piece)
        _, handler = server.requests
        handler.answer()
        assert (handler.data, handler.heard) == (fresh.data, ["whole"]), pieces
        for name in ("method", "path", "query", "headers", "named", "length", "destination"):
            assert getattr(handler.head, name) == getattr(fresh.head, name), pieces
        assert handler.head.lines_for_engine() == fresh.head.lines_for_engine()
        assert handler.head.id not in (fresh.head.id, server.requests[0].head.id)
        assert without_what_differs(wire) == without_what_differs(alone)
        assert wire.is_closing() is alone.is_closing()


async def test_a_repeated_request_may_be_followed_and_refused_like_any_other() -> None:
    connection, wire, server = fed(POST)
    server.requests[0].answer()
    connection.data_received(OTHER_LENGTH + CHUNKED)
    assert [each.data for each in server.requests] == [b"hello", b"hello again"]
    server.requests[1].answer()
    await turns()
    server.requests[2].answer()
    assert (server.requests[2].data, wire.is_closing()) == (b"hello", False)
    connection.data_received(POST)
    server.requests[3].answer()
    server.on_head = lambda handler: handler.answer()
    connection.data_received(OTHER_LENGTH[:-5])
    assert (wire.ended, wire.is_closing()) == (True, False)
    connection.data_received(OTHER_LENGTH[-5:])
    assert wire.is_closing()


async def test_an_id_that_a_client_repeats_stays_its_own() -> None:
    request = POST.replace(b"Host", b"X-Request-Id: mine\r\nHost")
    connection, _, server = fed(request)
    server.requests[0].answer()
    connection.data_received(request)
    assert [each.head.id for each in server.requests] == ["mine", "mine"]


@pytest.mark.slow
@pytest.mark.allow_blocking  # structlog reads the lines of code that a traceback shows
async def test_a_repeated_request_over_which_our_own_code_stumbles_is_answered_with_500() -> None:
    connection, wire, server = fed(POST)
    server.requests[0].answer()
    del wire.written[:]

    def stumble(_: Handler) -> None:
        raise ZeroDivisionError

    server.on_head = stumble
    connection.data_received(POST)
    assert wire.written.startswith(b"HTTP/1.1 500 ")
    drops_the_rest(connection, wire)

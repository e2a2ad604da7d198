"""Chunks with whole events go straight from one connection to the other, and nothing else changes by that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.path.exchanging import DONE, END, EVENTS, STOP, TEXT, Client, Play

from sllm_actors.gateway.path.clients.http1 import chunk

EVENT = b'data: {"choices": [{"delta": {"content": "%d"}}]}\n\n'
LAST = b"data: [DONE]\n\n"


def flowing(**more: float) -> tuple[Play, Client]:
    """A stream of which more than the head has come."""
    play = Play(**more)
    play.ready(1)
    _, client = play.ask_for(stream=True)
    play.say(EVENTS + TEXT)
    assert client.chunks == 0
    return play, client


def test_a_chunk_that_comes_alone_with_whole_events_flows() -> None:
    play, client = flowing()
    play.say(TEXT, TEXT, chunk(2 * EVENT % (1, 2)), STOP)
    assert client.chunks == 4
    play.say(DONE, END)
    assert client.chunks == 4
    assert client.body.endswith(2 * EVENT % (1, 2) + STOP[4:-2] + LAST)
    assert client.ended
    play.ask_for(stream=True)
    play.say(EVENTS, TEXT)  # on the same connection
    assert client.chunks == 4
    assert len(play.wires) == 1


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes at some places, each between 0 and 999 thousandths of them."""
    at = sorted({len(data) * place // 1000 for place in places} - {0})
    return [data[one:other] for one, other in zip([0, *at], [*at, len(data)], strict=True)]


PLACES = st.lists(st.integers(0, 999), max_size=8)


@given(st.integers(0, 6), PLACES, PLACES, st.booleans())
def test_the_client_gets_the_same_stream_however_the_engine_cuts_it(
    count: int, chunks: list[int], reads: list[int], alone: bool
) -> None:
    stream = b"".join(EVENT % number for number in range(count)) + LAST
    play, client = flowing()
    framed = [chunk(piece) for piece in cut(stream, chunks)]
    play.say(*framed if alone else cut(b"".join(framed), reads), END)
    assert client.body == TEXT[4:-2] + stream
    assert (client.ended, client.was_cut_off) == (True, False)


@given(PLACES, st.sampled_from([b"", END]))
def test_a_stream_that_ends_too_early_gets_its_error_after_a_whole_event(
    places: list[int], end: bytes
) -> None:
    play, client = flowing()
    play.say(*[chunk(piece) for piece in cut(EVENT % 1 + EVENT % 2 + b"data: {", places)], *[end] * bool(end))
    if not end:
        play.break_off()
    assert client.body.startswith(TEXT[4:-2] + EVENT % 1 + EVENT % 2 + b'data: {"error"')
    assert client.ended


def test_an_engine_of_which_something_flows_is_not_silent_and_its_client_needs_no_comment() -> None:
    play, client = flowing(silence=30.0, keep_alive_interval=10.0)
    for _ in range(20):
        play.wait(5)
        play.say(TEXT)
    assert client.chunks == 20
    assert b": keep-alive" not in client.body
    for _ in range(8):
        play.wait(5)
    assert b": keep-alive" in client.body
    assert b"engine_silent" in client.body
    assert client.ended


def test_what_flows_stops_while_the_client_does_not_read_and_ends_with_it() -> None:
    play = Play()
    play.ready(1)
    exchange, client = play.ask_for(stream=True)
    play.say(EVENTS + TEXT, TEXT)
    ((_, _, wire),) = play.wires
    exchange.pause()
    assert wire.is_paused()
    exchange.resume()
    assert not wire.is_paused()
    exchange.client_left()
    assert wire.aborted
    assert client.chunks == 1


@pytest.mark.parametrize("speaks", [True, False])
def test_an_engine_whose_replica_is_lost_goes_on_as_long_as_something_comes_of_it(speaks: bool) -> None:
    play, client = flowing(restart_notice=5.0, keep_alive_interval=2.0)
    play.bench.linked = True
    play.say(TEXT)
    play.replicas()
    for _ in range(12):
        if speaks and not client.ended:
            play.say(TEXT)
        play.wait(2)
    assert client.ended is not speaks

"""What one request goes through, told from all of its sides, without a loop."""

from __future__ import annotations

import json

import pytest
from tests.gateway.path.exchanging import DONE, END, EVENTS, STOP, TEXT, Client, Play, at, whole

from sllm_actors.engines.messages import EngineConfirmed, ReplicaState
from sllm_actors.transport import NodeFull, TunnelRefused

BACKEND = "smol:vllm"


def playing(*numbers: int, **more: object) -> Play:
    play = Play(**more)
    play.ready(*numbers)
    return play


def is_over(play: Play) -> None:
    """Nothing is left of any request."""
    play.lose_closed()
    assert play.inference.under_way == 0
    assert play.inference.budget.held == 0
    assert play.bench.balancer.total == 0
    assert play.under_way() == []


def test_an_answer_is_passed_on_and_the_connection_kept_for_the_next() -> None:
    play = playing(1)
    for _ in range(3):
        _, client = play.ask_for(stream=True)
        play.say(EVENTS, TEXT, STOP, DONE, END)
        assert (client.status, client.ended) == (200, True)
        assert client.body.endswith(b"data: [DONE]\n\n")
        assert len(play.wires) == 1
        is_over(play)


def test_a_client_that_does_not_read_holds_up_an_engine_that_it_is_not_connected_to_yet() -> None:
    play = playing(1)
    exchange, client = play.ask_for(stream=True, ended=False)
    exchange.pause()
    exchange.body_ended()
    ((_, _, wire),) = play.wires
    assert wire.is_paused()
    exchange.resume()
    assert not wire.is_paused()
    exchange.client_left()
    assert client.ended
    is_over(play)


def test_a_client_that_does_not_read_holds_up_a_second_attempt() -> None:
    play = playing(1, 2)
    exchange, client = play.ask_for(stream=True)
    exchange.pause()
    play.break_off()
    ((_, _, wire),) = play.under_way()
    assert wire.is_paused()
    play.wait(700)
    assert client.was_cut_off
    is_over(play)


def test_a_replica_that_is_lost_may_answer_and_is_given_up_when_it_falls_silent() -> None:
    play = playing(1, silence=60.0)
    _, client = play.ask_for(stream=True)
    play.bench.linked = False
    play.replicas()
    play.say(EVENTS + TEXT)
    assert b"hello" in client.body
    for _ in range(20):
        play.wait(5)
    assert client.ended
    assert b"engine_silent" in client.body
    is_over(play)


def test_no_comment_goes_before_an_answer_in_one_piece() -> None:
    for status in (400, 503):
        play = playing(1)
        _, client = play.ask_for(stream=True)
        answer = whole(status, {"error": {"message": "no", "code": "no"}})
        play.say(answer[:-1])
        play.wait(6)
        play.say(answer[-1:])
        if status == 503:
            play.wait(6)
            play.confirm(EngineConfirmed(serving=True))
        assert (client.status, json.loads(client.body)["error"]["code"]) == (status, "no")
        is_over(play)


def test_a_client_that_waits_for_a_stream_gets_comments_and_then_the_error_in_an_event() -> None:
    play = playing(1)
    _, client = play.ask_for(stream=True)
    play.wait(6)
    assert client.body == b": keep-alive\n\n"
    play.say(whole(400, {"error": {"message": "no", "code": "no"}}))
    assert client.status == 200
    assert client.body.startswith(b": keep-alive\n\ndata: {")
    assert client.body.endswith(b"\n\n")
    is_over(play)


def test_a_request_that_kills_engines_over_kept_connections_is_known_as_such() -> None:
    play = playing(1, 2, 3)
    kept = [play.ask_for() for _ in range(20)]
    for _ in kept:
        play.say(EVENTS + STOP + DONE + END)
    assert {replica.number for replica, _, _ in play.wires} == {1, 2, 3}
    _, client = play.ask_for()
    play.refusal = TunnelRefused("its socket is gone")
    play.break_off()  # one that was kept; and no other leads there any more
    first = play.poison._broken.keys()
    assert len(first) == 1, "the engine may have died of it"
    play.break_off()
    play.confirm(EngineConfirmed(died=True))
    play.confirm(EngineConfirmed(died=True))
    assert client.status == 502
    assert json.loads(client.body)["error"]["code"] == "request_breaks_engines"
    is_over(play)


def test_a_request_that_is_found_to_kill_engines_while_it_waits_is_not_tried_again() -> None:
    play = playing(1, 2)
    _, client = play.ask_for()
    play.break_off()
    play.break_off()
    one, two = (asking.replica for asking in play.questions)
    play.confirm(None)
    play.confirm(None)
    assert not client.begun
    play.poison.died(one, play.now())
    play.poison.died(two, play.now())
    play.ready(1, 2, 3)
    assert json.loads(client.body)["error"]["code"] == "request_breaks_engines"
    is_over(play)


@pytest.mark.parametrize(
    "options", [b'{"a": "\xff"}', b'{"a": 1e999999}', b"[1]", b"null", b'{"include_usage": false}']
)
def test_options_of_a_stream_reach_the_engine_as_they_came(options: bytes) -> None:
    play = playing(1)
    play.ask_for(body=b'{"model": "smol", "stream_options": %b, "messages": []}' % options)
    ((_, _, wire),) = play.under_way()
    body = bytes(wire.written).partition(b"\r\n\r\n")[2]
    assert b'"include_usage":true' in body.replace(b" ", b"")
    if b'"a"' in options:
        assert options[:-1] in body


def test_options_of_a_stream_that_cannot_be_read_are_the_clients_mistake() -> None:
    play = playing(1)
    _, client = play.ask_for(body=b'{"model": "smol", "stream_options": {"\xff": 1}, "messages": []}')
    assert client.status == 400
    is_over(play)


@pytest.mark.parametrize("error", [TunnelRefused("no"), NodeFull("full")])
def test_a_stream_that_is_refused_is_replaced_by_another(error: Exception) -> None:
    play = playing(1, 2)
    _, client = play.ask_for()
    (first, _, _), *_ = play.under_way()
    play.break_off(error)
    (second, _, _), *_ = play.under_way()
    assert first != second
    play.say(EVENTS + STOP + DONE + END)
    assert client.status == 200
    is_over(play)


def test_a_refused_request_is_answered_when_its_short_body_has_come_or_does_not_come() -> None:
    for comes in (True, False):
        play = playing(1)
        play.inference.stopping = True
        exchange, client = play.ask_for(ended=comes)
        assert client.begun is comes
        play.wait(6)
        assert (client.status, client.ended) == (503, True)
        exchange.body_ended()
        is_over(play)


def test_a_body_that_stops_coming_is_not_waited_for() -> None:
    play = playing(1)
    _, client = play.ask_for(ended=False)
    play.wait(29)
    assert not client.begun
    for _ in range(3):
        play.wait(5)
    assert client.status == 408
    is_over(play)


def test_a_lost_replica_is_replaced_while_its_answer_may_still_come() -> None:
    play = playing(1, 2)
    _, client = play.ask_for()
    (first, _, old), *_ = play.under_way()
    other = at(3 - first.number)
    play.bench.linked = False
    play.replicas(other)
    assert old.is_closing(), "another has taken it"
    play.say(EVENTS + STOP + DONE + END)
    assert client.status == 200
    is_over(play)


def test_a_deployment_that_goes_takes_the_requests_that_wait_with_it() -> None:
    play = Play()
    play.replicas(at(1, state=ReplicaState.STARTING))
    _, client = play.ask_for()
    assert not client.begun
    play.bench.gone()
    assert client.status == 404
    is_over(play)


@pytest.mark.parametrize(("more", "ends"), [({"hold_timeout": 12.0}, 21.0), ({"queue_timeout": 0.0}, 11.0)])
def test_a_request_whose_time_to_wait_is_over_when_its_engine_breaks_waits_once(
    more: dict[str, float], ends: float
) -> None:
    play = Play()
    play.ready(1, **more)
    _, client = play.ask_for()
    play.wait(11)
    play.break_off()
    while not client.ended:
        assert play.now() <= ends + 1
        assert play.bench.balancer._numbers <= 3
        play.wait(0.5)
    assert play.now() >= ends
    assert client.status in (502, 503)
    is_over(play)


def hold_told(client: Client) -> list[bytes]:
    return [value for name, value in client.headers if name == b"server-timing"]


def test_an_answer_tells_how_long_its_request_waited_for_a_replica_in_all() -> None:
    play = Play()
    play.replicas(at(1, state=ReplicaState.STARTING))
    _, client = play.ask_for()
    play.wait(1.5)
    play.ready(1)
    play.break_off(ConnectionResetError())
    play.wait(0.25)
    play.ready(1, 2)
    play.say(whole())
    assert client.status == 200
    assert hold_told(client) == [b"hold;dur=1750.0"]
    is_over(play)


def test_an_answer_to_a_request_that_did_not_wait_tells_of_no_hold() -> None:
    play = Play()
    play.ready(1)
    _, client = play.ask_for()
    play.say(whole())
    assert hold_told(client) == []
    is_over(play)


def test_a_stream_that_began_while_its_request_waited_tells_of_the_hold_in_a_comment() -> None:
    play = Play(keep_alive_interval=1.0)
    play.replicas(at(1, state=ReplicaState.STARTING))
    _, client = play.ask_for(stream=True)
    play.wait(2)
    assert client.begun
    play.ready(1)
    play.say(EVENTS + TEXT + STOP + DONE + END)
    assert b"\n\n: hold;dur=2000.0\n\ndata: " in client.body
    assert hold_told(client) == []
    is_over(play)

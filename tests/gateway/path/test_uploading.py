"""What becomes of an upload whose client or engine stalls, leaves or breaks, without sockets or time."""

from __future__ import annotations

import pytest
from tests.gateway.path.exchanging import Client, Play, whole

from sllm_actors.gateway.path.clients.request_head import RequestHead
from sllm_actors.gateway.path.clients.upload import KEPT
from sllm_actors.gateway.path.exchange import Exchange
from sllm_actors.transport import TunnelRefused

BEGIN = (
    b'--XB\r\nContent-Disposition: form-data; name="model"\r\n\r\nsmol\r\n'
    b'--XB\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
)
PIECE = bytes(KEPT // 4)
END = b"\r\n--XB--\r\n"


def upload(play: Play, *, length: int | None = None, begin: bytes = BEGIN) -> tuple[Exchange, Client]:
    """Begin an upload whose file follows."""
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"multipart/form-data; boundary=XB")]
    if length is None:
        headers.append((b"transfer-encoding", b"chunked"))
    else:
        headers.append((b"content-length", b"%d" % length))
    client = Client()
    exchange = play.inference.begin(RequestHead("POST", b"/v1/audio/transcriptions", b"", headers), client)
    exchange.body(begin)
    return exchange, client


def send(exchange: Exchange, count: int) -> None:
    for _ in range(count):
        exchange.body(PIECE)


def is_read(client: Client) -> bool:
    return client.read


def over(play: Play) -> None:
    """Nothing is left of any request."""
    play.lose_closed()
    assert play.inference.budget.held == 0
    assert play.inference.under_way == play.bench.balancer.total == 0


def test_an_engine_that_stalls_stops_its_client_and_ends_the_request_in_time() -> None:
    play = Play(silence=100.0)
    play.ready(1)
    exchange, client = upload(play)
    _, connection, wire = play.under_way()[0]
    send(exchange, 5)
    assert (client.read, play.inference.budget.held) == (True, 0)
    connection.pause_writing()
    send(exchange, 1)
    assert not is_read(client)
    sent = len(wire.written)
    connection.resume_writing()
    assert (client.read, len(wire.written) - sent > len(PIECE)) == (True, True)
    connection.pause_writing()
    send(exchange, 1)
    play.wait(99)
    assert not client.ended
    play.wait(6)
    assert (client.status, wire.aborted, client.read) == (504, True, True)
    over(play)


def test_a_client_that_stalls_is_told_so_and_its_engine_is_let_go() -> None:
    play = Play(body_silence=30.0)
    play.ready(1)
    exchange, client = upload(play)
    send(exchange, 1)
    play.wait(29)
    assert not client.ended
    play.wait(6)
    assert (client.status, play.wires[0][2].aborted) == (408, True)
    over(play)


def test_an_upload_that_waits_for_a_replica_may_take_as_long_as_the_wait_does() -> None:
    play = Play(body_silence=30.0, body_timeout=60.0)
    play.replicas(hold_timeout=1000.0)
    exchange, client = upload(play)
    send(exchange, 4)
    assert not is_read(client)
    for _ in range(10):
        play.wait(50)
    assert not client.ended
    assert client.looks == 10, "it may leave meanwhile"
    play.ready(1)
    assert is_read(client)
    exchange.body(END)
    exchange.body_ended()
    play.say(whole())
    assert client.status == 200
    over(play)


@pytest.mark.parametrize("pieces", [3, 5])
def test_an_engine_that_breaks_is_replaced_as_long_as_all_that_it_got_is_kept(pieces: int) -> None:
    play = Play()
    play.ready(1, 2)
    exchange, client = upload(play, length=len(BEGIN) + 6 * len(PIECE) + len(END))
    send(exchange, pieces)
    first = play.under_way()[0]
    play.break_off(ConnectionResetError("gone"))
    if pieces == 3:
        second = play.under_way()[0]
        assert second[0] != first[0]
        send(exchange, 3)
        exchange.body(END)
        exchange.body_ended()
        body = bytes(second[2].written).partition(b"\r\n\r\n")[2]
        assert body == BEGIN + 6 * PIECE + END
        play.say(whole())
        assert client.status == 200
    else:
        assert client.status == 502
        assert b"it had got a part of this upload already" in client.body
        send(exchange, 1)  # what still comes concerns nobody
    over(play)


def test_an_upload_that_no_worker_has_taken_yet_is_sent_to_another() -> None:
    play = Play()
    play.ready(1, 2)
    exchange, client = upload(play)
    send(exchange, 1)
    play.break_off(TunnelRefused("not now"))
    exchange.body(END)
    exchange.body_ended()
    play.say(whole())
    assert client.status == 200
    over(play)


@pytest.mark.parametrize("status", [413, 200])
def test_a_connection_over_which_an_answer_came_too_early_is_not_used_again(status: int) -> None:
    play = Play()
    play.ready(1)
    exchange, client = upload(play)
    send(exchange, 8)
    _, _, wire = play.under_way()[0]
    play.say(whole(status))
    assert (client.status, wire.aborted) == (status, True)
    send(exchange, 1)
    exchange.body_ended()
    over(play)


def test_an_engine_that_has_begun_to_refuse_gets_no_more() -> None:
    play = Play()
    play.ready(1)
    exchange, client = upload(play)
    send(exchange, 8)
    _, _, wire = play.under_way()[0]
    answer = whole(413)
    play.say(answer[:-5])
    sent = len(wire.written)
    send(exchange, 1)
    assert (len(wire.written), client.read) == (sent, False)
    play.say(answer[-5:])
    assert (client.status, client.read) == (413, True)
    over(play)


def test_a_form_that_does_not_name_its_model_soon_enough_is_told_where_to_put_that() -> None:
    play = Play(body_limit=2 * len(PIECE))
    play.ready(1)
    exchange, client = upload(play, begin=BEGIN[BEGIN.index(b"--XB", 1) :])
    send(exchange, 2)
    assert client.status == 413
    assert b"put that before the files" in client.body
    over(play)


def test_bytes_of_forms_are_bounded_all_together() -> None:
    play = Play(held_bytes=2 * len(PIECE))
    play.ready(1)
    for begin in (BEGIN, BEGIN[BEGIN.index(b"--XB", 1) :]):
        exchange, client = upload(play, begin=begin)
        send(exchange, 2)
        assert (client.status, b"overloaded" in client.body) == (503, True)
    over(play)


def test_an_upload_takes_no_kept_connection() -> None:
    play = Play()
    play.ready(1)
    play.ask_for()
    play.say(whole())
    assert len(play.wires) == 1
    upload(play)
    assert len(play.wires) == 2


def test_a_client_that_leaves_lets_its_engine_go() -> None:
    play = Play()
    play.ready(1)
    exchange, _ = upload(play)
    send(exchange, 1)
    exchange.client_left()
    assert play.wires[0][2].aborted
    over(play)


def test_an_upload_that_cannot_be_read_ends_the_request_to_the_engine() -> None:
    play = Play()
    play.ready(1)
    exchange, client = upload(play)
    exchange.body(b"\r\n--XB--\r\n"[:-4])
    exchange.body_ended()
    assert (client.status, play.wires[0][2].aborted) == (400, True)
    over(play)

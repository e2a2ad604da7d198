"""The bytes of an upload wait, are kept and are forgotten as its specification says."""

from __future__ import annotations

from attrs import define, field

from sllm_actors.gateway.bodies.form import FormReader
from sllm_actors.gateway.path.clients.budget import ByteBudget
from sllm_actors.gateway.path.clients.upload import KEPT, Upload

KIND = b"multipart/form-data; boundary=XB"
PIECE = bytes(KEPT // 4)


@define
class Client:
    read: bool = True

    def pause_reading(self) -> None:
        assert self.read
        self.read = False

    def resume_reading(self) -> None:
        assert not self.read
        self.read = True


@define
class Engine:
    """Takes as many pieces as it has room for."""

    upload: Upload
    room: int = 0
    taken: list[bytes] = field(factory=list)
    ended: bool = False

    def more(self) -> None:
        while self.room:
            piece = self.upload.take()
            if piece is None:
                self.ended = self.upload.ended
                break
            self.room -= 1
            self.taken.append(piece)
        self.upload.regulate()


def is_read(client: Client) -> bool:
    return client.read


def begun(*, limit: int = 100 * KEPT, budget: int = 100 * KEPT) -> tuple[Upload, Client, ByteBudget]:
    client, bytes_held = Client(), ByteBudget(budget)
    assert bytes_held.take(len(PIECE))
    upload = Upload(FormReader(KIND), KIND, None, client, limit=limit, budget=bytes_held)
    upload.begin([PIECE], 0.0)
    return upload, client, bytes_held


def send(upload: Upload, count: int) -> None:
    for _ in range(count):
        assert upload.add(PIECE, 0.0) is None


def test_a_client_is_read_until_more_waits_than_is_kept_and_again_when_that_is_taken() -> None:
    upload, client, budget = begun()
    send(upload, 3)
    assert is_read(client)
    send(upload, 1)
    assert not is_read(client)
    engine = Engine(upload, room=4)
    upload.pour_into(engine)
    engine.more()
    assert (client.read, upload.repeatable, budget.held) == (False, True, 5 * len(PIECE))
    engine.room = 1
    engine.more()
    assert (client.read, upload.repeatable, budget.held) == (True, False, 0)
    send(upload, 1)
    assert not is_read(client)
    engine.room = 9
    engine.more()
    assert is_read(client)
    send(upload, 5)
    upload.end()
    assert (len(engine.taken), engine.ended, budget.held, client.read) == (11, True, 0, True)


def test_another_engine_gets_it_from_the_beginning_as_long_as_that_is_kept() -> None:
    upload, client, _ = begun()
    first, second = Engine(upload, room=9), Engine(upload, room=9)
    upload.pour_into(first)
    first.more()
    send(upload, 3)
    upload.leave(first)
    send(upload, 1)
    assert (len(first.taken), upload.repeatable, client.read) == (4, True, False)
    upload.pour_into(second)
    upload.leave(first)  # that has left already
    second.more()
    assert (len(second.taken), upload.repeatable, client.read) == (5, False, True)


def test_it_has_a_bound_and_all_uploads_have_one_together() -> None:
    upload, _, _ = begun(limit=2 * len(PIECE))
    send(upload, 1)
    error = upload.add(b"x", 0.0)
    assert error is not None
    assert error.code == "body_too_large"
    upload, _, budget = begun(budget=2 * len(PIECE))
    send(upload, 1)
    error = upload.add(b"x", 0.0)
    assert error is not None
    assert error.code == "overloaded"
    upload.release()
    assert budget.held == 0


def test_a_client_that_was_not_read_is_read_when_the_request_is_over() -> None:
    upload, client, budget = begun()
    send(upload, 4)
    assert not is_read(client)
    upload.release()
    assert (client.read, budget.held) == (True, 0)


def is_too_slow(upload: Upload, now: float) -> bool:
    return upload.is_too_slow(now, silence=30.0, timeout=300.0, rate=KEPT)


def test_a_client_is_too_slow_after_a_silence_or_at_a_low_rate_but_not_while_it_is_not_read() -> None:
    upload, _, _ = begun()
    assert not is_too_slow(upload, 29.0)
    assert is_too_slow(upload, 30.0)
    send(upload, 4)  # which is more than is kept: not read any more
    assert not is_too_slow(upload, 10_000.0)
    engine = Engine(upload, room=99)
    upload.pour_into(engine)
    engine.more()
    for now in range(10_000, 10_570, 10):  # 30 s were spent before; a further MiB allows for 300 s more
        assert upload.add(b"x", now) is None
        assert not is_too_slow(upload, now)
    assert is_too_slow(upload, 10_570.0)


def test_a_client_that_has_sent_all_is_not_too_slow() -> None:
    upload, _, _ = begun()
    upload.end()
    assert not is_too_slow(upload, 10_000.0)

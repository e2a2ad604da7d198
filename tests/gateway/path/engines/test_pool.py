"""Idle connections are kept by engine, for a time, and nothing is kept of those that are lost."""

from __future__ import annotations

from typing import Any

from tests.gateway.path.engines.test_connection import SIZED, Caller
from tests.gateway.path.wire import Wire

from sllm_actors.gateway.path.engines.connection import EngineConnection
from sllm_actors.gateway.path.engines.pool import IDLE_SECONDS, EnginePool
from sllm_actors.gateway.path.engines.target import Target

ONE, TWO = ("worker-1", "unix:/one"), ("worker-1", "unix:/two")


class Pool:
    def __init__(self) -> None:
        self.now = 0.0
        self.pool = EnginePool(lambda: self.now)

    def served(self, key: Any = ONE) -> tuple[EngineConnection, Wire]:
        """Return a connection over which a request was answered."""
        connection, wire = self.pool.new(key, Target()), Wire()
        connection.connection_made(wire)
        self.serve(connection)
        return connection, wire

    def serve(self, connection: EngineConnection) -> None:
        connection.send(Caller(connection), b"", b"")
        connection.data_received(SIZED)

    def is_empty(self) -> bool:
        return not self.pool._idle and not len(self.pool._rounds)


def test_the_connection_that_was_used_last_is_taken_first_and_only_for_its_engine() -> None:
    pool = Pool()
    (first, _), (last, _), (other, _) = pool.served(), pool.served(), pool.served(TWO)
    assert pool.pool.take(ONE) is last
    assert pool.pool.take(ONE) is first
    assert pool.pool.take(ONE) is None
    assert pool.pool.take(TWO) is other
    assert pool.pool.take(("worker-2", "unix:/one")) is None


def test_one_that_is_closing_is_passed_over() -> None:
    pool = Pool()
    (good, _), (_, wire) = pool.served(), pool.served()
    wire.closing = True
    assert pool.pool.take(ONE) is good


def test_one_that_is_idle_for_too_long_is_closed_and_one_that_is_busy_is_not() -> None:
    pool = Pool()
    (idle, wire), (busy, other) = pool.served(), pool.served()
    assert pool.pool.take(ONE) is busy
    pool.now = IDLE_SECONDS - 0.1
    pool.pool.close_idle(pool.now)
    assert not wire.is_closing()
    pool.now = IDLE_SECONDS + 1
    pool.pool.close_idle(pool.now)
    assert (wire.aborted, other.aborted) == (True, False)
    idle.connection_lost(None)
    pool.serve(busy)
    assert pool.pool.take(ONE) is busy
    busy.connection_lost(None)
    assert pool.is_empty()


def test_closing_the_pool_closes_what_is_idle() -> None:
    pool = Pool()
    made = [pool.served(), pool.served(TWO)]
    pool.pool.close()
    for connection, wire in made:
        assert wire.aborted
        connection.connection_lost(None)
    assert pool.is_empty()


def test_nothing_is_kept_of_a_connection_that_was_never_made_or_never_used() -> None:
    pool = Pool()
    pool.pool.new(ONE, Target())
    unused = pool.pool.new(ONE, Target())
    unused.connection_made(Wire())
    unused.connection_lost(None)
    assert pool.is_empty()
    served, _ = pool.served()
    lost = pool.pool.new(ONE, Target())
    lost.connection_made(Wire())
    lost.connection_lost(None)  # while another of that engine is idle
    assert pool.pool.take(ONE) is served

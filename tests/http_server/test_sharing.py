"""Real processes share one listening socket: evenly, and without losing what waits when one of them goes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import define

from sllm_actors.http_server import make_seats, turns

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(60)]

CHILD = Path(__file__).parent / "sharing.py"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@define
class Sharers:
    """Processes that share a listening socket."""

    address: tuple[str, int]
    processes: list[subprocess.Popen[bytes]]

    def ask(self, count: int, stack: ExitStack) -> list[socket.socket]:
        """Open connections and send a request on each, without waiting for anyone to accept them."""
        return [self._open(stack) for _ in range(count)]

    def _open(self, stack: ExitStack) -> socket.socket:
        client = stack.enter_context(socket.create_connection(self.address, timeout=60))
        client.sendall(REQUEST)
        return client

    def signal(self, number: signal.Signals, *processes: int) -> None:
        for process in processes:
            self.processes[process].send_signal(number)
            if number is signal.SIGSTOP:
                os.waitpid(self.processes[process].pid, os.WUNTRACED)


@pytest.fixture
def two(request: pytest.FixtureRequest) -> Iterator[Sharers]:
    # Other tests may keep a process from running for a while: one that is not frozen is waited for.
    patience = getattr(request, "param", 20)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
        seats = make_seats(2)
        stack.callback(os.close, seats)
        sharers = Sharers(listener.getsockname(), [])
        for seat in range(2):
            process = subprocess.Popen(
                [sys.executable, str(CHILD), *map(str, (listener.fileno(), seats, seat, patience))],
                pass_fds=(listener.fileno(), seats),
                stdout=subprocess.PIPE,
            )
            sharers.processes.append(process)
            stack.callback(end, process)
        for process in sharers.processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        yield sharers


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def answerers(clients: list[socket.socket]) -> Counter[int]:
    """Return how many of these were answered by which process; each must be."""
    found: Counter[int] = Counter()
    for client in clients:
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < 10:
            piece = client.recv(65_536)
            assert piece, answer
            answer += piece
        found[int(answer.partition(b"\r\n\r\n")[2])] += 1
    return found


@pytest.mark.slow
@pytest.mark.parametrize("count", [16, 64, 400])
def test_a_burst_is_shared(two: Sharers, count: int) -> None:
    with ExitStack() as stack:
        shares = answerers(two.ask(count, stack))
    assert sum(shares.values()) == count
    assert all(0.35 * count <= shares[process.pid] <= 0.65 * count for process in two.processes)


@pytest.mark.slow
def test_connections_that_stay_are_shared_too_when_they_come_one_by_one(two: Sharers) -> None:
    with ExitStack() as stack:
        shares: Counter[int] = Counter()
        for _ in range(60):
            shares += answerers(two.ask(1, stack))
    assert all(0.35 * 60 <= shares[process.pid] <= 0.65 * 60 for process in two.processes)


@pytest.mark.slow
@pytest.mark.parametrize("two", [turns.PATIENCE], indirect=True)
def test_what_waits_in_the_queue_outlives_a_process_that_is_killed(two: Sharers) -> None:
    two.signal(signal.SIGSTOP, 0, 1)
    with ExitStack() as stack:
        clients = two.ask(100, stack)
        two.signal(signal.SIGKILL, 0)
        two.processes[0].wait()
        two.signal(signal.SIGCONT, 1)
        assert answerers(clients) == {two.processes[1].pid: 100}
        assert answerers(two.ask(100, stack)) == {two.processes[1].pid: 100}


@pytest.mark.slow
@pytest.mark.parametrize("two", [turns.PATIENCE], indirect=True)
def test_a_process_that_is_frozen_keeps_no_connection_waiting(two: Sharers) -> None:
    with ExitStack() as stack:
        answerers(two.ask(20, stack))
        two.signal(signal.SIGSTOP, 0)
        assert answerers(two.ask(100, stack)) == {two.processes[1].pid: 100}
        two.signal(signal.SIGCONT, 0)
        while two.processes[0].pid not in answerers(two.ask(1, stack)):  # it has fewer: soon
            pass

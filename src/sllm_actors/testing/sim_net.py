"""A network in memory with the faults of a real one, for simulations: hosts, paths, listeners, connections.

Everything follows from one seeded ``random.Random`` and the event loop's clock, so that on trio's
``MockClock`` (with its scheduler seeded, see ``sim_run``) a run can be repeated exactly. It keeps TCP's
promises and no others: within a connection bytes come in order and once, or the connection breaks.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

import anyio
from anyio.abc import ByteStream
from attrs import define, field

from .sim_agenda import Agenda
from .sim_pipe import Path, Pipe
from .sim_stream import SimStream

BACKLOG = 64
"""Connections that may wait for ``accept`` at one port; requests beyond that get no answer."""

SYN_AGAIN = 0.3
"""Seconds until a connection request that got no answer is sent again."""


class DialOutcome(Enum):
    """What a listening port does with a connection request."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    HANG = "hang"  # nothing comes back
    SILENCE = "silence"  # the kernel accepts, the program never does


@define(eq=False)
class SimListener:
    """A listening port.

    Attributes:
        answer: What it does with the next connection requests.
    """

    host: str
    port: int
    answer: DialOutcome = DialOutcome.ACCEPT
    closed: bool = False
    _backlog: list[SimStream] = field(factory=list)
    _arrived: anyio.Event = field(factory=anyio.Event)
    _close: Callable[[SimListener], None] = field(default=lambda _: None, repr=False)

    async def accept(self) -> SimStream:
        """Return the next connection."""
        while not self._backlog:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        await anyio.lowlevel.checkpoint()
        return self._backlog.pop(0)

    @property
    def full(self) -> bool:
        """Whether no further connection fits."""
        return len(self._backlog) >= BACKLOG

    def admit(self, stream: SimStream) -> None:
        """Take a connection that the kernel has accepted."""
        self._backlog.append(stream)
        self._arrived.set()

    def close(self) -> None:
        """Listen no more; connections that nobody has accepted are closed."""
        self.closed = True
        self._close(self)
        for stream in self._backlog:
            stream.close()
        self._backlog.clear()


class SimNet:
    """The network of one simulation; ``run`` must run while it is used.

    Args:
        rng: Decides everything that is left to chance.
        send_buffer: Bytes that a kernel takes before ``send`` waits.
        receive_buffer: Bytes that a kernel holds for a program that does not read.
        user_timeout: Seconds for which a kernel waits for an acknowledgement (TCP_USER_TIMEOUT).

    Attributes:
        agenda: The events that are to come.
        streams: The ends that are open, in the order of their making.
        user_timeout: As the argument; a change applies to connections that are made from then on.
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        send_buffer: int = 64 * 1024,
        receive_buffer: int = 64 * 1024,
        user_timeout: float = 900.0,
    ) -> None:
        self.agenda = Agenda()
        self.streams: dict[int, SimStream] = {}
        self._rng = rng
        self._send_buffer = send_buffer
        self._receive_buffer = receive_buffer
        self.user_timeout = user_timeout
        self._paths: dict[tuple[str, str], Path] = {}
        self._listeners: dict[tuple[str, int], SimListener] = {}
        self._numbers = 0

    async def run(self) -> None:
        """Let the network work, until cancelled."""
        await self.agenda.run()

    # -- for programs --------------------------------------------------------------------------

    def listen(self, host: str, port: int) -> SimListener:
        """Open a listening port on a host.

        Raises:
            OSError: The port is open already.
        """
        if (host, port) in self._listeners:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        listener = SimListener(host, port, close=self._unlisten)
        self._listeners[host, port] = listener
        return listener

    async def connect(self, source: str, host: str, port: int) -> ByteStream:
        """Connect from one host to a port of another; waits for as long as no answer comes.

        Raises:
            ConnectionRefusedError: Nobody listens there.
        """
        answered = anyio.Event()
        outcome: list[SimStream | None] = []
        gone = False

        def request() -> None:
            if not gone and not outcome:
                self.agenda.after(self._delay(source, host), arrive)
                self.agenda.after(SYN_AGAIN, request)

        def arrive() -> None:
            listener = self._listeners.get((host, port))
            if self.path(source, host).stalled or outcome:
                return
            if listener is not None and (listener.answer is DialOutcome.HANG or listener.full):
                return
            refused = listener is None or listener.answer is DialOutcome.REFUSE
            self.agenda.after(self._delay(host, source), lambda: answer(None if refused else listener))

        def answer(listener: SimListener | None) -> None:
            if self.path(host, source).stalled or gone or outcome:
                return
            if listener is not None and listener.closed:
                listener = None
            outcome.append(None if listener is None else self._open(source, listener))
            answered.set()

        request()
        try:
            await answered.wait()
        except BaseException:
            gone = True
            if outcome and outcome[0] is not None:
                outcome[0].close()
            raise
        if outcome[0] is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        return outcome[0]

    # -- for faults ----------------------------------------------------------------------------

    def path(self, source: str, target: str) -> Path:
        """Return the way from one host to another."""
        if (source, target) not in self._paths:
            self._paths[source, target] = Path()
        return self._paths[source, target]

    def paths_of(self, host: str) -> Iterator[Path]:
        """Yield every way from and to a host that was ever used."""
        for (source, target), path in self._paths.items():
            if host in {source, target} and source != target:
                yield path

    def stall(self, source: str, target: str) -> None:
        """Swallow everything from one host to another, until ``heal``; stalls add up."""
        self.path(source, target).stalled += 1

    def heal(self, source: str, target: str) -> None:
        """Take one ``stall`` back; senders notice a little later."""
        path = self.path(source, target)
        path.stalled -= 1
        for pipe in list(path.pipes):
            wake = pipe.pump if pipe.path is path else pipe.acknowledge
            self.agenda.after(self._rng.random() * 0.05, wake)

    @contextmanager
    def stalled(self, *ways: tuple[str, str]) -> Iterator[None]:
        """Stall these ways for as long as the context lasts."""
        for way in ways:
            self.stall(*way)
        try:
            yield
        finally:
            for way in ways:
                self.heal(*way)

    def listener(self, host: str, port: int) -> SimListener | None:
        """Return the listening port, or None where nobody listens."""
        return self._listeners.get((host, port))

    def between(self, one: str, other: str) -> list[SimStream]:
        """Return the open ends at ``one`` of connections with ``other``, oldest first."""
        return [each for each in self.streams.values() if (each.local[0], each.remote[0]) == (one, other)]

    def cut(self, stream: SimStream, *, both: bool = True) -> None:
        """Reset a connection, at both ends or only at this one (the other finds out when it sends)."""
        if both:
            stream.send_reset()
        stream.reset("reset by a box in the middle")

    def forget(self, stream: SimStream) -> None:
        """Let a box in the middle drop a connection without a word: nothing gets through any more."""
        stream.out.forgotten = stream.incoming.forgotten = True

    def process_died(self, host: str, ports: tuple[int, ...]) -> None:
        """Close all connections of a host, and these listening ports: its process has died."""
        for stream in self._at(host):
            stream.close()
        self._stop_listening(host, ports)

    def power_lost(self, host: str, ports: tuple[int, ...], others: tuple[str, ...]) -> None:
        """Let a host vanish without a word, with these listening ports.

        The ends of its connections at ``others`` stay open until ``power_back``, when they are reset.
        """
        for stream in self._at(host):
            stream.vanish()
        self._stop_listening(host, ports)
        for other in others:
            self.stall(host, other)
            self.stall(other, host)

    def power_back(self, host: str, others: tuple[str, ...]) -> None:
        """Start the host again: it does not know its former connections, and resets what arrives on them."""
        for other in others:
            self.heal(host, other)
            self.heal(other, host)

    # -- inside --------------------------------------------------------------------------------

    def _open(self, source: str, listener: SimListener) -> SimStream:
        self._numbers += 1
        here, there = (source, 30_000 + self._numbers), (listener.host, listener.port)
        near = SimStream(here, there, self._numbers, self._rng, self._closed)
        far = SimStream(there, here, self._numbers, self._rng, self._closed)
        near.out = far.incoming = self._pipe(near, far)
        far.out = near.incoming = self._pipe(far, near)
        for stream in (near, far):
            self.streams[id(stream)] = stream
        if listener.answer is not DialOutcome.SILENCE:
            listener.admit(far)
        else:
            # Nobody will ever close it: it must not count as left behind.
            del self.streams[id(far)]
        return near

    def _pipe(self, sender: SimStream, receiver: SimStream) -> Pipe:
        return Pipe(
            self.agenda,
            self._rng,
            self.path(sender.local[0], sender.remote[0]),
            self.path(sender.remote[0], sender.local[0]),
            self._send_buffer,
            self._receive_buffer,
            self.user_timeout,
            deliver=receiver.deliver,
            refused=sender.reset,
            acked=sender.room,
            unread=lambda: receiver.unread,
        )

    def _delay(self, source: str, target: str) -> float:
        return self.path(source, target).delay(self._rng)

    def _at(self, host: str) -> list[SimStream]:
        return [each for each in self.streams.values() if each.local[0] == host]

    def _stop_listening(self, host: str, ports: tuple[int, ...]) -> None:
        for port in ports:
            listener = self._listeners.get((host, port))
            if listener is not None:
                listener.close()

    def _closed(self, stream: SimStream) -> None:
        self.streams.pop(id(stream), None)

    def _unlisten(self, listener: SimListener) -> None:
        if self._listeners.get((listener.host, listener.port)) is listener:
            del self._listeners[listener.host, listener.port]

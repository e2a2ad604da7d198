"""Sends the load: each request when it is due, whether or not the answers to others have come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from time import monotonic

from attrs import frozen

from .client.answer import AnswerReader
from .client.connection import LoadConnection, UnderWay
from .client.encoding import Encoding
from .client.pool import ConnectionPool
from .client.precise_timer import PreciseTimer
from .client.target import Dialler
from .figures.figures import Figures
from .figures.generator_load import GeneratorLoad
from .figures.result import RequestResult
from .work.request import LoadRequest

AT_ONCE = 64
"""Requests that are sent before the loop gets to read answers again."""

PAUSE_SECONDS = 0.1
"""How long a client of a closed loop waits that got no connection: a server that is away is not asked without
a break."""

SWEEP_SECONDS = 0.25
"""How often the generator looks for requests whose time is over."""


@frozen
class LoadPlan:
    """How requests are sent.

    Attributes:
        clients: In a closed loop, how many clients there are: each sends its next request when it has the
            answer to its last one. None for an open loop: each request is sent when it is due.
        duration: Seconds after which no client sends a further request or turn; None: as long as there are
            requests.
        connections: How many connections there may be.
        timeout: Seconds that an answer may take.
        hang_up_after: Seconds after which a client leaves that does.
        think: Seconds between an answer and the client's next turn in the same chat.
    """

    clients: int | None
    duration: float | None
    connections: int
    timeout: float
    hang_up_after: float
    think: float = 0.0


class Generator:
    """One run.

    Args:
        plan: How requests are sent.
        dialler: Makes connections, and has looked its name up.
        encoding: How requests are written.
        requests: All requests, in the order of their times.
        figures: Is told each result.
        on_result: Is told it, too, if given.
    """

    def __init__(
        self,
        plan: LoadPlan,
        dialler: Dialler,
        encoding: Encoding,
        requests: Iterator[LoadRequest],
        figures: Figures,
        on_result: Callable[[RequestResult], None] | None = None,
    ) -> None:
        self._plan = plan
        self._dialler = dialler
        self._encoding = encoding
        self._requests = requests
        self._figures = figures
        self._on_result = on_result
        self._next: tuple[LoadRequest, bytes] | None = None
        self._under_way: dict[UnderWay, None] = {}
        self._thinking: set[asyncio.TimerHandle] = set()
        self._exhausted = False
        self._ended = asyncio.Event()
        self._pool: ConnectionPool
        self._timer: PreciseTimer
        self._began = 0.0
        self._processor = 0.0

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return monotonic() - self._began

    @property
    def under_way(self) -> int:
        """How many requests have been sent, or should have been, and have no answer yet."""
        return len(self._under_way)

    async def run(self) -> None:
        """Send everything, and return when all requests have ended, or ``stop`` was called."""
        loop = asyncio.get_running_loop()
        self._timer = PreciseTimer(self._send_due)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._pool = ConnectionPool(
                    self._dialler, most=self._plan.connections, tasks=tasks, owner=self, failed=self._unsent
                )
                sweeping = tasks.create_task(self._sweep())
                self._began, self._processor = monotonic(), time.process_time()
                if self._plan.clients is None:
                    self._prepare()
                    self._send_due()
                else:
                    for _ in range(self._plan.clients):
                        loop.call_soon(self._send_next)
                try:
                    await self._ended.wait()
                finally:
                    sweeping.cancel()
                    self._pool.close()
        finally:
            self._timer.close()

    def stop(self) -> None:
        """End the run now: what is under way counts as interrupted."""
        self._exhausted = True
        for timer in self._thinking:
            timer.cancel()
        self._thinking.clear()
        self._ended.set()
        for each in [*self._under_way]:
            self._end(each, interrupted=True)

    def load(self) -> GeneratorLoad:
        """Return what the generator itself has done so far."""
        figures = self._figures
        latencies = figures.ttft if figures.ttft.count else figures.e2e
        return GeneratorLoad(
            lag_p99=figures.lag.percentile(99) if figures.lag.count else 0.0,
            latency_p50=latencies.percentile(50) if latencies.count else 0.0,
            processor_share=(time.process_time() - self._processor) / max(1e-6, self.now),
            seconds=self.now,
            waited=self._pool.waited,
            connections=self._plan.connections,
        )

    def _prepare(self) -> None:
        """Make the next request ready before it is due, so that this takes none of its time."""
        request = next(self._requests, None)
        if request is None:
            self._next, self._exhausted = None, True
            self._end_if_done()
        else:
            self._next = request, self._encoding.encode(request)

    def _send_due(self) -> None:
        for _ in range(AT_ONCE):
            if self._next is None:
                return
            request, data = self._next
            due, now = self._began + request.at, monotonic()
            if due > now:
                self._timer.set(due)
                return
            self._begin(request, data, due, now)
            self._prepare()
        self._timer.set(monotonic())

    def _send_next(self) -> None:
        """Let a client of a closed loop send its next request."""
        if self._is_over:
            self._exhausted = True
        if self._exhausted:
            self._end_if_done()
            return
        self._prepare()
        if self._next is not None:
            now = monotonic()
            self._begin(*self._next, now, now)

    def _begin(self, request: LoadRequest, data: bytes, due: float, now: float) -> None:
        reader = AnswerReader(streamed=self._encoding.streamed)
        under_way = UnderWay(request, data, due=due, begun=now, reader=reader)
        self._under_way[under_way] = None
        if request.hangs_up:
            loop = asyncio.get_running_loop()
            under_way.leaving = loop.call_later(self._plan.hang_up_after, self._leave, under_way)
        self._pool.send(under_way)

    def _leave(self, under_way: UnderWay) -> None:
        self._pool.withdraw(under_way)
        self._end(under_way, hung_up=True)

    def answered(self, connection: LoadConnection, under_way: UnderWay, status: int) -> None:
        """Take a whole answer."""
        reader = under_way.reader
        reader.finish(status)
        self._pool.give_back(connection)
        self._end(under_way, error=reader.error or "", reason=reader.reason, status=status)

    def broken(self, connection: LoadConnection, under_way: UnderWay | None, reason: str) -> None:
        """Take that a connection is lost."""
        self._pool.forget(connection)
        if under_way is not None:
            self._end(under_way, error="connection lost", reason=reason, status=connection.status)

    def _unsent(self, under_way: UnderWay, reason: str) -> None:
        self._end(under_way, error="no connection", reason=reason)

    def _end(
        self,
        under_way: UnderWay,
        *,
        error: str = "",
        reason: str = "",
        status: int = 0,
        hung_up: bool = False,
        interrupted: bool = False,
    ) -> None:
        if under_way not in self._under_way:
            return
        del self._under_way[under_way]
        if under_way.leaving is not None:
            under_way.leaving.cancel()
        began, reader, ended = self._began, under_way.reader, monotonic()
        result = RequestResult(
            model=under_way.request.model,
            due=under_way.due - began,
            begun=under_way.begun - began,
            sent=(ended if under_way.sent is None else under_way.sent) - began,
            first=None if reader.first is None else reader.first - began,
            last=reader.last - began,
            ended=ended - began,
            gaps=reader.gaps,
            input_tokens=reader.input_tokens,
            output_tokens=reader.output_tokens or reader.events,
            status=status,
            hold=reader.hold,
            error=error,
            reason=reason,
            hung_up=hung_up,
            interrupted=interrupted,
        )
        self._figures.record(result)
        if self._on_result is not None:
            self._on_result(result)
        if result.good and under_way.request.further and not self._is_over:
            self._think(under_way.request.next_turn(reader.text))
        elif self._plan.clients is None:
            self._end_if_done()
        elif under_way.sent is None:
            asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._send_next)
        else:
            self._send_next()

    def _think(self, request: LoadRequest) -> None:
        """Send a client's next turn when it has thought."""

        def say() -> None:
            self._thinking.discard(timer)
            now = monotonic()
            self._begin(request, self._encoding.encode(request), now, now)

        timer = asyncio.get_running_loop().call_later(self._plan.think, say)
        self._thinking.add(timer)

    @property
    def _is_over(self) -> bool:
        """Whether the time is over in which requests are sent, or the run was stopped."""
        duration = self._plan.duration
        return self._ended.is_set() or (duration is not None and self.now >= duration)

    def _end_if_done(self) -> None:
        if self._exhausted and not self._under_way and not self._thinking:
            self._ended.set()

    async def _sweep(self) -> None:
        """End the requests whose time is over."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            late = monotonic() - self._plan.timeout
            for each in [*self._under_way]:
                if each.due > late:
                    break
                self._pool.withdraw(each)
                self._end(each, error="timed out", reason=f"no whole answer within {self._plan.timeout:g} s")

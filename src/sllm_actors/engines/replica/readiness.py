"""Asking an engine for its health: until it is ready, and from then on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread
import httpx2
from attrs import frozen

from sllm_actors.descriptors import is_out_of_descriptors
from sllm_actors.engines.backends.work_metrics import WorkMetrics
from sllm_actors.engines.health_policy import HealthPolicy
from sllm_actors.engines.messages import LOOPBACK
from sllm_actors.engines.ownership.port_owner import PortOwner, PortTaken

from .progress import Watch
from .recent_pressure import EMPTY, Pressure, RecentPressure

OUT_OF_DESCRIPTORS = "the worker has no file descriptors left to ask it with"
LONGEST_BODY = 65536
"""The most bytes of a health answer that are read, so that the connection can be used again."""

LONGEST_METRICS = 4 * 1024 * 1024
"""The most bytes of an engine's metrics; more are not read."""

LEAST_SHARE = 0.005
"""The least pause, as a share of the time that the start has taken: engines that write much are not asked at
each line."""

Say = Callable[[str], None]
Pressed = Callable[[Pressure], None]

Stir = Callable[[], Awaitable[None]]
"""Waits until the engine has given cause to ask it again."""


@frozen
class Health:
    """What asking an engine for its health showed.

    Attributes:
        problem: Why it is not ready, in a few words; "" if it is.
        status: The status that it answered with; 0 if it did not answer.
    """

    problem: str = ""
    status: int = 0


class HealthProbe:
    """Asks one engine for its health: an async context manager that holds the connection.

    Args:
        address: ``unix:/path``, ``loopback:PORT`` or a URL.
        paths: Health paths, tried in this order by the first request; the first that exists is used then.
        policy: How often to ask, and how long an answer may take.
        key: The bearer token that the engine asks for; "" for none.
        leash: The process of the engine's leash. An engine on a port is asked only while the port is its own
            (see ``PortOwner``). 0 leaves that check out.
    """

    def __init__(
        self, address: str, paths: tuple[str, ...], policy: HealthPolicy, key: str = "", leash: int = 0
    ) -> None:
        self._address = address
        self._key = key
        port = address.removeprefix(LOOPBACK) if address.startswith(LOOPBACK) else ""
        self._owner = PortOwner(int(port), leash) if port and leash else None
        self._paths = paths
        self._policy = policy
        self._client: httpx2.AsyncClient

    async def __aenter__(self) -> Self:
        self._client = await open_client(self._address, timeout=self._policy.timeout, key=self._key)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._client.aclose()

    @property
    def engine(self) -> httpx2.AsyncClient:
        """The HTTP client of the engine, for paths."""
        return self._client

    async def until_ready(self, say: Say, stir: Stir = anyio.sleep_forever) -> str:
        """Ask until the engine is ready. It may ask for ever: limit it by a cancel scope.

        Args:
            say: Called with what the engine is doing, in a few words, whenever that changes.
            stir: Ends a pause before its time: engines write a line as they become ready.

        Returns:
            "" when it is ready; a sentence that says why it will never be ready, if that is certain.
        """
        pause = self._policy.first
        began = anyio.current_time()
        said = ""
        try:
            while (doing := await self.ask()) != "":
                if doing != said:
                    said = doing
                    say(doing)
                least = max(self._policy.least, (anyio.current_time() - began) * LEAST_SHARE)
                stirred = await self._stirs(stir, least, pause)
                pause = self._policy.first if stirred else min(2 * pause, self._policy.longest)
        except PortTaken as taken:
            return str(taken)
        return ""

    async def _stirs(self, stir: Stir, least: float, most: float) -> bool:
        """Pause between two questions; return whether ``stir`` has ended that."""
        await anyio.sleep(min(least, most))
        with anyio.move_on_after(max(0.0, most - least)) as waiting:
            await stir()
        return not waiting.cancelled_caught

    async def until_unhealthy(self) -> str:
        """Ask until ``HealthPolicy.misses`` requests in a row got no good answer; return why."""
        missed = 0
        try:
            while True:
                await anyio.sleep(self._policy.interval)
                problem = await self.ask()
                if problem != OUT_OF_DESCRIPTORS:  # that says nothing about the engine
                    missed = missed + 1 if problem else 0
                if missed >= self._policy.misses:
                    return f"its health checks failed: {problem}"
        except PortTaken as taken:
            return str(taken)

    async def until_hung(self, metrics: WorkMetrics, pressed: Pressed) -> str:
        """Look at the engine's metrics until it hangs; return that as a sentence.

        It hangs when for ``HealthPolicy.hung`` seconds requests were worked on without any progress. Metrics
        that cannot be read begin that time anew.

        Args:
            metrics: Which ones to look at.
            pressed: Called with how full the engine has been lately, whenever that changes; before the
                first call, it was empty.
        """
        watch, recent, told = Watch(), RecentPressure(), EMPTY
        while True:
            await anyio.sleep(self._policy.work_interval)
            sample = metrics.read(await self._metrics())
            now = anyio.current_time()
            watch = Watch() if sample is None else watch.see(sample, now)
            if sample is not None and (pressure := recent.see(sample, now)) != told:
                told = pressure
                pressed(told)
            standing = watch.standing(now)
            if sample is not None and standing >= self._policy.hung:
                return f"it works on {sample.running:g} requests and got on with none for {standing:.0f} s"

    async def _metrics(self) -> str:
        data = bytearray()
        try:
            with anyio.fail_after(self._policy.timeout):
                async with self._client.stream("GET", "/metrics") as answer:
                    async for piece in answer.aiter_bytes():
                        data += piece
                        if len(data) > LONGEST_METRICS:
                            return ""
        except (TimeoutError, httpx2.HTTPError):
            return ""  # whether the engine answers at all is the health check's business
        return data.decode("utf-8", "replace")

    async def ask(self) -> str:
        """Ask the engine once; return "" if it is ready, else in a few words why it is not.

        Raises:
            PortTaken: Another program listens on the engine's port; no request was sent to it.
        """
        return (await self.check()).problem

    async def check(self) -> Health:
        """Ask the engine once.

        Raises:
            PortTaken: Another program listens on the engine's port; no request was sent to it.
        """
        if self._owner is not None and (problem := await self._look(self._owner)):
            return Health(problem)
        try:
            with anyio.fail_after(self._policy.timeout):
                status = await self._status(self._paths[0])
        except TimeoutError:
            return Health(f"no answer within {self._policy.timeout:g} s")
        except httpx2.HTTPError as error:
            if is_out_of_descriptors(error):
                return Health(OUT_OF_DESCRIPTORS)
            if isinstance(error, httpx2.ConnectError):
                return Health("not listening yet")
            return Health(f"no answer ({type(error).__name__})")
        if status == httpx2.codes.NOT_FOUND and len(self._paths) > 1:
            self._paths = self._paths[1:]
            return await self.check()
        if status == httpx2.codes.SERVICE_UNAVAILABLE:
            return Health("loading the model", status)
        return Health("" if status == httpx2.codes.OK else f"status {status}", status)

    async def _look(self, owner: PortOwner) -> str:
        try:
            return await self._look_once(owner)
        except PortTaken:
            await anyio.sleep(self._policy.longest)
            return await self._look_once(owner)

    async def _look_once(self, owner: PortOwner) -> str:
        try:
            return await anyio.to_thread.run_sync(owner.look)
        except OSError as error:
            if is_out_of_descriptors(error):
                return OUT_OF_DESCRIPTORS
            raise

    async def _status(self, path: str) -> int:
        """Return the status; a body that is read whole lets the connection be used again."""
        async with self._client.stream("GET", path) as answer:
            size = 0
            async for piece in answer.aiter_raw():
                size += len(piece)
                if size > LONGEST_BODY:
                    break
            return answer.status_code


async def open_client(address: str, *, timeout: float, key: str = "") -> httpx2.AsyncClient:
    """Return an HTTP client of one engine, for paths. It reads no proxy settings from the environment.

    Args:
        address: ``unix:/path``, ``loopback:PORT`` or a URL.
        timeout: Seconds that one step of a request may take.
        key: The bearer token to send; "" for none.
    """
    headers = {"authorization": f"Bearer {key}"} if key else {}

    def make() -> httpx2.AsyncClient:
        if address.startswith("unix:"):
            transport = httpx2.AsyncHTTPTransport(uds=address.removeprefix("unix:"), verify=False)
            return httpx2.AsyncClient(
                transport=transport, base_url="http://engine", timeout=timeout, headers=headers
            )
        url = address
        if address.startswith(LOOPBACK):
            url = f"http://127.0.0.1:{address.removeprefix(LOOPBACK)}"
        return httpx2.AsyncClient(base_url=url, timeout=timeout, trust_env=False, headers=headers)

    return await anyio.to_thread.run_sync(make)  # it imports modules and reads certificates

"""The actor that keeps one fork server running: starts it when there is room, teaches it, restarts it."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import structlog
from anyio import to_thread
from attrs import frozen

from sllm_actors.actors import Actor, Backoff
from sllm_actors.engines.messages import ForkServerState
from sllm_actors.engines.ownership.leash_process import ForkFailed
from sllm_actors.files import FileProblem

from .fork_client import ForkServer, ForkServerSpec, Unfit, open_fork_server
from .fork_servers import ForkServers
from .late_imports import Learned, Look, read_imports, read_learned, write_learned

log = structlog.get_logger("sllm_actors.engines")

LOOK = 2.0
"""Seconds between two looks at whether there is room, and at what engines have imported."""

NO_ROOM = "there is no room for another engine"


@frozen
class KeeperOptions:
    """What a ``ForkServerKeeper`` needs of its worker.

    Attributes:
        folder: Holds ``<backend>.json``, the record of late imports, and ``<backend>.log``, the server's
            output.
        has_room: Called with whether the fork server runs; returns whether the worker has room for one more
            engine. It is called in a thread, so it may block.
        look: Seconds between two looks: see ``LOOK``.
    """

    folder: Path
    has_room: Callable[[bool], bool]
    look: float = LOOK


@frozen
class _End:
    """How one life of the server ended: the state to report from then on, and the reason."""

    state: ForkServerState
    reason: str = ""


ANEW = _End(ForkServerState.STARTING)
RESTING = _End(ForkServerState.RESTING, NO_ROOM)


class ForkServerKeeper(Actor):
    """Keeps one fork server running as long as the worker has room for another engine; restarts it otherwise.

    The actor takes no messages, and does not fail when its server does: without a fork server, engines are
    started as programs. Which modules engines import late is recorded even while no fork server runs.

    Args:
        spec: What the server imports.
        servers: Where engine lives find the server.
        options: What the actor needs of the worker.
        backoff: How long to wait before a server that ended, for whatever reason, is started again.
    """

    def __init__(
        self,
        spec: ForkServerSpec,
        servers: ForkServers,
        options: KeeperOptions,
        backoff: Backoff = Backoff(first=1.0, cap=60.0),  # noqa: B008 - frozen
    ) -> None:
        self._spec = spec
        self._backend = spec.backend
        self._servers = servers
        self._options = options
        self._backoff = backoff
        self._record = options.folder / f"{spec.backend}.json"
        self._learned = Learned(spec.engine)

    async def started(self) -> None:
        """Read the record of late imports, then start the tasks that keep the server and that record."""
        self._servers.keep(self._spec)
        try:
            learned = await to_thread.run_sync(read_learned, self._record, self._spec.engine)
        except FileProblem as problem:
            learned = Learned(self._spec.engine)
            log.warning("fork_server.record_unreadable", backend=self._backend, reason=str(problem))
        known = self._spec.known
        self._learned = learned.knowing(known.modules, known.preload, known.count)
        self.context.start_soon(self._keep, name=f"fork server for {self._backend}")
        self.context.start_soon(self._listen, name=f"late imports of {self._backend}")

    async def _keep(self) -> None:
        failures = 0
        while True:
            while not await to_thread.run_sync(self._options.has_room, False):
                self._servers.say(self._backend, ForkServerState.RESTING, NO_ROOM)
                await anyio.sleep(self._options.look)
            began = self.context.now()
            end = await self._run()
            failures = 1 if self.context.now() - began >= self._backoff.reset_after else failures + 1
            self._servers.say(self._backend, end.state, end.reason)
            if end.state is ForkServerState.FAILED:
                log.warning("fork_server.ended", backend=self._backend, reason=end.reason)
            await anyio.sleep(self._backoff.delay(failures, random.Random()))  # noqa: S311 - jitter

    async def _run(self) -> _End:
        """Run the server once, until it ends or is no longer needed."""
        output = self._options.folder / f"{self._backend}.log"
        had = self._learned
        began = self.context.now()
        self._begins()
        try:
            async with open_fork_server(
                self._spec,
                output,
                learned=had.modules,
                preload=had.preload,
                imported=partial(self._servers.imported, self._backend),
            ) as server:
                took = self.context.now() - began
                self._servers.serve(self._backend, server)
                log.info("fork_server.ready", backend=self._backend, pid=server.pid, modules=server.modules)
                await self._remember(self._learned.took(server.modules, took))
                return await self._look_after(server, had)
        except ForkFailed as failure:
            return await self._failed(failure)
        finally:
            self._begins()  # the next life: engines may wait for it, unless ``_keep`` then says otherwise

    def _begins(self) -> None:
        self._servers.begin(self._backend, count=self._learned.count, seconds=self._learned.seconds)

    async def _look_after(self, server: ForkServer, had: Learned) -> _End:
        """Teach a ready server until it ends or is no longer needed; ``had`` is what it was started with."""
        ends: list[_End] = []

        async def watch_end() -> None:
            reason = await server.ended()
            ends.append(_End(ForkServerState.FAILED, reason))
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(watch_end)
            ends.append(await self._teach(server, had))
            group.cancel_scope.cancel()
        return ends[0]

    async def _teach(self, server: ForkServer, had: Learned) -> _End:
        """Have the server import what engines import late, as long as it is needed; say how that ended."""
        while await self._is_needed():
            await anyio.sleep(self._options.look)
            now = self._learned
            if now.preload != had.preload:
                return ANEW
            new = tuple(name for name in now.modules if name not in frozenset(had.modules))
            had = now
            if new:
                try:
                    await server.learn(new)
                except ForkFailed as failure:
                    return await self._failed(failure)
                self._servers.serve(self._backend, server)
                log.info("fork_server.learned", backend=self._backend, modules=len(new))
        return RESTING

    async def _is_needed(self) -> bool:
        has_room = await to_thread.run_sync(self._options.has_room, True)
        return has_room or self._servers.is_wanted(self._backend)

    async def _failed(self, failure: ForkFailed) -> _End:
        if isinstance(failure, Unfit) and self._learned.modules:  # without them it may be fit
            await self._remember(self._learned.found_unfit(str(failure)))
        return _End(ForkServerState.FAILED, str(failure))

    async def _listen(self) -> None:
        """Record what each engine imported late, as soon as it has imported everything."""
        looks: dict[Path, Look] = {}
        while True:
            await anyio.sleep(self._options.look)
            watched = self._servers.watched(self._backend)
            for path in looks.keys() - set(watched):
                del looks[path]
            for path in watched:
                looks[path] = looks.get(path, Look()).then(await to_thread.run_sync(read_imports, path))
                learned = self._learned.merge(looks[path].lines)
                if looks[path].is_settled and learned != self._learned:
                    await self._remember(learned)

    async def _remember(self, learned: Learned) -> None:
        self._learned = learned
        with anyio.CancelScope(shield=True):  # the server's own end may be what cancels
            try:
                await to_thread.run_sync(write_learned, self._record, learned)
            except OSError as error:
                log.warning("fork_server.not_recorded", backend=self._backend, error=str(error))

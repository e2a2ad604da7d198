"""The actor that keeps one fork server: starts it when there is room, teaches it, starts it again."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import anyio
import structlog
from anyio import to_thread
from attrs import frozen

from sllm_actors.actors import Actor, Backoff

from .fork_client import ForkFailed, ForkServer, Unfit, WarmSpec, open_fork_server
from .late_imports import Learned, read_learned, write_learned
from .messages import WarmState
from .warm import WarmServers

log = structlog.get_logger("sllm_actors.engines")

LOOK = 2.0
"""Seconds between two looks: whether there is room, and what engines imported."""

SETTLED = 2
"""Looks in a row without a further import, after which an engine is taken to have imported everything."""

LONGEST_FILE = 1024 * 1024


@frozen
class Wardrobe:
    """Where a keeper keeps things.

    Attributes:
        folder: For the record of what was learned, and the server's output.
        has_room: Says whether the worker could take one more engine; may block.
    """

    folder: Path
    has_room: Callable[[], bool]


@frozen
class _Look:
    """What an engine had imported late when it was looked at.

    Attributes:
        lines: All of them so far.
        same: How many looks in a row brought nothing further.
    """

    lines: tuple[str, ...] = ()
    same: int = 0

    def then(self, lines: tuple[str, ...] | None) -> _Look:
        """Return the next look; None stands for an engine that has ended, and its file with it."""
        if lines is None:
            return _Look(self.lines, max(SETTLED, self.same + 1))
        return _Look(lines, self.same + 1 if len(lines) == len(self.lines) else 0)

    @property
    def is_settled(self) -> bool:
        """Whether it has just come to be so."""
        return self.same == SETTLED and bool(self.lines)


class WarmKeeper(Actor):
    """Keeps one fork server as long as there is room for an engine, whatever becomes of it.

    It takes no messages, and never fails for its server: who cannot fork starts engines as programs.

    Args:
        spec: What the server is for.
        servers: Where it is announced.
        wardrobe: What it needs of the worker.
        backoff: How long to wait before a server that ended by itself is started again.
    """

    def __init__(
        self,
        spec: WarmSpec,
        servers: WarmServers,
        wardrobe: Wardrobe,
        backoff: Backoff = Backoff(first=1.0, cap=60.0),  # noqa: B008 - frozen
    ) -> None:
        self._spec = spec
        self._servers = servers
        self._wardrobe = wardrobe
        self._backoff = backoff
        self._record = wardrobe.folder / f"{spec.backend}.json"
        self._learned = Learned()

    async def started(self) -> None:
        """Begin."""
        self._servers.say(self._spec, WarmState.STARTING)
        self._learned = await to_thread.run_sync(read_learned, self._record)
        self.context.start_soon(self._keep, name=f"fork server for {self._spec.backend}")

    async def _keep(self) -> None:
        failures = 0
        while True:
            while not await to_thread.run_sync(self._wardrobe.has_room):
                self._servers.say(self._spec, WarmState.RESTING, "there is no room for another engine")
                await anyio.sleep(LOOK)
            began = self.context.now()
            reason = await self._run()
            if not reason:
                continue
            failures = 1 if self.context.now() - began >= self._backoff.reset_after else failures + 1
            self._servers.say(self._spec, WarmState.FAILED, reason)
            log.warning("warm.ended", backend=self._spec.backend, reason=reason)
            await anyio.sleep(self._backoff.delay(failures, random.Random()))  # noqa: S311 - jitter

    async def _run(self) -> str:
        """Be one life of the server; return why it ended, or "" when it is to be begun anew."""
        self._servers.say(self._spec, WarmState.STARTING)
        output = self._wardrobe.folder / f"{self._spec.backend}.log"
        try:
            async with open_fork_server(
                self._spec, output, learned=self._learned.modules, preload=self._learned.preload
            ) as server:
                self._servers.serve(self._spec, server)
                log.info("warm.ready", backend=self._spec.backend, pid=server.pid, modules=server.modules)
                return await self._look_after(server)
        except ForkFailed as failure:
            if isinstance(failure, Unfit) and self._learned.modules:  # it is fit without them, or never
                await self._remember(self._learned.found_unfit(str(failure)))
            return str(failure)
        finally:
            self._servers.say(self._spec, WarmState.STARTING)

    async def _look_after(self, server: ForkServer) -> str:
        reason = ""

        async def watch_end() -> None:
            nonlocal reason
            reason = await server.ended()
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(watch_end)
            looks: dict[Path, _Look] = {}
            while await to_thread.run_sync(self._wardrobe.has_room):
                await anyio.sleep(LOOK)
                if await self._teach(server, looks):
                    break
            group.cancel_scope.cancel()
        return reason

    async def _teach(self, server: ForkServer, looks: dict[Path, _Look]) -> bool:
        """Have it import what engines imported; return whether it has to be begun anew for that."""
        watched = self._servers.watched(self._spec)
        for path in looks.keys() - set(watched):
            del looks[path]
        for path in watched:
            look = looks.get(path, _Look()).then(await to_thread.run_sync(_read_lines, path))
            looks[path] = look
            if not look.is_settled:
                continue
            learned = self._learned.merge(look.lines)
            new = learned.modules[len(self._learned.modules) :]
            anew = learned.preload != self._learned.preload
            if new or anew:
                await self._remember(learned)
            if anew:
                return True
            if new:
                await server.learn(new)
                self._servers.serve(self._spec, server)
                log.info("warm.learned", backend=self._spec.backend, modules=len(new))
        return False

    async def _remember(self, learned: Learned) -> None:
        self._learned = learned
        try:
            await to_thread.run_sync(write_learned, self._record, learned)
        except OSError as error:
            log.warning("warm.not_recorded", backend=self._spec.backend, error=str(error))


def _read_lines(path: Path) -> tuple[str, ...] | None:
    try:
        with path.open("rb") as file:
            return tuple(file.read(LONGEST_FILE).decode("ascii", "replace").split("\n")[:-1])
    except OSError:
        return None

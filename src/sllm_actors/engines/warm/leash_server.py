"""The leash server: a fork server without an engine's modules, from which leashes of programs are forked.

A leash is a Python program. To start one takes some 50 ms, and as much processor time as a small engine needs
for a request; to fork one takes a few. Its engine is started as a program either way.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Final

import anyio
import structlog

from sllm_actors.actors import Actor, Backoff
from sllm_actors.engines.ownership.leash_process import ForkFailed

from .fork_client import ForkServerSpec, open_fork_server
from .fork_servers import ForkServers

log = structlog.get_logger("sllm_actors.engines")

LEASHES: Final = ForkServerSpec(backend="", python=sys.executable, modules=(), env={})


class LeashServerKeeper(Actor):
    """Keeps a leash server running, and starts it again when it ends. It takes no messages.

    Meanwhile, and where it cannot be started, leashes are started as programs.

    Args:
        servers: Where engine lives find it, as ``ForkServers.leashes``.
        output: A file in a folder that exists: gets what the server prints.
        backoff: How long to wait before a server that ended is started again.
    """

    def __init__(
        self,
        servers: ForkServers,
        output: Path,
        backoff: Backoff = Backoff(first=1.0, cap=60.0),  # noqa: B008 - frozen
    ) -> None:
        self._servers = servers
        self._output = output
        self._backoff = backoff

    async def started(self) -> None:
        """Start the task that keeps the server."""
        self.context.start_soon(self._keep, name="leash server")

    async def _keep(self) -> None:
        failures = 0
        while True:
            began = self.context.now()
            reason = await self._run()
            log.warning("leash_server.ended", reason=reason)
            failures = 1 if self.context.now() - began >= self._backoff.reset_after else failures + 1
            await anyio.sleep(self._backoff.delay(failures, random.Random()))  # noqa: S311 - jitter

    async def _run(self) -> str:
        """Run the server once; return why it ended."""
        try:
            async with open_fork_server(LEASHES, self._output) as server:
                self._servers.leashes = server
                return await server.ended()
        except ForkFailed as failure:
            return str(failure)
        finally:
            self._servers.leashes = None

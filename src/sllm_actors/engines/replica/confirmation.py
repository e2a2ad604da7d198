"""Finding out within a second whether an engine that was ready still serves, when a gateway asks."""

from __future__ import annotations

from typing import Protocol

import anyio
from attrs import evolve, field, frozen

from sllm_actors.disk import Disk
from sllm_actors.engines.backends.backend import Launch
from sllm_actors.engines.health_policy import HealthPolicy
from sllm_actors.engines.messages import EngineConfirmed
from sllm_actors.engines.ownership.port_owner import PortTaken

from .readiness import HealthProbe
from .server_probe import ServerProbe

CONFIRM_SECONDS = 0.7
"""How long finding out may take. A gateway waits for a second, and the question and the answer take time."""


class Confirming(Protocol):
    """Finds out whether one engine life serves."""

    async def confirm(self) -> EngineConfirmed:
        """Return what was found within ``CONFIRM_SECONDS``.

        Raises:
            OSError: This process has no file descriptors left to find out with.
        """


@frozen
class EngineCheck:
    """Asks an engine that the worker has started.

    Where it does not answer well, its process may be ending: then its end is waited for.

    Attributes:
        launch: How it was started.
        policy: How long an answer may take, at most.
        leash: The process of its leash.
        over: Set when the engine life has ended.
    """

    launch: Launch
    policy: HealthPolicy
    leash: int
    over: anyio.Event

    async def confirm(self) -> EngineConfirmed:
        """See ``Confirming``."""
        reason = "no answer to its health check"
        with anyio.move_on_after(CONFIRM_SECONDS):
            # A connection of its own: that of the regular checks is closed when the engine life ends.
            patience = evolve(self.policy, timeout=CONFIRM_SECONDS)
            where = (self.launch.address, self.launch.health, patience, self.launch.key, self.leash)
            async with HealthProbe(*where) as probe:
                try:
                    health = await probe.check()
                except PortTaken as taken:
                    return EngineConfirmed(reason=str(taken))
            if not health.problem:
                return EngineConfirmed(serving=True)
            reason = health.problem
            if health.status in self.launch.core_died:
                reason = f"its core has died: its health check answers with status {health.status}"
                return EngineConfirmed(died=True, reason=reason)
            await self.over.wait()
        return EngineConfirmed(reason=reason)


@frozen
class ServerCheck:
    """Asks a server that somebody else runs; of such a one it is never known that it died.

    Attributes:
        launch: How it is reached.
        disk: Reads the files of its key.
    """

    launch: Launch
    disk: Disk = field(factory=Disk)

    async def confirm(self) -> EngineConfirmed:
        """See ``Confirming``."""
        reason = f"no answer within {CONFIRM_SECONDS:g} s"
        if self.launch.server is not None:
            with anyio.move_on_after(CONFIRM_SECONDS):
                where = (self.launch.address, self.launch.health, self.launch.server, self.disk)
                try:
                    async with ServerProbe(*where) as probe:
                        reason = (await probe.ask(CONFIRM_SECONDS)).problem
                except OSError as error:  # its ca_file cannot be used
                    reason = str(error)
        return EngineConfirmed(serving=not reason, reason=reason)

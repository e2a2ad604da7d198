"""Watching a server that somebody else runs: reach it, and notice when it is well and when it is not."""

from __future__ import annotations

from collections.abc import Callable

import anyio
from attrs import define, evolve, field

from sllm_actors.disk import Disk
from sllm_actors.engines.external import ServerAccess
from sllm_actors.engines.health_policy import HealthPolicy

from .events import Answered, Progressed, Unreached
from .server_probe import ServerProbe, ServerState

NAME_EVERY = 15
"""After how many health requests a server is asked for its model's name again, if no name is set for it."""

Say = Callable[[Answered | Progressed | Unreached], None]


@define
class ServerWatch:
    """One life of an external server's replica: from the first request until the server, once well, is not.

    Attributes:
        address: The server's URL, without ``/v1``.
        paths: Health paths; see ``ServerProbe``.
        access: How the server is reached.
        model: The model's name for the server, if neither ``access`` nor the server's own list says it.
        attempt: The attempt number, for the events.
        policy: How often to ask, and how long an answer may take.
        startup_timeout: Seconds that the server may be loading before it is reported as ``Unreached``.
        say: Called with ``Progressed`` while the server is reached or loading, with ``Unreached`` when it
            could not be reached within ``access.connect_timeout`` (it is still asked), and with ``Answered``
            when it is well.
        disk: Reads the files that ``access`` names.
    """

    address: str
    paths: tuple[str, ...]
    access: ServerAccess
    model: str
    attempt: int
    policy: HealthPolicy
    startup_timeout: float
    say: Say
    disk: Disk = field(factory=Disk)

    async def run(self) -> str:
        """Watch the server; return as a sentence why it no longer serves, once it did."""
        while True:
            try:
                async with ServerProbe(self.address, self.paths, self.access, self.disk) as probe:
                    server = evolve(self.access, model=await self._until_ready(probe))
                    self.say(Answered(self.attempt, self.address, server=server))
                    return f"{self.address} {await self._until_ill(probe, server.model)}"
            except OSError as error:  # ca_file cannot be used: it may be mended meanwhile
                self.say(Unreached(self.attempt, f"{self.address} cannot be reached: {error}"))
                await anyio.sleep(self.policy.interval)

    async def _until_ready(self, probe: ServerProbe) -> str:
        """Ask until the server is ready; return its name for the model."""
        reached = began = anyio.current_time()
        loading, said, pause = False, "", self.policy.first
        while True:
            state, model = await self._ask(probe)
            now = anyio.current_time()
            if not state.problem:
                return model
            if state.loading:
                reached = now
                began = began if loading else now
            loading = state.loading
            if loading and now - began >= self.startup_timeout:
                unreached = f"{self.address} is not ready after {self.startup_timeout:g} s: {state.problem}"
            elif now - reached >= self.access.connect_timeout:
                unreached = f"{self.address} cannot be reached: {state.problem}"
            else:
                unreached = ""
            doing = state.problem if loading else f"reaching {self.address}: {state.problem}"
            if (unreached or doing) != said:
                said = unreached or doing
                self.say(Unreached(self.attempt, said) if unreached else Progressed(self.attempt, said))
            left = reached + self.access.connect_timeout - now
            await anyio.sleep(pause if unreached or loading else min(pause, left))
            pause = min(2 * pause, self.policy.interval)

    async def _ask(self, probe: ServerProbe) -> tuple[ServerState, str]:
        """Ask whether the server is well and accepts the key, and for its model's name."""
        timeout = min(self.policy.timeout, self.access.connect_timeout)
        state = await probe.ask(timeout)
        if state.problem:
            return state, ""
        state, only = await probe.find_model(timeout)
        return state, self.access.model or only or self.model

    async def _until_ill(self, probe: ServerProbe, model: str) -> str:
        """Ask until too many requests in a row got no good answer, or the model's name changed; say which."""
        missed = asked = 0
        while True:
            await anyio.sleep(self.policy.interval)
            asked += 1
            state = await probe.ask(self.policy.timeout)
            missed = missed + 1 if state.problem else 0
            if missed >= self.policy.misses:
                return f"does not serve any more: {state.problem}"
            if not self.access.model and not state.problem and asked % NAME_EVERY == 0:
                _, only = await probe.find_model(self.policy.timeout)
                if only and only != model:
                    return f"serves another model now, {only}"

"""Watching a server that somebody else runs: reach it, see that it is well, and notice when it is not."""

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
"""Questions after which a server is asked for its model's name again, where nobody has chosen one."""

Say = Callable[[Answered | Progressed | Unreached], None]


@define
class ServerWatch:
    """From the first question to one server up to the end of one time in which it served.

    Attributes:
        model: What the server is asked for where nothing says how it calls its model.
        say: Told ``Progressed`` while it is loading, ``Unreached`` when it could not be reached within
            ``access.connect_timeout`` (it is asked on), and ``Answered`` once.
        disk: What reads the files that ``access`` names.
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
        """Return why it serves no longer."""
        while True:
            try:
                async with ServerProbe(self.address, self.paths, self.access, self.disk) as probe:
                    server = evolve(self.access, model=await self._until_ready(probe))
                    self.say(Answered(self.attempt, self.address, server=server))
                    return f"{self.address} {await self._until_ill(probe, server.model)}"
            except OSError as error:  # its file of authorities; who owns that may mend it
                self.say(Unreached(self.attempt, f"{self.address} cannot be reached: {error}"))
                await anyio.sleep(self.policy.interval)

    async def _until_ready(self, probe: ServerProbe) -> str:
        """Return what it calls the model, as soon as it is ready."""
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
        """Ask whether it is well and takes our key, and for its model's name."""
        timeout = min(self.policy.timeout, self.access.connect_timeout)
        state = await probe.ask(timeout)
        if state.problem:
            return state, ""
        state, only = await probe.find_model(timeout)
        return state, self.access.model or only or self.model

    async def _until_ill(self, probe: ServerProbe, model: str) -> str:
        """Ask on, until too many answers in a row were no good or its model has another name; say which."""
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

"""Putting an engine to sleep and waking it: it keeps its process, and gives its GPU memory to others."""

from __future__ import annotations

from typing import Protocol

import httpx2

FULL = 2
"""The level that forgets the weights."""

LEVELS = (0, 1, FULL)

TIMEOUT = 300.0
"""Seconds for one step: hundreds of gigabytes go over the bus, or come from disk."""


class SleepProblem(Exception):
    """The engine did not do it, and what it is now is not known. The text says why, for a person."""


class SleepTiers(Protocol):
    """How one kind of engine sleeps.

    Levels: 0 only takes on no work; 1 moves the weights to the machine's memory and forgets the rest; 2
    forgets the weights too, which are read from disk again when it wakes.
    """

    async def sleep(self, engine: httpx2.AsyncClient, level: int) -> None:
        """Let it finish what it works on, and put it to sleep.

        Raises:
            SleepProblem: It does not sleep.
        """

    async def wake(self, engine: httpx2.AsyncClient, level: int) -> None:
        """Make it as it was before it was put to sleep at that level; return when it can take requests.

        Raises:
            SleepProblem: It is not awake.
        """


class VllmSleep:
    """vLLM's sleep mode, through the routes that it has with ``VLLM_SERVER_DEV_MODE``."""

    async def sleep(self, engine: httpx2.AsyncClient, level: int) -> None:
        """See ``SleepTiers``."""
        await _post(engine, f"/sleep?level={level}&mode=wait")

    async def wake(self, engine: httpx2.AsyncClient, level: int) -> None:
        """See ``SleepTiers``. From level 2 on, memory comes first, then weights, then the cache's memory."""
        if level < FULL:
            await _post(engine, "/wake_up")
            return
        await _post(engine, "/wake_up?tags=weights")
        await _post(engine, "/collective_rpc", {"method": "reload_weights"})
        await _post(engine, "/wake_up?tags=kv_cache")
        await _post(engine, "/reset_prefix_cache")


async def _post(engine: httpx2.AsyncClient, path: str, body: object = None) -> None:
    try:
        answer = await engine.post(path, json=body, timeout=TIMEOUT)
    except httpx2.HTTPError as error:
        raise SleepProblem(f"{path} was not answered ({type(error).__name__})") from None
    if answer.status_code != httpx2.codes.OK:
        raise SleepProblem(f"{path} was answered with {answer.status_code}: {answer.text[:200]}")

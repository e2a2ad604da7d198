"""Putting an engine to sleep and waking it: asleep, it keeps its process but frees its GPU memory."""

from __future__ import annotations

from typing import Protocol

import httpx2

FULL = 2
"""The level that forgets the weights."""

LEVELS = (0, 1, FULL)

TIMEOUT = 300.0
"""Seconds for one step: hundreds of gigabytes go over the bus, or come from disk."""


class SleepProblem(Exception):
    """An engine did not fall asleep or wake up, and its state is unknown. The text says why, for a person."""


class SleepTiers(Protocol):
    """How one kind of engine sleeps.

    Level 0 only pauses the engine; level 1 moves the weights to the machine's memory and drops the rest;
    level 2 drops the weights too, so that they are read from disk again at waking.
    """

    async def sleep(self, engine: httpx2.AsyncClient, level: int) -> None:
        """Let the engine finish its requests, and put it to sleep; return when it sleeps.

        Raises:
            SleepProblem: It did not fall asleep within ``TIMEOUT``.
        """

    async def wake(self, engine: httpx2.AsyncClient, level: int) -> None:
        """Wake an engine that sleeps at this level; return when it can take requests.

        Raises:
            SleepProblem: A step of waking failed, or took longer than ``TIMEOUT``.
        """


class VllmSleep:
    """vLLM's sleep mode, through the HTTP routes that ``VLLM_SERVER_DEV_MODE`` turns on."""

    async def sleep(self, engine: httpx2.AsyncClient, level: int) -> None:
        """See ``SleepTiers``."""
        await _post(engine, f"/sleep?level={level}&mode=wait")

    async def wake(self, engine: httpx2.AsyncClient, level: int) -> None:
        """See ``SleepTiers``. From level 2: first memory for weights, then the weights, then the cache."""
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

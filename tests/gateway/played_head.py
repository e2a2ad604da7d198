"""Plays the head for one request over HTTP: what reaches it, and what its answer becomes."""

from __future__ import annotations

from typing import Any

import anyio
import httpx2

from sllm_actors.actors import NodeId
from sllm_actors.serving.messages import ControlAnswer, Done
from sllm_actors.testing import TestProbe

from .kit import PlayedCluster

LOCAL = NodeId("gateway-1")
"""The gateway's own node, on which the head is played."""

DONE = Done('{"deployment_id":  "x"}')


async def asked(
    cluster: PlayedCluster,
    head: TestProbe,
    method: str,
    path: str,
    content: str = "",
    answer: ControlAnswer = DONE,
) -> tuple[Any, httpx2.Response]:
    """Send a request; return what reached the head, which answers it, and the response."""
    got: list[Any] = []

    async def reply() -> None:
        got.append(await head.expect(object))
        head.reply(answer)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reply)
        response = await cluster.http().request(method, path, content=content.encode())
    return got[0], response

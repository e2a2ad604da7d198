"""Plays the head for one request over HTTP: what reaches it, and what its answer becomes."""

from __future__ import annotations

from typing import Any

import anyio
import httpx2

from sllm_actors.actors import TEMPORARY, ChildSpec, NodeId
from sllm_actors.serving.differences.messages import Beat, Difference, Page
from sllm_actors.serving.messages import CONTROLLER, ControlAnswer, Done
from sllm_actors.testing import TestProbe

from .kit import PlayedCluster

LOCAL = NodeId("gateway-1")
"""The gateway's own node, on which the head is played."""

DONE = Done('{"deployment_id":  "x"}')


class HeadProbe(TestProbe):
    """Keeps what the head is asked: what the gateway publishes, each second at least, is no question."""

    async def receive(self, message: Any) -> None:
        if not isinstance(message, Beat | Difference | Page):
            await super().receive(message)


async def played_head(cluster: PlayedCluster) -> HeadProbe:
    """Play the head, to which the gateway is linked from now on."""
    cluster.head = LOCAL
    probe = HeadProbe()
    await cluster.system.start(ChildSpec(CONTROLLER, lambda: probe, restart=TEMPORARY, name=CONTROLLER))
    return probe


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

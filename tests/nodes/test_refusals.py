"""A node tells the heads that are linked how many it has refused, again and again."""

from __future__ import annotations

import pytest
from tests.serving.recording_network import RecordingNetwork

from sllm_actors.actors import ActorRef, ChildSpec, NodeId
from sllm_actors.nodes.refusals import INTERVAL, REFUSALS, RefusalTeller
from sllm_actors.serving.messages import CONTROLLER, RefusedSoFar
from sllm_actors.testing import ManualClock, TestSystem

pytestmark = pytest.mark.anyio


async def test_what_was_refused_is_told_to_each_head_again_and_again() -> None:
    clock, network = ManualClock(), RecordingNetwork()
    linked: list[str] = []
    connections: dict[str, int] = {}
    requests: dict[str, int] = {}
    async with TestSystem(node=NodeId("w1"), clock=clock, network=network) as system:

        def heads() -> list[ActorRef]:
            return [system.named(CONTROLLER, NodeId(each)) for each in linked]

        def make() -> RefusalTeller:
            return RefusalTeller(lambda: connections, lambda: requests, heads=heads)

        await system.start(ChildSpec(REFUSALS, make, name=REFUSALS))
        linked.append("head")
        await clock.advance(INTERVAL)
        assert not network.told, "there is nothing to tell"
        connections |= {"secret": 2, "broken": 1}
        requests |= {"secret": 1}
        linked.append("head-2")
        for _ in range(2):
            await clock.advance(INTERVAL)
        said = RefusedSoFar("w1", {"secret": 3, "broken": 1})
        assert dict(network.told) == {"head": [said, said], "head-2": [said, said]}

"""A gateway learns from workers that engines have died, tells the head, and hears from it what others saw."""

from __future__ import annotations

from typing import Any

import pytest
from tests.gateway.kit import PlayedCluster, replica, served

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.gateway.routing.memory.poison import digest
from sllm_actors.serving.messages import DeathKey, EngineDeath, ReportDeath

pytestmark = pytest.mark.anyio

EVE = digest(b"/v1/chat/completions", b"eve")
READY = replica()
KILLED = replica(state=ReplicaState.STARTING, exit_status="signal SIGKILL")


def reported(cluster: PlayedCluster) -> list[Any]:
    return [said for _, said in cluster.nodes.heard if isinstance(said, ReportDeath)]


async def test_a_death_is_known_at_once_and_told_to_the_head(cluster: PlayedCluster) -> None:
    await cluster.deploy(served())
    await cluster.report(READY)
    poison, now = cluster.gateway.poison, cluster.system.clock.now()
    poison.broke(READY.id, EVE, now)
    await cluster.report(KILLED)

    assert poison.has_died(READY.id)
    assert reported(cluster) == [ReportDeath("gateway-1", READY.id, (EVE,))]


async def test_a_head_that_comes_later_is_told_of_the_deaths_before(cluster: PlayedCluster) -> None:
    await cluster.report(READY)
    poison, now = cluster.gateway.poison, cluster.system.clock.now()
    poison.broke(READY.id, EVE, now)
    await cluster.report(KILLED)
    assert reported(cluster) == []

    await cluster.deploy(served())
    assert reported(cluster) == [ReportDeath("gateway-1", READY.id, (EVE,))]


async def test_what_other_gateways_saw_counts_here_until_the_head_takes_it_back(
    cluster: PlayedCluster,
) -> None:
    def refuses() -> bool:
        return cluster.gateway.poison.refuses("smol:llamacpp", "", EVE, cluster.system.clock.now())

    deaths = [
        EngineDeath(DeathKey(replica(number=number).id, f"gateway-{number}"), (EVE,)) for number in (2, 3)
    ]
    await cluster.deploy(served())
    cluster.nodes.head.tell_of(deaths)
    await cluster.settle()
    assert refuses()

    cluster.nodes.head.tell_of(deaths[1:])
    await cluster.settle()
    assert not refuses()

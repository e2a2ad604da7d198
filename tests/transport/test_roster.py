"""How many links a node says that it has: who has just stood still must not win against all others."""

from __future__ import annotations

from typing import cast

import anyio
import pytest
from trio.testing import MockClock

from sllm_actors.actors.identity import NodeId
from sllm_actors.testing.node_keys import identification_of
from sllm_actors.transport.hello import NONCE_SIZE, Lane
from sllm_actors.transport.link import LinkLife, LinkState
from sllm_actors.transport.peer import NodeIdentity
from sllm_actors.transport.peer_link import PeerLink
from sllm_actors.transport.peer_table import PeerTable

from .kit import QUICK, life

pytestmark = pytest.mark.trio


class Linked:
    """As much of a link as a roster looks at."""

    def __init__(self, state: LinkState) -> None:
        self.life = LinkLife(QUICK.budget, 0.0, state, announced=True)


def roster(*states: LinkState) -> PeerTable:
    made = PeerTable(
        NodeIdentity(NodeId("me"), "worker", life(1), "c"), QUICK, identification_of("c", "me", "worker")
    )
    for number, state in enumerate(states):
        made.links[NodeId(f"n{number}")] = cast("PeerLink", Linked(state))
    return made


def links(made: PeerTable) -> int:
    return made.hello(Lane.CONTROL, bytes(NONCE_SIZE)).links


async def test_only_links_that_are_up_count(autojump_clock: MockClock) -> None:
    assert links(roster(LinkState.UP, LinkState.SUSPECT, LinkState.CONNECTING, LinkState.UP)) == 2


async def test_a_node_counts_none_for_a_budget_after_it_stood_still(autojump_clock: MockClock) -> None:
    made = roster(LinkState.UP)
    made.ticked(anyio.current_time(), QUICK.budget)
    for _ in range(10):
        assert links(made) == 0
        await anyio.sleep(QUICK.budget / 10)
        made.ticked(anyio.current_time(), 0.0)
    await anyio.sleep(QUICK.heartbeat / 2)
    assert links(made) == 1


async def test_a_node_counts_none_before_it_has_even_noticed_that_it_stood_still(
    autojump_clock: MockClock,
) -> None:
    made = roster(LinkState.UP)
    made.ticked(anyio.current_time(), 0.0)
    assert links(made) == 1
    await anyio.sleep(QUICK.budget)
    assert links(made) == 0


async def test_a_tick_that_is_a_little_late_changes_nothing(autojump_clock: MockClock) -> None:
    made = roster(LinkState.UP)
    made.ticked(anyio.current_time(), QUICK.budget / 4)
    assert links(made) == 1

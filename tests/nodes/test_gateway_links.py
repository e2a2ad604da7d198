"""Which workers a gateway dials, and which head it takes for linked."""

from __future__ import annotations

from random import Random

import pytest

from sllm_actors.actors import Incarnation, NodeId
from sllm_actors.nodes.gateway_links import GatewayLinks
from sllm_actors.serving.messages import GATEWAY, UnreachedWorker, WorkerAddress
from sllm_actors.testing import TestSystem
from sllm_actors.transport import NoLink, Peer, PeerLost, PeerUp


class Dials:
    """Keeps account of what is dialled."""

    def __init__(self) -> None:
        self.open: list[tuple[str, int]] = []
        self.made = 0

    def dial(self, host: str, port: int, role: str) -> Line:
        assert role == "worker"
        self.open.append((host, port))
        self.made += 1
        return Line(self, (host, port))


class Line:
    def __init__(self, dials: Dials, address: tuple[str, int]) -> None:
        self._dials = dials
        self._address = address

    def close(self) -> None:
        self._dials.open.remove(self._address)


def at(node: str, port: int, host: str = "h") -> WorkerAddress:
    return WorkerAddress(node, host, port)


def test_a_worker_that_moves_is_dialled_where_it_is_now() -> None:
    links, dials = GatewayLinks(lambda: None, "head"), Dials()
    links.dial_workers(dials.dial, [at("w1", 1), at("w2", 2), at("w3", 0)], [])
    assert dials.open == [("h", 1), ("h", 2)], "port 0 is nowhere"
    links.dial_workers(dials.dial, [at("w1", 1), at("w2", 3)], ["w3", "never"])
    assert (dials.open, dials.made) == ([("h", 1), ("h", 3)], 3)
    links.dial_workers(dials.dial, [at("w1", 0)], ["w2"])
    assert dials.open == []


def test_an_address_of_two_workers_is_dialled_once_until_both_are_gone() -> None:
    links, dials = GatewayLinks(lambda: None, "head"), Dials()
    links.dial_workers(dials.dial, [at("old", 1), at("new", 1)], [])
    links.dial_workers(dials.dial, [], ["old"])
    assert (dials.open, dials.made) == ([("h", 1)], 1)
    links.dial_workers(dials.dial, [], ["new"])
    assert dials.open == []


@pytest.mark.parametrize(
    ("head", "told", "dialled"),
    [
        ("10.0.0.1", "127.0.0.1", "10.0.0.1"),
        ("head.example", "::1", "head.example"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("localhost", "::1", "::1"),
        ("10.0.0.1", "10.0.0.2", "10.0.0.2"),
    ],
)
def test_a_worker_that_the_head_sees_on_loopback_is_where_the_head_is(
    head: str, told: str, dialled: str
) -> None:
    links, dials = GatewayLinks(lambda: None, head), Dials()
    links.dial_workers(dials.dial, [at("w1", 1, told)], [])
    assert dials.open == [(dialled, 1)]


def up(node: str, role: str = "worker") -> PeerUp:
    return PeerUp(Peer(NodeId(node), role, Incarnation(1, 1), "h", outbound=True))


@pytest.mark.anyio
async def test_a_worker_that_is_dialled_in_vain_is_told_with_the_address_and_why() -> None:
    links, dials = GatewayLinks(lambda: None, "head"), Dials()
    links.dial_workers(dials.dial, [at("w1", 1, "fd00::1"), at("w2", 2), at("w3", 2)], [])
    for address in ("[fd00::1]:1", "h:2", "head:8001"):
        links.on_no_link(NoLink(address, f"{address} is away", refused=False))

    def told() -> list[tuple[str, str]]:
        return [(each.node, each.address) for each in links.unreached()]

    assert links.unreached()[0] == UnreachedWorker("w1", "[fd00::1]:1", "[fd00::1]:1 is away")
    assert told() == [("w1", "[fd00::1]:1"), ("w2", "h:2"), ("w3", "h:2")]
    async with TestSystem() as system:
        await system.probe(GATEWAY)
        links.news(system, up("w3"))
        links.news(system, up("never"))
        assert told() == [("w1", "[fd00::1]:1")], "somebody answers there"
        links.dial_workers(dials.dial, [at("w1", 1, "fd00::2")], [])
        assert told() == []


@pytest.mark.parametrize("seed", range(20))
def test_exactly_the_addresses_that_are_left_are_dialled(seed: int) -> None:
    rng, links, dials = Random(seed), GatewayLinks(lambda: None, "head"), Dials()
    expected: dict[str, WorkerAddress] = {}
    for _ in range(60):
        node = rng.choice("abcde")
        if rng.random() < 0.3:
            links.dial_workers(dials.dial, [], [node])
            expected.pop(node, None)
        else:
            expected[node] = at(node, rng.randint(0, 3))
            links.dial_workers(dials.dial, [expected[node]], [])
        wanted = {(each.host, each.port) for each in expected.values() if each.port}
        assert sorted(dials.open) == sorted(wanted)


@pytest.mark.anyio
async def test_a_head_is_linked_until_its_last_life_is_lost() -> None:
    heads: list[int] = []
    links = GatewayLinks(lambda: heads.append(1), "head")

    def head(life: int, node: str = "head") -> Peer:
        return Peer(NodeId(node), "head", Incarnation(life, 0), "h", outbound=True)

    async with TestSystem() as system:
        actor = await system.probe(GATEWAY)
        events: list[PeerUp | PeerLost] = [
            PeerUp(head(1)),
            PeerUp(head(2)),
            PeerLost(head(1), "it has come back in a later life"),
        ]
        for event in events:
            links.news(system, event)
        assert (links.head, len(heads)) == ("head", 2), "the loss of a former life is told late"
        seen = []
        other = head(1, "other")
        for event in (PeerUp(other), PeerLost(head(2), "silent"), PeerLost(other, "silent")):
            links.news(system, event)
            seen.append(links.head)
        assert seen == ["other", "other", None]
        assert [await actor.expect(object) for _ in events] == events

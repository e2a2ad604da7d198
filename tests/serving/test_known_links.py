"""Links of which the news was lost."""

from __future__ import annotations

from sllm_actors.actors import Incarnation, NodeId
from sllm_actors.serving.links.known_links import KnownLinks
from sllm_actors.transport import Peer


def peer(node: str, life: int = 1) -> Peer:
    return Peer(NodeId(node), "worker", Incarnation(life, 0), "lan", outbound=False)


def test_nothing_is_missed_of_links_that_are_known() -> None:
    links = KnownLinks()
    links.up(peer("w1"))
    assert links.missed([peer("w1")]) == ([], [])


def test_a_link_that_came_up_unheard_is_new() -> None:
    assert KnownLinks().missed([peer("w1")]) == ([], [peer("w1")])


def test_a_link_that_was_lost_unheard_is_gone() -> None:
    links = KnownLinks()
    links.up(peer("w1"))
    assert links.missed([]) == ([peer("w1")], [])
    assert links.lost(peer("w1"))
    assert links.missed([]) == ([], [])


def test_a_later_life_that_came_unheard_is_gone_and_new() -> None:
    links = KnownLinks()
    links.up(peer("w1"))
    assert links.missed([peer("w1", 2)]) == ([peer("w1")], [peer("w1", 2)])


def test_the_loss_of_an_earlier_life_is_none_of_the_later_one() -> None:
    links = KnownLinks()
    links.up(peer("w1", 2))
    assert not links.lost(peer("w1"))
    assert links.missed([peer("w1", 2)]) == ([], [])

"""What the node's owner is told of its peers, and that a hook which raises costs nothing but a count."""

from __future__ import annotations

from typing import NoReturn

from sllm_actors.actors.identity import Incarnation, NodeId
from sllm_actors.transport.announcements import Announcements
from sllm_actors.transport.link import Lose
from sllm_actors.transport.peer import NoLink, Peer, PeerDoubted, PeerLost, PeerTrusted, PeerUp

PEER = Peer(NodeId("far"), "worker", Incarnation(1, 2), "127.0.0.1", outbound=True)
NO_LINK = NoLink("far:1", "nobody answers", refused=False)


def tell_everything(announcements: Announcements) -> bool:
    """Tell of one of each; return whether the owner took note of the peer that is up."""
    taken = announcements.up(PEER)
    announcements.doubted(PEER, "silent")
    announcements.trusted(PEER)
    announcements.lost(PEER, Lose("it left", left=True))
    announcements.no_link(NO_LINK)
    return taken


def test_each_hook_is_told_in_order_what_it_is_for() -> None:
    peers: list[object] = []
    doubts: list[object] = []
    no_links: list[object] = []
    announcements = Announcements(peers.append, doubts.append, no_links.append)
    assert tell_everything(announcements)
    assert peers == [PeerUp(PEER), PeerLost(PEER, "it left", left=True)]
    assert doubts == [PeerDoubted(PEER, "silent"), PeerTrusted(PEER)]
    assert no_links == [NO_LINK]
    assert announcements.failures == 0


def test_what_nobody_asks_for_is_no_failure() -> None:
    peers: list[object] = []
    announcements = Announcements(peers.append, None, None)
    assert tell_everything(announcements)
    assert len(peers) == 2
    assert announcements.failures == 0


def test_a_hook_that_raises_is_counted_and_has_taken_no_note() -> None:
    def fail(_event: object) -> NoReturn:
        raise LookupError("a bug of the owner")

    announcements = Announcements(fail, fail, fail)
    assert not tell_everything(announcements)
    assert announcements.failures == 5

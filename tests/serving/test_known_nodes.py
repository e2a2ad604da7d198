"""Links and reports come in any order; what the head believes of nodes follows from the newest life."""

from __future__ import annotations

from sllm_actors.actors import Incarnation, NodeId
from sllm_actors.serving.known_nodes import MAX_ADDRESSES, MAX_LOST, KnownNodes
from sllm_actors.serving.messages import WorkerAddress, WorkerReport
from sllm_actors.transport import Peer

from .kit import inventory, key, report


def peer(node: str, life: int = 1, role: str = "worker", host: str = "10.0.0.1") -> Peer:
    return Peer(NodeId(node), role, Incarnation(life, 0), host, outbound=False)


def said(node: str, sequence: int = 1, *, port: int = 8002, host: str = "", number: int = 0) -> WorkerReport:
    stock = inventory(name=f"name-{node}", port=port, host=host)
    return WorkerReport(node, sequence, stock, (report(key(number)),))


def linked(*nodes: str) -> KnownNodes:
    known = KnownNodes()
    for node in nodes:
        assert known.link_up(peer(node), 1.0)
    return known


def test_a_worker_counts_when_it_is_linked_and_has_reported() -> None:
    known = KnownNodes()
    assert not known.report(said("w1"))
    assert known.link_up(peer("w1"), 1.0)
    assert known.workers == {}
    assert known.report(said("w1"))
    assert set(known.workers) == {"w1"}
    assert known.linked("worker") == ["w1"]
    assert known.linked("gateway") == []


def test_only_workers_report() -> None:
    known = KnownNodes()
    known.link_up(peer("g1", role="gateway"), 1.0)
    assert not known.report(said("g1"))


def test_an_older_report_never_replaces_a_newer_one() -> None:
    known = linked("w1")
    assert known.report(said("w1", 2, number=2))
    assert not known.report(said("w1", 1, number=1))
    assert not known.report(said("w1", 2, number=1))
    assert list(known.workers["w1"].replicas) == [key(2)]


def test_a_new_life_begins_with_nothing_reported_and_may_count_anew() -> None:
    known = linked("w1")
    known.report(said("w1", 9))
    assert known.link_up(peer("w1", 2), 2.0)
    assert known.workers == {}
    assert known.report(said("w1", 1))


def test_the_same_link_twice_changes_nothing() -> None:
    known = linked("w1")
    known.report(said("w1"))
    assert not known.link_up(peer("w1"), 2.0)
    assert set(known.workers) == {"w1"}


def test_the_end_of_an_old_life_after_the_beginning_of_the_new_one_changes_nothing() -> None:
    known = linked("w1")
    known.link_up(peer("w1", 2), 2.0)
    known.report(said("w1"))
    assert not known.link_lost(peer("w1", 1), "silent", 3.0)
    assert not known.link_up(peer("w1", 1), 3.0)
    assert set(known.workers) == {"w1"}
    assert known.life_of("w1") == peer("w1", 2)
    assert not known.link_lost(peer("w2"), "never seen", 3.0)


def test_a_lost_worker_is_still_shown_and_can_still_be_dialled() -> None:
    known = linked("w1")
    known.report(said("w1"))
    assert known.link_lost(peer("w1"), "silent for 3 s", 5.0)
    assert (known.workers, known.life_of("w1")) == ({}, None)
    (view,) = known.views
    assert (view.up, view.since, view.reason, view.name) == (False, 5.0, "silent for 3 s", "name-w1")
    assert known.addresses == (WorkerAddress("w1", "10.0.0.1", 8002),)
    known.link_up(peer("w1", 2), 6.0)
    (view,) = known.views
    assert (view.up, view.reason, view.name) == (True, "", "name-w1")


def test_the_address_that_a_worker_wants_goes_before_the_one_it_comes_from() -> None:
    known = linked("w1")
    known.report(said("w1", host="w1.lan"))
    assert known.addresses == (WorkerAddress("w1", "w1.lan", 8002),)


def test_a_worker_at_the_address_of_another_takes_its_place() -> None:
    known = linked("w1", "w2")
    known.report(said("w1"))
    known.report(said("w2"))
    assert known.addresses == (WorkerAddress("w2", "10.0.0.1", 8002),)


def test_lost_nodes_and_their_addresses_are_bounded_and_the_oldest_go() -> None:
    known = KnownNodes()
    for number in range(MAX_ADDRESSES + 10):
        node = f"w{number:05}"
        known.link_up(peer(node), number)
        known.report(said(node, port=number + 1))
        known.link_lost(peer(node), "gone", number)
    assert len(known.views) == MAX_LOST
    assert known.views[-1].id == f"w{MAX_ADDRESSES + 9:05}"
    assert len(known.addresses) == MAX_ADDRESSES
    assert known.addresses[0].node == "w00010"


def test_linked_workers_are_never_forgotten_however_many() -> None:
    known = KnownNodes()
    for number in range(MAX_ADDRESSES + 10):
        known.link_up(peer(f"w{number}"), number)
        known.report(said(f"w{number}", port=number + 1))
    assert len(known.addresses) == len(known.workers) == MAX_ADDRESSES + 10

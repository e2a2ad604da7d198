"""Which withdrawals are begun, and how long each is due."""

from __future__ import annotations

from tests.gateway.kit import replica

from sllm_actors.gateway.routing.give_back import GiveBacks
from sllm_actors.gateway.routing.route import Upstream


def leaving(number: int = 1, withdrawal: int = 1, node: str = "w1") -> Upstream:
    return Upstream(replica(number=number).id, node, "unix:/x", "machine", withdrawal)


def test_each_withdrawal_is_begun_once_and_due_until_it_is_over() -> None:
    give_backs = GiveBacks(lambda _: 1)
    ((first, upstream),) = give_backs.begin([leaving()])
    assert upstream == leaving()
    assert give_backs.begin([leaving()]) == []
    assert give_backs.is_due(first)
    ((second, _),) = give_backs.begin([leaving(withdrawal=2)])
    assert (give_backs.is_due(first), give_backs.is_due(second)) == (False, True)
    assert give_backs.begin([]) == []
    assert not give_backs.is_due(second)
    assert give_backs.begin([leaving(withdrawal=2)]) == [(second, leaving(withdrawal=2))], "it left again"


def test_one_replica_at_two_workers_is_given_back_to_both() -> None:
    begun = GiveBacks(lambda _: 1).begin([leaving(), leaving(node="w2")])
    assert [upstream.node for _, upstream in begun] == ["w1", "w2"]


def test_a_worker_that_may_have_forgotten_is_told_again() -> None:
    wholes = {"w1": 1, "w2": 1}
    give_backs = GiveBacks(wholes.__getitem__)
    ((first, _), _) = give_backs.begin([leaving(), leaving(2, node="w2")])
    wholes["w1"] = 2
    ((again, upstream),) = give_backs.begin([leaving(), leaving(2, node="w2")])
    assert upstream.node == "w1"
    assert (give_backs.is_due(first), give_backs.is_due(again)) == (False, True)

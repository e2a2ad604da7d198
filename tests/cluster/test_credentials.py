"""Who may use which node id, as the head decides it, and which role dials which."""

from __future__ import annotations

import pytest
from attrs import evolve

from sllm_actors.actors import Incarnation, NodeId
from sllm_actors.cluster import credentials
from sllm_actors.cluster.credentials import Binding, NodeCredentials
from sllm_actors.cluster.roles import may_dial
from sllm_actors.testing.node_keys import credential_of, key_of
from sllm_actors.transport import ACCEPT, NodeHello

MINE, OTHERS = key_of("w").public_key, key_of("thief").public_key
HELLO = NodeHello(
    NodeId("w"), "worker", Incarnation(1, 1), "control", "127.0.0.1", MINE, has_credential=False
)


def cluster(**bound: Binding) -> NodeCredentials:
    return NodeCredentials("c", key_of("head.key"), bound)


def test_who_comes_first_is_bound_and_another_key_is_refused_with_a_remedy() -> None:
    known = cluster()
    assert known.judge(HELLO) is ACCEPT
    assert known.judge(HELLO) is ACCEPT
    assert known.judge(evolve(HELLO, public_key=OTHERS)).refusal == (
        "this one has another key than the worker that joined as w: "
        'put its file "node.key" back beside node.json, or move node.json away to join as a new node; '
        "or if the other one is gone for good, forget it with: sllm node remove w"
    )


def test_a_binding_of_the_store_holds_and_fixes_the_role() -> None:
    known = cluster(w=("worker", MINE))
    assert known.judge(HELLO) is ACCEPT
    assert known.unstored("w") is None
    assert known.judge(evolve(HELLO, role="gateway")).refusal == (
        "w joined as a worker, and this one calls itself a gateway"
    )


def test_a_new_binding_is_to_be_stored_once() -> None:
    known = cluster()
    assert known.unstored("w") is None
    known.judge(HELLO)
    assert known.unstored("w") == ("worker", MINE)
    known.stored("w")
    assert known.unstored("w") is None


def test_an_id_that_is_forgotten_is_free_for_another_node_unless_its_own_is_linked() -> None:
    other = evolve(HELLO, public_key=OTHERS, role="gateway")
    known = cluster(w=("worker", MINE))
    assert "w" in known
    known.forget("w", linked=True)
    assert known.judge(other).refusal
    assert known.unstored("w") == ("worker", MINE)  # so it is stored again
    known.forget("w", linked=False)
    known.forget("w", linked=False)
    assert "w" not in known
    assert known.unstored("w") is None
    assert known.judge(other) is ACCEPT
    assert known.unstored("w") == ("gateway", OTHERS)
    assert known.judge(HELLO).refusal


def test_the_credential_of_a_bound_node_is_always_the_same() -> None:
    known = cluster(w=("worker", MINE))
    assert known.issue(NodeId("w")) == credential_of("c", "w", "worker") == known.issue(NodeId("w"))


def test_the_number_of_nodes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "MAX_NODES", 1)
    known = cluster(other=("worker", OTHERS))
    assert "it knows 1 nodes already" in known.judge(HELLO).refusal


@pytest.mark.parametrize("dialler", ["head", "worker", "gateway", "stranger"])
@pytest.mark.parametrize("acceptor", ["head", "worker", "gateway", "stranger"])
def test_workers_dial_the_head_and_gateways_dial_both(dialler: str, acceptor: str) -> None:
    allowed = {("worker", "head"), ("gateway", "head"), ("gateway", "worker")}
    assert may_dial(dialler, acceptor) is ((dialler, acceptor) in allowed)

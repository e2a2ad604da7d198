"""Where a new replica goes."""

from __future__ import annotations

from sllm_actors.serving.decisions.placement import Candidate, choose


def candidate(node: str, *, needs: int = 0, free: int = 0, same: int = 0, replicas: int = 0) -> Candidate:
    return Candidate(node, needs=needs, free_gpus=free, same=same, replicas=replicas)


def test_nobody_has_room() -> None:
    assert choose([]) is None
    assert choose([candidate("a", needs=2, free=1)]) is None


def test_copies_of_one_deployment_are_kept_apart() -> None:
    crowded = candidate("a", needs=1, free=1, replicas=9)
    twin = candidate("b", needs=1, free=1, same=1, replicas=1)
    assert choose([crowded, twin]) == "a"


def test_a_replica_goes_where_it_leaves_the_fewest_gpus_over() -> None:
    free = {"a": 8, "b": 2, "c": 1}
    assert choose([candidate(node, needs=2, free=free[node], replicas=3) for node in free]) == "b"


def test_a_replica_without_gpus_keeps_away_from_them() -> None:
    assert choose([candidate("a", free=4), candidate("b", replicas=5)]) == "b"


def test_a_worker_on_which_it_needs_fewer_gpus_has_room() -> None:
    assert choose([candidate("a", needs=1), candidate("b", needs=0)]) == "b"


def test_the_emptier_worker_and_then_the_lower_name_decide() -> None:
    assert choose([candidate("a", replicas=2), candidate("b", replicas=1)]) == "b"
    assert choose([candidate("b", replicas=1), candidate("a", replicas=1)]) == "a"

"""Where a new replica goes."""

from __future__ import annotations

from sllm_actors.serving.placement import Candidate, choose


def test_nobody_has_room() -> None:
    assert choose([], 0) is None
    assert choose([Candidate("a", free_gpus=1, same=0, replicas=0)], 2) is None


def test_copies_of_one_deployment_are_kept_apart() -> None:
    crowded = Candidate("a", free_gpus=1, same=0, replicas=9)
    twin = Candidate("b", free_gpus=1, same=1, replicas=1)
    assert choose([crowded, twin], 1) == "a"


def test_a_replica_goes_where_it_leaves_the_fewest_gpus_over() -> None:
    assert choose([Candidate("a", 8, 0, 0), Candidate("b", 2, 0, 3), Candidate("c", 1, 0, 0)], 2) == "b"


def test_a_replica_without_gpus_keeps_away_from_them() -> None:
    assert choose([Candidate("a", 4, 0, 0), Candidate("b", 0, 0, 5)], 0) == "b"


def test_the_emptier_worker_and_then_the_lower_name_decide() -> None:
    assert choose([Candidate("a", 0, 0, 2), Candidate("b", 0, 0, 1)], 0) == "b"
    assert choose([Candidate("b", 0, 0, 1), Candidate("a", 0, 0, 1)], 0) == "a"

"""What a gateway believes when messages come late, twice or in the wrong order, and what is on its disk."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.kit import replica, served

from sllm_actors.gateway.routing.knowledge import Knowledge
from sllm_actors.gateway.routing.snapshot_file import load_table, save_table
from sllm_actors.serving.messages import ReplicaStates, RoutingTable, WorkerAddress

TABLE = RoutingTable((3, 7), (served(created=5.0),), (WorkerAddress("worker-1", "10.0.0.1", 8002),))


def states(sequence: int, node: str = "worker-1", attempt: int = 1) -> ReplicaStates:
    return ReplicaStates(node, sequence, (replica(attempt=attempt),))


@given(st.permutations(range(5)))
def test_the_newest_table_and_states_win_in_any_order(order: list[int]) -> None:
    knowledge = Knowledge()
    for number in order:
        knowledge = knowledge.with_table(RoutingTable((1, number + 1)))
        knowledge = knowledge.with_states(states(number, attempt=number))
    assert knowledge.table.epoch == (1, 5)
    assert knowledge.states["worker-1"].sequence == 4


def test_an_older_head_is_not_believed_and_a_repetition_changes_nothing() -> None:
    knowledge = Knowledge().with_table(TABLE).with_states(states(5))
    assert knowledge.with_table(RoutingTable((2, 100))) is knowledge
    assert knowledge.with_table(TABLE) is knowledge
    assert knowledge.with_states(states(5)) is knowledge
    assert knowledge.without("worker-2") is knowledge


def test_a_worker_that_begins_anew_is_believed() -> None:
    knowledge = Knowledge().with_states(states(50)).with_new_life("worker-1")
    assert knowledge.replicas(), "what it ran stands until it speaks"
    assert knowledge.with_states(states(1, attempt=2)).states["worker-1"].sequence == 1
    assert Knowledge().with_new_life("worker-1") == Knowledge()


def test_replicas_of_several_workers_make_one_route_until_a_worker_is_lost() -> None:
    knowledge = Knowledge().with_table(TABLE).with_states(states(1))
    knowledge = knowledge.with_states(ReplicaStates("worker-2", 1, (replica(number=2),)))
    assert [each.node for each in knowledge.routes(patience=5)["smol:llamacpp"].ready] == [
        "worker-1",
        "worker-2",
    ]
    assert knowledge.node_of(replica(number=2).id.key) == "worker-2"
    left = knowledge.without("worker-2")
    assert [each.node for each in left.routes(patience=5)["smol:llamacpp"].ready] == ["worker-1"]
    assert left.node_of(replica(number=2).id.key) is None


def test_a_table_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "routing.json"
    assert load_table(path) is None
    save_table(path, RoutingTable((1, 1)))
    save_table(path, TABLE)
    assert load_table(path) == TABLE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["routing.json"]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "[" * 5000, '{"version": 2}', json.dumps({"version": 1, "table": {"epoch": 1}})],
)
def test_a_spoilt_file_is_put_aside(tmp_path: Path, content: str) -> None:
    path = tmp_path / "routing.json"
    path.write_text(content)
    assert load_table(path) is None
    assert [each.name for each in tmp_path.iterdir()] == ["routing.json.damaged"]


def test_a_disk_that_takes_nothing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "routing.json"
    with pytest.raises(OSError):
        save_table(path, TABLE)

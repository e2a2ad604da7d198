"""A node is named by its id or by its name, and a name that several have is no name."""

from __future__ import annotations

from sllm_actors.serving.find_node import SHOWN_IDS, find_node
from sllm_actors.serving.messages import Refusal, RefusalKind

NODES = {"id-a": "rack-1", "id-b": "rack-2", "id-c": "rack-2", "rack-1": "odd"}


def refused(nodes: dict[str, str], wanted: str) -> Refusal:
    found = find_node(nodes, wanted)
    assert isinstance(found, Refusal)
    return found


def test_an_id_goes_before_a_name() -> None:
    assert find_node(NODES, "id-b") == "id-b"
    assert find_node(NODES, "rack-1") == "rack-1"
    assert find_node({"id-a": "rack-1"}, "rack-1") == "id-a"


def test_a_name_of_several_nodes_is_refused_with_their_ids() -> None:
    said = refused(NODES, "rack-2")
    assert (said.kind, said.code) == (RefusalKind.CONFLICT, "node_ambiguous")
    assert said.message == "2 workers are called rack-2: name one by its id, of id-b, id-c"
    many = {f"id-{number}": "x" for number in range(SHOWN_IDS + 3)}
    assert refused(many, "x").message.endswith(" and 3 more")


def test_a_node_that_is_not_there_is_unknown() -> None:
    said = refused(NODES, "rack-9")
    assert (said.kind, said.code) == (RefusalKind.UNKNOWN, "node_not_found")
    assert "rack-9" in said.message

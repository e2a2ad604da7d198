"""``sllm node remove``: the head forgets a node, or says why it does not."""

from __future__ import annotations

import json

from .conftest import Sllm
from .server import PlayedGateway


def test_a_node_is_removed_and_what_the_head_says_is_told(sllm: Sllm, gateway: PlayedGateway) -> None:
    ended = sllm("node", "remove", "rack/1")
    assert (ended.code, ended.out) == (0, "rack/1 is removed\n")
    assert [request[:2] for request in gateway.requests] == [("DELETE", "/nodes/rack/1")]
    assert json.loads(sllm("node", "remove", "rack-1", "--json").out)["removed"] is True


def test_a_node_that_is_up_is_refused_in_the_words_of_the_head(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.refusal = (409, "rack-1 is up: stop it first", "node_up")
    ended = sllm("node", "remove", "rack-1")
    assert (ended.code, ended.err) == (1, "error: rack-1 is up: stop it first\n")

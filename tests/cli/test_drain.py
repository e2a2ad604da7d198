"""``sllm drain`` and ``undrain``: the exit status says whether what was asked for happened."""

from __future__ import annotations

import json

import pytest

from sllm_actors.cli import progress

from .conftest import Sllm
from .server import PlayedGateway


def test_draining_begins_and_says_how_many_replicas_are_left(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.left = [2]
    ended = sllm("drain", "rack/1")
    assert (ended.code, ended.out) == (0, "rack/1: drain, 2 left\n")
    assert [request[:2] for request in gateway.requests] == [("POST", "/nodes/rack/1/drain")]


def test_waiting_ends_when_no_replica_is_left(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.left = [2, 2, -1, 1, 0]
    ended = sllm("drain", "rack-1", "--wait")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "rack-1: drain, 2 left",
        "rack-1: drain, 1 left",
        "rack-1: drain, 0 left",
    ]


def test_waiting_has_an_end_and_draining_goes_on(
    sllm: Sllm, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.left = [1] * 1000
    ended = sllm("drain", "rack-1", "--wait", "--timeout", "0")
    sentence = "rack-1: drain, 1 left after 0 s: draining goes on"
    assert (ended.code, ended.err) == (1, f"error: {sentence}\n")
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.0)
    gateway.left = [1, -1, -1, -1]
    ended = sllm("drain", "rack-1", "--wait")
    assert (ended.code, ended.err) == (1, "error: come back later\n")


@pytest.mark.parametrize("command", ["undrain", "uncordon"])
def test_a_worker_is_put_back_under_either_name(sllm: Sllm, gateway: PlayedGateway, command: str) -> None:
    ended = sllm(command, "rack-1")
    assert (ended.code, ended.out) == (0, "rack-1: undrain, 0 left\n")
    assert gateway.requests[0][:2] == ("POST", "/nodes/rack-1/undrain")


def test_json_is_the_last_answer_and_nothing_else(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.left = [1, 0]
    assert json.loads(sllm("drain", "a", "--wait", "--json").out)["status"] == "drained"
    assert json.loads(sllm("undrain", "a", "--json").out)["status"] == "up"


@pytest.mark.parametrize("command", ["drain", "undrain"])
def test_what_the_head_refuses_is_an_error(sllm: Sllm, gateway: PlayedGateway, command: str) -> None:
    gateway.refusal = (409, "2 workers are called a: name one by its id, of x, y", "node_ambiguous")
    ended = sllm(command, "a")
    assert (ended.code, ended.err) == (
        1,
        "error: 2 workers are called a: name one by its id, of x, y\n",
    )

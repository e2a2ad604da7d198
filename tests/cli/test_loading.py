"""``sllm load``, ``unload``, ``sleep`` and ``wake``: what is sent, and what is waited for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Sllm
from .server import PlayedGateway, deployment

NAME = "m:llamacpp"


def is_(state: str, *instances: str, **more: Any) -> dict[str, Any]:
    """Return the deployment in a state; each instance is its number and its state."""
    shown = [
        {"id": f"{NAME}@1.{each.split()[0]}.1", "state": each.split()[1], "node_name": "w1"}
        for each in instances
    ]
    return deployment(NAME, state=state, instances=shown, **more)


@pytest.mark.parametrize(
    ("arguments", "body", "query"),
    [
        (("load",), None, ""),
        (("unload",), None, ""),
        (("unload", "--force"), None, "force=true"),
        (("sleep",), {"level": 1}, ""),
        (("sleep", "--level", "2"), {"level": 2}, ""),
        (("wake",), None, ""),
    ],
)
@pytest.mark.parametrize("typed", [("m",), (NAME,), ("m", "--backend", "llamacpp")])
def test_the_deployment_that_is_meant_is_asked_and_the_answer_is_told(
    sllm: Sllm, gateway: PlayedGateway, arguments: tuple[str, ...], body: Any, query: str, typed: Any
) -> None:
    gateway.add(is_("ready"))
    verb = arguments[0]
    ended = sllm(*arguments, *typed)
    assert (ended.code, ended.out) == (0, f"{NAME}: {verb} is under way\n")
    assert gateway.requests[-1] == ("POST", f"/deployments/{NAME}/{verb}", body)
    assert gateway.queries[-1] == query


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "states", "last"),
    [
        ("load", ["idle", "pending", "asleep", "starting", "ready"], "Loaded"),
        ("load", ["idle", "starting", "idle"], "Loaded"),  # and its keep-alive was over at once
        ("sleep", ["ready", "ready", "ready", "asleep"], "Asleep"),
        ("wake", ["asleep", "asleep", "ready"], "Awake"),
    ],
)
def test_waiting_ends_when_it_is_so(
    sllm: Sllm, gateway: PlayedGateway, verb: str, states: list[str], last: str
) -> None:
    gateway.add(*(is_(each) for each in states))
    ended = sllm(verb, "m", "--wait")
    assert (ended.code, ended.out.splitlines()[-1]) == (0, f"{last}: {NAME}")
    assert len(gateway.deployments[NAME]) == 1


def test_unloading_is_over_when_the_replicas_of_before_are_gone_whatever_came_since(
    sllm: Sllm, gateway: PlayedGateway
) -> None:
    gateway.add(
        is_("ready", "1 ready"),
        is_("ready", "1 draining", desired_replicas=0),
        is_("starting", "2 starting"),
    )
    ended = sllm("unload", "m", "--wait")
    assert (ended.code, ended.out.splitlines()[-1]) == (0, f"Unloaded: {NAME}")


def test_what_gets_requests_instead_of_being_unloaded_is_a_failure(
    sllm: Sllm, gateway: PlayedGateway
) -> None:
    gateway.add(is_("ready", "1 ready"), is_("ready", "1 ready", desired_replicas=1))
    ended = sllm("unload", "m", "--wait")
    sentence = f"{NAME} has requests again, and stays loaded: unload it with --force, or later"
    assert (ended.code, ended.err) == (1, f"error: {sentence}\n")


def test_a_load_that_fails_says_why(sllm: Sllm, gateway: PlayedGateway) -> None:
    failed = is_("failed")
    failed["instances"] = [{"id": f"{NAME}@1.1.1", "state": "failed", "reason": "no such model"}]
    gateway.add(is_("idle"), failed)
    ended = sllm("load", "m", "--wait")
    assert (ended.code, ended.err) == (1, f"error: {NAME} failed: no such model\n")


def test_waiting_has_an_end(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.add(is_("asleep"))
    ended = sllm("wake", "m", "--wait", "--timeout", "0")
    assert ended.code == 1
    assert ended.err.startswith(f"error: {NAME} is not awake after 0 s: ")


def test_json_is_the_answer_and_nothing_else(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.add(is_("asleep"), is_("ready"))
    ended = sllm("wake", "m", "--wait", "--json")
    assert json.loads(ended.out)["deployment_id"] == NAME


@pytest.mark.parametrize("verb", ["load", "unload", "sleep", "wake"])
def test_what_is_unknown_ambiguous_or_refused_is_one_sentence(
    sllm: Sllm, gateway: PlayedGateway, verb: str
) -> None:
    assert sllm(verb, "m").err == "error: no deployment m: sllm status lists what is there\n"
    gateway.add(deployment("m:vllm"), is_("ready"))
    said = sllm(verb, "m")
    assert (said.code, said.err) == (1, f"error: m is deployed more than once: name one of {NAME}, m:vllm\n")
    gateway.refusal, gateway.refused = (409, f"{NAME} has 2 requests", "busy"), ("POST",)
    said = sllm(verb, "m", "--backend", "llamacpp")
    assert (said.code, said.err) == (1, f"error: {NAME} has 2 requests\n")

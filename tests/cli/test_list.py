"""``sllm ls`` and ``sllm ps``."""

from __future__ import annotations

import json
from typing import Any

from .conftest import Sllm
from .server import PlayedGateway, deployment


def instance(number: int, state: str) -> dict[str, Any]:
    return {"id": f"a:vllm@1.{number}.1", "node": "n1", "node_name": "big", "state": state, "pid": number}


def test_ls_lists_deployments_as_status_does(sllm: Sllm, gateway: PlayedGateway) -> None:
    assert "Nothing is deployed" in sllm("ls").out
    assert sllm("ls", "-q").out == ""
    gateway.add(deployment("b:vllm"), deployment("a:vllm", state="failed"))
    assert sllm("ls").out == sllm("status").out
    assert sllm("ls", "-q").out == "a:vllm\nb:vllm\n"
    assert [each["id"] for each in json.loads(sllm("ls", "--json").out)] == ["b:vllm", "a:vllm"]


def test_ps_lists_what_runs(sllm: Sllm, gateway: PlayedGateway) -> None:
    assert "No instance runs now" in sllm("ps").out
    assert sllm("ps", "-q").out == ""
    states = ("ready", "starting", "failed", "crash_loop", "pending", "asleep", "draining")
    gateway.add(deployment("a:vllm", instances=[instance(n, state) for n, state in enumerate(states)]))
    running = ["a:vllm@1.0.1", "a:vllm@1.1.1", "a:vllm@1.5.1", "a:vllm@1.6.1"]
    header, *lines = sllm("ps").out.splitlines()
    assert header.split() == ["INSTANCE", "STATUS", "AGE", "FAILURES", "NODE", "PID", "DETAIL"]
    assert [line.split()[0] for line in lines] == running
    assert lines[1].split() == ["a:vllm@1.1.1", "starting", "-", "0", "big", "1", "-"]
    assert sllm("ps", "-q").out.splitlines() == running
    assert [each["id"] for each in json.loads(sllm("ps", "--json").out)] == running
    assert len(sllm("ps", "-aq").out.splitlines()) == len(states)


def test_what_answers_but_is_no_gateway_is_no_crash(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.deployments["a:vllm"] = [{"model": "no id"}]
    for command in ("ls", "ps"):
        ended = sllm(command)
        assert (ended.code, "not a StatusDocument" in ended.err) == (1, True)

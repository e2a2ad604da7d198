"""``sllm status``: what a person sees, what a script gets."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

import pytest

from sllm_actors.cli import listing

from .conftest import Sllm
from .server import PlayedGateway, deployment

INSTANCE = {
    "id": "opt-r1-0-2",
    "node": "worker-0",
    "state": "failed",
    "reason": "killed",
    "exit_status": "signal 9",
    "log_tail": ["\x1b[31mlast words\x07"],
    "pid": 7,
}


def test_deployments_are_listed_one_per_line_however_long(sllm: Sllm, gateway: PlayedGateway) -> None:
    detail = "loading weights on worker-0, " + 300 * "x" + " [bold]not markup[/bold]"
    gateway.add(deployment("b:vllm", state="starting", detail=detail, spec={}))
    gateway.add(deployment("a:llamacpp"))
    ended = sllm("status")
    assert ended.code == 0
    header, first, second = ended.out.splitlines()
    assert header.split() == ["DEPLOYMENT", "STATUS", "REPLICAS", "AGE", "WHERE", "DETAIL"]
    assert first.split() == ["a:llamacpp", "ready", "1/1", "-", "-", "-"]
    assert second.split()[:3] == ["b:vllm", "starting", "0/1"]
    assert second.endswith(detail)
    assert not header.endswith(" ")


def test_nothing_deployed_says_what_to_do(sllm: Sllm) -> None:
    assert "sllm deploy " in sllm("status").out


def test_one_deployment_is_shown_with_its_instances(sllm: Sllm, gateway: PlayedGateway) -> None:
    spec = {"model": "a/b", "backend": "vllm", "num_gpus": 2, "auto_scaling_config": {"target": 4}}
    gateway.add(
        deployment(
            "a/b:vllm", state="failed", detail="its engine was killed", spec=spec, instances=[INSTANCE]
        )
    )
    for name in ("a/b:vllm", "a/b"):
        ended = sllm("status", name)
        assert ended.code == 0
        for shown in ("its engine was killed", "num_gpus", '{"target": 4}', "killed (signal 9)"):
            assert shown in ended.out
        assert "  last words\n" in ended.out
        assert "\x1b" not in ended.out


@pytest.mark.slow
def test_a_deployment_shows_how_much_is_wanted_of_it(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.add(deployment("a:vllm"))
    gateway.add(deployment("b:vllm", held=3, in_flight=20, gateways=1))
    gateway.add(deployment("d:vllm", held=3, gateways=1, expected_wait=11.2))
    gateway.add(deployment("c:vllm", in_flight=1, gateways=2))
    gateway.add(deployment("e:vllm", held=1, gateways=1, held_since=time.time() - 3.5 * 3600))

    def requests(name: str) -> str:
        (line,) = [line for line in sllm("status", name).out.splitlines() if line.startswith("requests")]
        return line.removeprefix("requests").strip()

    assert requests("a:vllm") == "none"
    assert requests("b:vllm") == "20 in flight, 3 held, at 1 gateway"
    assert requests("d:vllm") == "0 in flight, 3 held for about 12 s more, at 1 gateway"
    assert requests("c:vllm") == "1 in flight, 0 held, at 2 gateways"
    assert requests("e:vllm") == "0 in flight, 1 held (some for 3h), at 1 gateway"


def test_a_deployment_shows_by_how_much_memory_it_is_placed(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.add(deployment("a:vllm", memory=3_000_000_000, memory_by="files"))
    gateway.add(deployment("b:vllm"))
    assert "3.0 GB for each replica (the size of its files)\n" in sllm("status", "a").out
    assert "memory" not in sllm("status", "b").out


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        (
            {"gpu_memory": 6_000_000_000, "gpu_memory_by": "estimated", "gpu_memory_of": "4 + 2"},
            "6.0 GB of each GPU for each replica (estimated: 4 + 2)\n",
        ),
        (
            {"gpu_memory": 6_000_000_000, "gpu_memory_by": "declared"},
            "6.0 GB of each GPU for each replica (declared)\n",
        ),
        (
            {"gpu_memory_by": "unknown"},
            "whole GPUs for each replica (auto, and no worker has seen the model's files yet)\n",
        ),
    ],
)
def test_a_deployment_shows_how_much_of_a_gpu_a_replica_takes(
    sllm: Sllm, gateway: PlayedGateway, fields: dict[str, Any], shown: str
) -> None:
    gateway.add(deployment("a:vllm", spec={"gpu_memory": "auto"}, **fields))
    assert shown in sllm("status", "a").out


def test_a_deployment_shows_how_long_it_is_idle_and_what_was_decided_last(
    sllm: Sllm, gateway: PlayedGateway
) -> None:
    now = time.time()
    event = {
        "number": 7,
        "at": 1.0,
        "kind": "deployment.scaled",
        "subject": "a:vllm",
        "sentence": "from 0 to 1",
    }
    gateway.add(deployment("a:vllm", idle_since=now - 300, keep_alive_left=54.3, events=[event]))
    gateway.add(deployment("b:vllm", idle_since=now - 300, asleep_replicas=1))
    lines = sllm("status", "a:vllm").out.splitlines()
    idle = [line.removeprefix("idle").strip() for line in lines if line.startswith("idle")]
    assert idle == ["no request for 5m; without one its replicas go in 55 s"]
    assert lines[-2] == "What was decided last:"
    assert lines[-1].split()[2:] == ["deployment.scaled", "a:vllm", "from", "0", "to", "1"]
    asleep = [line.strip().split(maxsplit=1) for line in sllm("status", "b:vllm").out.splitlines()]
    assert ["replicas", "1/1, 1 asleep"] in asleep
    assert ["idle", "no request for 5m"] in asleep


def test_an_instance_that_fails_over_and_over_is_shown_with_its_failures(
    sllm: Sllm, gateway: PlayedGateway
) -> None:
    looping = INSTANCE | {"state": "crash_loop", "failures": 4}
    detail = "1 of its replicas fails over and over"
    gateway.add(deployment("a:vllm", detail=detail, instances=[looping]))
    assert detail in sllm("status").out
    lines = [line.split() for line in sllm("status", "a:vllm").out.splitlines()]
    assert ["INSTANCE", "STATUS", "AGE", "FAILURES", "NODE", "PID", "DETAIL"] in lines
    assert ["opt-r1-0-2", "crash_loop", "-", "4", "worker-0", "7", "killed", "(signal", "9)"] in lines


def test_ages_names_of_nodes_and_endpoints_are_shown(sllm: Sllm, gateway: PlayedGateway) -> None:
    hour, day = time.time() - 3 * 3600, time.time() - 3 * 86400
    here = {"id": "a:external@1.0.1", "node": "n-1f", "node_name": "big", "endpoint": "http://***@a:1"}
    ready = here | {"state": "ready", "since": hour, "pid": 0, "address": "http://***@a:1"}
    gateway.add(deployment("a:external", created=day, instances=[ready]))
    gateway.nodes = [{"id": "n-1f", "name": "big", "role": "worker", "state": "up", "since": hour}]
    assert sllm("status").out.splitlines()[1].split() == ["a:external", "ready", "1/1", "3d", "big", "-"]
    lines = [line.split() for line in sllm("status", "a").out.splitlines()]
    assert lines[-2:] == [
        ["INSTANCE", "STATUS", "AGE", "FAILURES", "NODE", "PID", "ENDPOINT", "DETAIL"],
        ["a:external@1.0.1", "ready", "3h", "0", "big", "-", "http://***@a:1", "-"],
    ]
    assert sllm("status", "--nodes").out.splitlines()[1].split()[:4] == ["big", "worker", "up", "3h"]


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("status", ""),
        ("status", " "),
        *(
            (command, name)
            for command in ("status", "logs", "delete")
            for name in (".", "..", "a/..", "a b", "a\nb", "a%2Fb", "ä/ß", "?x#y", "a:..", "\udcff")
        ),
    ],
)
def test_an_odd_name_is_unknown_in_one_sentence(sllm: Sllm, command: str, name: str) -> None:
    ended = sllm(command, name)
    what = "instance" if command == "logs" else "deployment"
    shown = name.replace("\udcff", "\ufffd") if name.split() == [name] else repr(name)
    assert ended.code == 1
    assert ended.err.startswith(f"error: no {what} {shown}: sllm ")
    assert ended.err.count("\n") == 1


def test_an_unknown_deployment_is_an_error(sllm: Sllm) -> None:
    ended = sllm("status", "gone")
    assert (ended.code, ended.err) == (1, "error: no deployment gone: sllm status lists what is there\n")


def test_nodes_are_listed(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.nodes = [
        {
            "id": "n1",
            "name": "big",
            "role": "worker",
            "host": "10.0.0.2",
            "state": "up",
            "incarnation": "3.00",
            "gpus_total": 8,
            "gpus_free": 6,
            "cpus": 64,
            "memory_total": 512 * 2**30,
            "memory_free": 100 * 2**30,
            "labels": {"zone": "a"},
            "fork_servers": [{"backend": "vllm", "state": "ready", "memory": 2**29}],
        },
        {"id": "n2", "role": "gateway", "state": "down"},
        {
            "id": "n3",
            "role": "worker",
            "state": "up",
            "gpus_total": 2,
            "gpus_free": 1,
            "gpus_stuck": 1,
            "refused": {"broken": 3, "secret": 20},
            "unreached_by": [
                {"gateway": "gateway-0@rack", "address": "[fd00::3]:8002", "reason": "[fd00::3]:8002 is away"}
            ],
        },
    ]
    _, gateway_line, worker_line, stuck_line = sllm("status", "--nodes").out.splitlines()
    assert gateway_line.split() == ["n2", "gateway", "down", "-", "-", "-", "-", "-", "-", "-", "-"]
    assert worker_line.split() == [
        "big",
        "worker",
        "up",
        "-",
        "10.0.0.2",
        "6/8",
        "64",
        "100.0/512.0",
        "GiB",
        "vllm",
        "0.5",
        "GiB",
        "zone=a",
        "-",
    ]
    assert "1/2 (1 stuck)" in stuck_line
    assert "gateway-0@rack has no link to it: [fd00::3]:8002 is away" in stuck_line
    assert stuck_line.endswith("it has refused secret (20), broken (3)")


def test_why_there_is_no_fork_server_is_told_beside_the_node(sllm: Sllm, gateway: PlayedGateway) -> None:
    reason = "the Python for vLLM, /no/such/python, cannot be started: No such file or directory"
    gateway.nodes = [
        {
            "id": "n1",
            "name": "big",
            "role": "worker",
            "fork_servers": [{"backend": "vllm", "state": "failed", "reason": reason}],
        },
    ]
    _, line = sllm("status", "--nodes").out.splitlines()
    assert "vllm failed" in line
    assert line.rstrip().endswith(f"vllm has no fork server: {reason}")


def test_models_on_the_disks_are_listed(sllm: Sllm, gateway: PlayedGateway) -> None:
    assert "No machine has brought a model" in sllm("status", "--models").out
    noon = datetime(2026, 3, 4, 12, 5).astimezone()
    gateway.nodes = [
        {
            "id": "n1",
            "name": "big",
            "models": [
                {"source": "hf:org/name@main", "size": 269_000_000, "last_used": noon.timestamp()},
                {"source": "demo:smollm2-135m", "size": 1000},
            ],
        },
        {"id": "n2", "name": "gateway"},
    ]
    _, used, unused = sllm("status", "--models").out.splitlines()
    assert used.split() == ["hf:org/name@main", "big", "269", "MB", "2026-03-04", "12:05"]
    assert unused.split() == ["demo:smollm2-135m", "big", "1.0", "kB", "never"]


def test_json_is_what_the_gateway_said(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.add(deployment("a:vllm", unknown_field=[1]))
    assert json.loads(sllm("status", "--json").out)["deployments"][0]["unknown_field"] == [1]
    assert json.loads(sllm("status", "a:vllm", "--json").out)["id"] == "a:vllm"


@pytest.mark.parametrize("asked", [("a", "--nodes"), ("a", "--models"), ("--nodes", "--models")])
def test_only_one_thing_is_shown_at_a_time(sllm: Sllm, asked: tuple[str, ...]) -> None:
    ended = sllm("status", *asked)
    assert ended.code == 2
    assert "ask for one deployment, for the nodes, or for the models" in ended.err


@pytest.mark.slow
def test_all_pages_are_shown_as_one(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.page = 2
    gateway.add(*(deployment(f"m{number}:vllm", model="m", extra=number) for number in range(5)))
    gateway.nodes = [{"id": f"n{number}", "role": "worker"} for number in range(3)]
    assert len(sllm("status").out.splitlines()) == 6
    assert len(sllm("ls", "-q").out.splitlines()) == 5
    assert len(sllm("status", "--nodes").out.splitlines()) == 4
    document = json.loads(sllm("status", "--json").out)
    assert [each["extra"] for each in document["deployments"]] == [0, 1, 2, 3, 4]
    assert document["nodes"] == gateway.nodes
    assert document["next"] is None


@pytest.mark.slow
def test_no_more_entries_are_shown_than_are_wanted(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.add(*(deployment(f"m{number}:vllm") for number in range(5)))
    for page in (1, 2, 1000):
        gateway.page = page
        assert len(sllm("status", "--limit", "3").out.splitlines()) == 4
        document = json.loads(sllm("status", "--limit", "3", "--json").out)
        assert (len(document["deployments"]), document["next"]) == (3, "3")


def test_deployments_and_nodes_can_be_chosen_by_their_state(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.add(deployment("a:vllm", state="failed"), deployment("b:vllm"))
    gateway.nodes = [
        {"id": "n1", "role": "worker", "state": "up"},
        {"id": "n2", "role": "worker", "state": "down", "reason": "it is silent"},
    ]
    _, failed = sllm("status", "--state", "failed").out.splitlines()
    assert failed.split()[0] == "a:vllm"
    assert sllm("status", "--state", "asleep").out == "No deployment is so. sllm status lists all.\n"
    _, line = sllm("status", "--nodes", "--state", "down").out.splitlines()
    assert line.split()[:3] == ["n2", "worker", "down"]
    assert line.rstrip().endswith("it is silent")


def test_a_list_that_never_ends_is_given_up(
    sllm: Sllm, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST_PAGES", 3)
    gateway.page = 1
    gateway.add(*(deployment(f"m{number}:vllm") for number in range(5)))
    ended = sllm("status")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "error: the list at /deployments has no end: is it an sllm gateway?\n"


def test_a_worker_that_is_drained_says_what_is_left_on_it(sllm: Sllm, gateway: PlayedGateway) -> None:
    node = {"role": "worker", "state": "up", "draining": True}
    gateway.nodes = [node | {"id": f"n{left}", "replicas": left} for left in (0, 1, 2)]
    _, *lines = sllm("status", "--nodes").out.splitlines()
    assert all(line.split()[2] == "draining" for line in lines)
    assert [line.rstrip().rpartition(" it is ")[2] for line in lines] == [
        "drained",
        "being drained, with 1 replica left",
        "being drained, with 2 replicas left",
    ]


def test_an_instance_on_a_worker_that_is_not_linked_may_be_old_news(
    sllm: Sllm, gateway: PlayedGateway
) -> None:
    lost = {"id": "a:vllm@1.0.1", "node": "w1", "state": "ready", "node_state": "suspect"}
    gateway.add(deployment("a:vllm", instances=[lost]))
    assert "its worker is suspect: this may be old" in sllm("status", "a").out

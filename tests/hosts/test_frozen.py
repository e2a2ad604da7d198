"""Machines, workers and engines that stand still, and go on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.e2e.cluster import DEMO, eventually

from .bed import Bed
from .engines import engines_of
from .network import needs_hosts
from .scenario import CLOSED, SILENT, scenario

pytestmark = [pytest.mark.allow_blocking, needs_hosts]


def test_an_engine_that_stands_still_is_killed_and_what_it_had_is_asked_again(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    frozen = min(bed.engines())
    with scenario(request, bed) as fault:
        fault.now()
        os.kill(frozen, signal.SIGSTOP)
        fault.is_seen_by(lambda: not Path(f"/proc/{frozen}").exists())
        fault.served()
        assert frozen not in bed.engines()
    fault.only_streams_broke()


def test_a_machine_that_stands_still_is_replaced_and_one_too_many_ends_when_it_goes_on(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    name = min(bed.replicas())
    with scenario(request, bed) as fault:
        fault.now()
        bed.host(name).freeze()
        fault.lost(name)
        eventually(lambda: set(bed.replicas()) == {"w1", "w2", "w3"} - {name}, what="it is replaced")
        bed.wait_ready()
        bed.host(name).thaw()
        bed.wait_up(name)
    fault.only_streams_broke()
    fault.missed_within(SILENT)


def test_a_model_that_was_deleted_meanwhile_ends_when_its_machine_goes_on(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    described = bed.deploy({"model": "other", "auto_scaling_config": {"min_instances": 1}})
    (name,) = {each["node_name"] for each in described["instances"]}
    with scenario(request, bed) as fault:
        fault.now()
        bed.host(name).freeze()
        fault.seen("node.lost", name)
        assert bed.http().delete("/deployments/other:llamacpp").is_success
        bed.host(name).thaw()
        eventually(lambda: not engines_of(bed.network)[name], what="its engine has ended")
        eventually(lambda: not bed.describe(model="other"), what="it is forgotten")
    fault.nothing_failed()
    fault.missed_within(SILENT)


def test_a_head_that_stood_still_takes_nobody_for_dead(bed: Bed, request: pytest.FixtureRequest) -> None:
    before = bed.engines()
    with scenario(request, bed) as fault:
        fault.now()
        bed.host("head").freeze()
        fault.is_seen_by(lambda: not bed.status())
        bed.host("head").thaw()
        bed.wait_whole()
        fault.clients.wait_for_answers()
    fault.nothing_failed()
    assert bed.engines() == before


def test_a_machine_that_loses_its_power_is_missed_at_once_where_connections_are_closed(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    name = min(bed.replicas())
    with scenario(request, bed) as fault:
        fault.at = bed.kill(name)
        fault.lost(name)
        eventually(lambda: set(bed.replicas()) == {"w1", "w2", "w3"} - {name}, what="it is replaced")
        bed.wait_ready()
        bed.start(name)
        bed.wait_whole()
    fault.only_streams_broke()
    fault.missed_within(CLOSED)


def test_a_worker_that_is_killed_is_started_again_by_its_launcher(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    name = min(bed.replicas())
    before = bed.engines()
    with scenario(request, bed) as fault:
        node = bed.node_process(name)
        fault.now()
        os.kill(node, signal.SIGKILL)
        fault.lost(name)
        eventually(lambda: len(bed.engines() - before) == 1, what="its engine runs again")
        bed.wait_whole()
        assert name in bed.replicas()
        assert bed.describe()["model"] == DEMO
    fault.only_streams_broke()
    fault.missed_within(CLOSED)


def test_a_worker_that_is_stopped_lets_its_requests_end_and_nobody_notices(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    name = min(bed.replicas())
    with scenario(request, bed) as fault:
        fault.now()
        bed.stop(name)
        fault.lost(name)
        bed.start(name)
        bed.wait_whole()
    fault.only_streams_broke()

"""Two gateways on machines of their own: one is lost, and every node of the cluster is started anew."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.e2e.open_stream import OpenStream

from .bed import Bed, bed_of
from .network import needs_hosts
from .scenario import CLOSED, SILENT, scenario

pytestmark = [pytest.mark.allow_blocking, needs_hosts]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with bed_of(tmp_path_factory.mktemp("hosts"), "head", "w1", "w2", "g1", "g2", gpus=2) as bed:
        bed.deploy()
        yield bed


def test_clients_of_a_gateway_that_is_lost_go_on_with_the_other_one(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    before = bed.engines()
    with scenario(request, bed) as fault:
        fault.now()
        bed.kill("g2")
        dead = time.time()
        fault.clients.wait_for_answers()
        bed.start("g2")
        fault.clients.wait_for_answers()
    lost = fault.failed()
    assert all(each.gateway == bed.url("g2") and each.began < dead for each in lost), lost
    assert bed.engines() == before


@pytest.mark.parametrize("how", ["cut off", "killed"])
def test_streams_from_a_worker_that_is_lost_end_with_an_error_through_either_gateway(
    bed: Bed, request: pytest.FixtureRequest, how: str
) -> None:
    one = {"auto_scaling_config": {"min_instances": 1, "max_instances": 1}}
    described = bed.deploy({"model": "long", "backend_config": {"n_ctx": 8192}, **one})
    (name,) = {each["node_name"] for each in described["instances"]}
    headers = {"Authorization": f"Bearer {bed.key}"}
    with scenario(request, bed) as fault:
        streams = [
            OpenStream(bed.url(gateway), "long", max_tokens=8000, headers=headers, ignore_eos=True)
            for gateway in ("g1", "g2")
        ]
        fault.now()
        if how == "cut off":
            bed.network.cut([bed.host(name)], bed.others(name))
        else:
            fault.at = bed.kill(name)
        errors = [stream.error() for stream in streams]
        fault.detect_s = time.time() - fault.at
        assert {error["code"] for error in errors} == {"engine_broke"}
        fault.served()
        bed.network.heal()
        bed.wait_whole()
        bed.delete("long")
    fault.only_streams_broke()
    fault.missed_within(SILENT if how == "cut off" else CLOSED)


def test_every_node_is_started_anew_and_no_request_fails(bed: Bed, request: pytest.FixtureRequest) -> None:
    with scenario(request, bed) as fault:
        for name in ("g1", "g2", "head"):
            bed.stop(name)
            bed.start(name)
            bed.wait_whole()
            fault.clients.wait_for_answers()
        for name in ("w1", "w2"):
            bed.sllm("drain", name, "--wait")
            bed.stop(name)
            bed.start(name)
            bed.sllm("undrain", name)
            bed.wait_whole()
            fault.clients.wait_for_answers()
    fault.nothing_failed()

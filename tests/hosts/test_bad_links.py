"""A worker whose link to the gateways is slow, far, reset again and again, or silent while it stands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .bed import Bed, bed_of
from .network import needs_hosts
from .proxy import Proxy, proxy_on
from .scenario import scenario

pytestmark = [pytest.mark.allow_blocking, needs_hosts]

WORKER_PORT = 8002


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bed, Proxy]]:
    """A cluster whose worker ``w1`` tells the gateways to come through a proxy on a host of its own."""
    folder = tmp_path_factory.mktemp("hosts")
    with bed_of(folder, "head", "w1", "w2", "g1", "proxy", starts=False) as bed:
        proxy_host, w1 = bed.host("proxy"), bed.host("w1")
        bed.options["w1"] = ("--advertise", proxy_host.address)
        with proxy_on(proxy_host.prefix, w1.address, WORKER_PORT) as proxy:
            for name in ("head", "w1", "w2", "g1"):
                bed.start(name)
            bed.deploy()
            yield bed, proxy


@pytest.fixture
def bed(through: tuple[Bed, Proxy]) -> Bed:
    through[0].wait_whole()
    return through[0]


@pytest.fixture
def proxy(through: tuple[Bed, Proxy]) -> Proxy:
    return through[1]


def losses(bed: Bed, since: float) -> list[str]:
    """Return what the journal says of nodes that were missed since a moment."""
    question = {"kind": "node.lost", "after": str(int(since * 1e6))}
    return [each["sentence"] for each in bed.http().get("/events", params=question).json()["events"]]


def test_a_slow_link_delays_answers_and_nobody_is_taken_for_dead(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    before = bed.engines()
    with scenario(request, bed) as fault:
        fault.now()
        bed.network.slow(bed.host("w1"), "256kbit")
        try:
            fault.clients.wait_for_answers(8)
        finally:
            bed.network.quick(bed.host("w1"))
    fault.nothing_failed()
    assert not losses(bed, fault.at)
    assert bed.engines() == before


def test_a_worker_that_is_far_away_serves_all_the_same(
    bed: Bed, proxy: Proxy, request: pytest.FixtureRequest
) -> None:
    with scenario(request, bed) as fault:
        fault.now()
        proxy.tell("delay", 0.15)
        fault.clients.wait_for_answers(8)
        proxy.tell("delay", 0)
    fault.nothing_failed()
    assert not losses(bed, fault.at)


def test_requests_on_connections_that_are_reset_are_asked_again(
    bed: Bed, proxy: Proxy, request: pytest.FixtureRequest
) -> None:
    before = bed.engines()
    with scenario(request, bed) as fault:
        for _ in range(5):
            fault.now()
            proxy.tell("reset")
            fault.clients.wait_for_answers(1)
    assert not fault.failed(streamed=False), fault.failed(streamed=False)[:3]
    assert bed.engines() == before


def test_a_connection_that_has_gone_silent_is_given_up_and_made_anew(
    bed: Bed, proxy: Proxy, request: pytest.FixtureRequest
) -> None:
    before = bed.engines()
    with scenario(request, bed) as fault:
        fault.now()
        proxy.tell("stall")
        fault.clients.wait_for_one_that_waits(1.0)
        proxy.tell("flow")
        fault.served()
    fault.only_streams_broke()
    assert bed.engines() == before

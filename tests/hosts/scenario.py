"""One scenario: clients ask all the time, something breaks, and what that did to them is measured."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import pytest
from attrs import define, field
from tests.e2e.cluster import eventually

from .bed import Bed
from .clients import Clients, Outcome
from .engines import engines_of
from .gpu_watch import GpuWatch
from .host import DATA

ROW = "row of the report"

SLACK = float(os.environ.get("SLLM_HOSTS_SLACK") or 4)
"""By how much a bound in seconds may be exceeded, as the machine has other things to do. 1 on a quiet one."""

CLOSED = 1.0
"""Seconds within which the head misses a worker whose connections were closed, and gateways go elsewhere."""

SILENT = 5.0
"""The same, of one that has gone silent."""


@define
class Fault:
    """What happened, and when.

    Attributes:
        bed: The cluster.
        clients: Who asks meanwhile.
        at: When it broke, in seconds as ``time.time()`` tells them.
        detect_s: Seconds until the head said so; None where nothing is to be said.
        reroute_s: Seconds until a gateway sent requests elsewhere; None where that was not looked at.
    """

    bed: Bed
    clients: Clients
    at: float = 0.0
    detect_s: float | None = None
    reroute_s: float | None = None
    _ended: float = field(default=0.0, init=False)

    def now(self) -> None:
        """Note that it breaks with the next statement."""
        self.at = time.time()

    def seen(self, kind: str, node: str) -> None:
        """Wait until the journal has an entry of this kind on a node; that is the fault's detection.

        Of a worker, ``node.lost`` says that it is *suspect*: no replica is placed there, and what waits for
        requests that reach none there is placed elsewhere.
        """
        question = {"kind": kind, "subject": node, "after": str(int(self.at * 1e6))}

        def entry() -> dict[str, Any] | None:
            return next(iter(self.bed.http().get("/events", params=question).json()["events"]), None)

        self.detect_s = eventually(entry, what=f"{kind} of {node}")["at"] - self.at

    def rerouted(self, node: str, gateway: str = "g1") -> None:
        """Wait until a gateway doubts a worker or has lost it, and sends requests elsewhere.

        It is read from the log of the gateway, which has its own clock's times.
        """
        worker = json.loads(self.bed.host(node).path(f"{DATA}/worker/node.json").read_text())["node"]
        log = self.bed.host(gateway).path(f"{DATA}/gateway-0/node.log")

        def entry() -> float | None:
            for line in log.read_text().splitlines():
                told = json.loads(line) if '"peer.lost"' in line or '"peer.doubted"' in line else {}
                if told.get("peer") == worker:
                    at = datetime.fromisoformat(told["timestamp"]).timestamp()
                    if at > self.at:
                        return at
            return None

        self.reroute_s = eventually(entry, what=f"{gateway} has lost {node}") - self.at

    def lost(self, node: str) -> None:
        """Wait until the head and a gateway have missed a worker, and who waited for it has an answer."""
        self.seen("node.lost", node)
        self.rerouted(node)
        self.served()

    def is_seen_by(self, probe: Callable[[], object]) -> None:
        """Wait until something is so; that is its detection."""
        eventually(probe, what="the fault is seen")
        self.detect_s = time.time() - self.at

    def served(self) -> None:
        """Wait until nobody waits any more who asked before the fault was detected, and all have answers."""
        until = self._missed()
        eventually(lambda: not self.clients.waiting_since(until), what="what the fault has caught has ended")
        self.clients.wait_for_answers()

    def recover_s(self) -> float:
        """Return the seconds until all requests had ended that the fault caught: those under way before its
        detection."""
        until = self._missed()
        caught = [each for each in self.clients.outcomes if each.began <= until and each.ended > self.at]
        return max((each.ended for each in caught), default=self.at) - self.at

    def _missed(self) -> float:
        """Return when all had noticed it."""
        return self.at + max(self.detect_s or 0.0, self.reroute_s or 0.0)

    def failed(self, *, streamed: bool | None = None) -> list[Outcome]:
        """Return the requests without a whole answer."""
        bad = [each for each in self.clients.outcomes if each.problem]
        return [each for each in bad if streamed is None or each.streamed is streamed]

    def only_streams_broke(self) -> None:
        """Assert that no unstreamed request failed, and of the others only those under way by then."""
        assert not self.failed(streamed=False), self.failed(streamed=False)[:3]
        until = self._missed()
        late = [each for each in self.failed(streamed=True) if not self.at - 60 < each.began < until]
        assert not late, late[:3]

    def nothing_failed(self) -> None:
        assert not self.failed(), (len(self.failed()), self.failed()[:3])

    def missed_within(self, seconds: float) -> None:
        """Assert that the head has said so in that time, and the gateway acted, if that was looked at."""
        assert self.detect_s is not None
        assert self.detect_s < seconds * SLACK, self.detect_s
        assert (self.reroute_s or 0.0) < seconds * SLACK, self.reroute_s


@contextmanager
def scenario(request: pytest.FixtureRequest, bed: Bed) -> Iterator[Fault]:
    """Let clients ask while the block lasts. In the end, nothing may be left over, and a row is written.

    At no moment have the engines on a GPU more than there is, or has one company that wants it alone.
    """
    urls = [bed.url(name) for name in bed.names("g")]
    with GpuWatch(bed.network, bed.gpu_memory) as watch, Clients(urls, bed.key) as clients:
        fault = Fault(bed, clients)
        fault.now()
        left = ["the test has failed"]
        try:
            yield fault
            fault.served()
            left = wait_for_leftovers(bed)
        finally:
            row = {
                "name": request.node.name.removeprefix("test_").replace("_", " "),
                "requests": len(clients.outcomes),
                "failed": len(fault.failed()),
                "detect_s": _rounded(fault.detect_s),
                "reroute_s": _rounded(fault.reroute_s),
                "recover_s": round(fault.recover_s(), 2),
                "leftovers": len(left),
                "violations": len(watch.violations),
            }
            request.node.user_properties.append((ROW, row))
    assert not left, left
    assert not watch.violations, watch.violations[:3]
    assert watch.looks > 0


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def leftovers(bed: Bed) -> list[str]:
    """Return what is on the workers' machines and belongs to no replica that the head knows."""
    addresses = {node["id"]: node["host"] for node in bed.status()["nodes"]}
    listed = bed.http().get("/deployments", params={"limit": 100}).json()["deployments"]
    instances = [each for deployment in listed for each in deployment["instances"]]
    places = [
        (each, place) for each in instances for place in (addresses.get(each["node"]), each["node_name"])
    ]
    wanted = {(place, each["pid"]) for each, place in places}
    left = []
    for name, engines in engines_of(bed.network).items():
        host = bed.host(name)
        left += [
            f"engine {engine.pid} on {name}"
            for engine in engines
            if wanted.isdisjoint({(host.address, engine.own_pid()), (name, engine.own_pid())})
        ]
        for pattern in ("worker/leases/*", "worker/run/*.sock"):
            files = sorted(host.path(DATA).glob(pattern))
            left += [f"{file} on {name}" for file in files[len(engines) :]]
        left += [f"{file} on {name}" for file in host.path("/dev/shm").iterdir()]
    return left


def wait_for_leftovers(bed: Bed) -> list[str]:
    """Return what is left over once what is just ending has ended."""
    with suppress(AssertionError):
        eventually(lambda: not leftovers(bed), what="nothing is left over")
    return leftovers(bed)

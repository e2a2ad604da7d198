"""A balancer with a clock of its own, and requests that write down what they hear."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import pytest
from attrs import define, field
from tests.gateway.kit import replica, served

from sllm_actors.api_error import ApiError
from sllm_actors.engines.identity import ReplicaId, ReplicaKey
from sllm_actors.engines.messages import ReplicaReport
from sllm_actors.gateway.routing.asked import Asked, Outcome
from sllm_actors.gateway.routing.balancer import Balancer
from sllm_actors.gateway.routing.lines.hold import Hold
from sllm_actors.gateway.routing.loss import Lost, link_lost, loss_of
from sllm_actors.gateway.routing.route import Route, Upstream, make_route
from sllm_actors.serving.messages import ServedModel

SMOL = "smol:llamacpp"


@define(eq=False)
class Request:
    """A request: ``heard`` has what it was told, in order."""

    asked: Asked
    heard: list[Upstream | ApiError | Lost] = field(factory=list)
    then: Callable[[Request], None] | None = None
    hold: Hold | None = None

    def granted(self, upstream: Upstream) -> None:
        self._hear(upstream)

    def refused(self, error: ApiError) -> None:
        self._hear(error)

    def lost(self, lost: Lost) -> None:
        self._hear(lost)

    def _hear(self, what: Upstream | ApiError | Lost) -> None:
        self.heard.append(what)
        if self.then is not None:
            self.then(self)

    @property
    def number(self) -> int:
        """The number of the replica that it was given."""
        (upstream,) = self.heard
        assert isinstance(upstream, Upstream)
        return upstream.id.number

    @property
    def code(self) -> str:
        """The code of the error that it was refused with."""
        (error,) = self.heard
        assert isinstance(error, ApiError)
        return error.code


class RecordingShell:
    """Writes down the balancer's wishes."""

    def __init__(self) -> None:
        self.wakes: list[float] = []
        self.first_holds: list[str] = []
        self.changes = 0
        self.rests = 0
        self.errors: list[Exception] = []

    def wake_at(self, when: float) -> None:
        self.wakes.append(when)

    def held(self, deployment: str) -> None:
        self.first_holds.append(deployment)

    def demand_changed(self) -> None:
        self.changes += 1

    def at_rest(self) -> None:
        self.rests += 1

    def failed(self, error: Exception) -> None:
        self.errors.append(error)


class Bench:
    """A balancer, and a hand that moves its clock and changes its routes."""

    def __init__(self, **more: Any) -> None:
        self.now = 0.0
        self.shell = RecordingShell()
        self.balancer = Balancer(lambda: self.now, Random(1), self.shell, **more)
        self.linked = True
        self._reports: dict[ReplicaKey, ReplicaReport] = {}

    def route(
        self, *reports: ReplicaReport, model: ServedModel | None = None, deployment: str = SMOL, **more: Any
    ) -> Route:
        """Give a deployment these replicas."""
        name, _, backend = deployment.rpartition(":")
        model = model or served(name, backend, **more)
        made = make_route(deployment, model, [("worker-1", each) for each in reports], patience=5)
        self._reports = {each.id.key: each for each in reports}
        self.balancer.route_changed(made, self.lost)
        return made

    def lost(self, node: str, life: ReplicaId) -> Lost | None:
        """Return how an engine life was lost, as ``Knowledge.lost`` does."""
        assert node == "worker-1"
        return loss_of(life, self._reports.get(life.key)) if self.linked else link_lost("6 beats missed")

    def replicas(self, *limits: int, **more: Any) -> Route:
        """Give the deployment replicas with these limits, numbered from 1."""
        made = (replica(number=number, concurrency=limit) for number, limit in enumerate(limits, 1))
        return self.route(*made, **more)

    def gone(self, deployment: str = SMOL) -> None:
        """Let a deployment be gone, with all of its replicas."""
        self._reports = {}
        self.balancer.route_changed(Route(deployment), self.lost)

    def take(self, deployment: str = SMOL, **more: Any) -> tuple[Request, Upstream | None]:
        request = Request(Asked(deployment, **more))
        return request, self.balancer.take(request.asked, request)

    def taken(self, **more: Any) -> Request:
        """Return a request that is under way."""
        request, upstream = self.take(**more)
        assert upstream is not None
        request.heard.append(upstream)
        return request

    def held(self, deployment: str = SMOL, **more: Any) -> Request:
        """Return a request that waits."""
        names = ("priority", "affinity", "prompt", "tried", "stored", "keep_alive", "flow")
        asked = {name: more.pop(name) for name in names if name in more}
        request, upstream = self.take(deployment, **asked)
        assert upstream is None
        request.hold = self.balancer.hold(request.asked, request, **more)
        return request

    def done(self, request: Request, outcome: Outcome = Outcome.SERVED) -> None:
        self.balancer.done(request, outcome)

    def wait(self, seconds: float) -> None:
        """Let time pass; the balancer is woken when it wanted to be, and not before."""
        end = self.now + seconds
        while (when := self.woken_at()) is not None and when <= end:
            self.now = max(self.now, when)
            self.shell.wakes.clear()
            self.balancer.expire(self.now)
        self.now = end

    def woken_at(self) -> float | None:
        return min(self.shell.wakes, default=None)

    def turns(self) -> None:
        """Let the event loop turn until nothing is due now."""
        self.wait(0.0)


def ids(upstreams: Iterable[Upstream]) -> frozenset[Any]:
    return frozenset(each.id for each in upstreams)


def refusal(bench: Bench, deployment: str = SMOL, **more: Any) -> ApiError:
    """Return the error of a request that is refused at once."""
    with pytest.raises(ApiError) as caught:
        bench.held(deployment, **more)
    return caught.value

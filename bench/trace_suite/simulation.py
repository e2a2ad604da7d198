"""One workload, played against one policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from .clock import Clock
from .cluster import Cluster, Replica
from .outcome import Outcome
from .profile import Profile
from .workload import Request, Workload

PATIENCE = 6 * 3600.0
"""Seconds after the last request came in which all may be answered; then what is left counts as waiting
still."""


class Policy(Protocol):
    """What decides. It acts on the cluster that it was made with, whenever one of these is called.

    All its requests must be answered in the end: what a system refuses because its queues are full waits
    here, as with a client that tries again.
    """

    def arrived(self, request: Request, /) -> None:
        """A request has come."""

    def ready(self, replica: Replica, /) -> None:
        """A replica that was started is ready."""

    def ended(self, replica: Replica, request: Request, /) -> None:
        """A replica has answered a request."""

    def gone(self, replica: Replica, /) -> None:
        """A replica that was stopped is gone, and its GPU is free."""


MakePolicy = Callable[[Cluster, Sequence[Request]], Policy]
"""Makes a policy for a cluster. Only an oracle looks at the requests that are still to come."""


def play(workload: Workload, profile: Profile, gpus: int, make: MakePolicy) -> Outcome:
    """Play a workload on a cluster with so many GPUs, until everything is answered and its time is over."""
    clock = Clock()
    requests = workload.fresh()
    cluster = Cluster(clock, profile, workload.models, gpus)
    policy = make(cluster, requests)
    left = len(requests)

    def ended(replica: Replica, request: Request) -> None:
        nonlocal left
        left -= 1
        policy.ended(replica, request)

    cluster.on_ready, cluster.on_gone, cluster.on_ended = policy.ready, policy.gone, ended
    coming = iter(requests)
    request = next(coming, None)
    last = max(workload.duration, requests[-1].at if requests else 0.0)
    while (left or clock.now < last) and clock.now < last + PATIENCE:
        due = clock.next
        if request is not None and (due is None or request.at <= due):
            clock.now = request.at
            request.cold = not cluster.ready[request.model]
            policy.arrived(request)
            request = next(coming, None)
        elif due is None or (due > last and not left):
            clock.now = last
            break
        else:
            clock.step()
    return Outcome.of(requests, clock.now, cluster)

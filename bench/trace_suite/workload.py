"""What clients ask, and how many GPUs it would take to make nobody wait."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from math import ceil

from attrs import define, frozen

from .profile import Model, Profile


@define(eq=False)
class Request:
    """One request of a workload, and what became of it.

    Attributes:
        at: When it arrives, in seconds from the beginning.
        model: The index of its model in the workload.
        prompt: Tokens of its prompt.
        answer: Tokens of its answer.
        begun: When a replica began with it; None before that.
        ended: When it was answered; None before that.
        cold: Whether no replica of its model was ready when it came.
    """

    at: float
    model: int
    prompt: int
    answer: int
    begun: float | None = None
    ended: float | None = None
    cold: bool = False


@frozen
class Workload:
    """Requests to some models, the earliest first; ``duration`` is for how long they were collected."""

    name: str
    models: Sequence[Model]
    requests: Sequence[Request]
    duration: float

    def fresh(self) -> list[Request]:
        """Return the requests as if nothing had become of them yet."""
        return [Request(each.at, each.model, each.prompt, each.answer) for each in self.requests]


def peak(workload: Workload, profile: Profile) -> int:
    """Return the GPUs at the busiest moment, if each model had as many replicas as its requests want.

    Each request begins when it arrives; a replica takes ``target`` of them and a GPU.
    """
    under_way = [0] * len(workload.models)
    ends: list[tuple[float, int]] = []
    gpus = most = 0

    def wanted(model: int) -> int:
        return min(ceil(under_way[model] / profile.target), profile.max_replicas)

    def change(model: int, by: int) -> None:
        nonlocal gpus
        gpus -= wanted(model)
        under_way[model] += by
        gpus += wanted(model)

    for request in workload.requests:
        while ends and ends[0][0] <= request.at:
            change(heapq.heappop(ends)[1], -1)
        change(request.model, 1)
        heapq.heappush(ends, (request.at + profile.service(request.prompt, request.answer), request.model))
        most = max(most, gpus)
    return most


def room(workload: Workload, profile: Profile, share: float) -> int:
    """Return how many GPUs a share of the peak is: at least one."""
    return max(1, round(peak(workload, profile) * share))

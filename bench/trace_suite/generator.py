"""Workloads made by chance, the same for the same seed.

Popularity falls with the rank of a model as ``rank ** -alpha``. Models wake and rest in groups, each by a
Markov chain with two states. While a model is awake its requests come with Gamma-distributed gaps, with
lengths as ServeGen found them: log-normal prompts with a Pareto tail, exponential answers.

Every model has a random stream of its own and so has every group, by seed and number: one model more changes
nothing about the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from random import Random

from attrs import frozen

from .profile import GB, Model
from .workload import Request, Workload

CVS = (1.0, 4.0, 8.0, 13.0)
SHARES = (0.1, 0.3, 1.0)
ALPHAS = (0.5, 1.0, 2.0)

GROUPS = 8
"""Groups of models that wake together: model ``n`` is in group ``n % GROUPS``."""

AWAKE = 1200.0
"""Seconds that a group stays awake, on average."""

WINDOW = 600.0
"""Seconds for which the daily curve is one step."""

DAY = 86400.0

RANKS = 24
"""The weights of so many models add up to 1; a model beyond them adds its own to that."""

SIZES = (2 * GB, 4 * GB, 8 * GB, 16 * GB, 30 * GB)

SETTLED = 12.0
"""Gaps that have passed before the beginning, times the square of their CV: the beginning is like any
moment."""


@frozen
class Shape:
    """What a workload is like.

    Attributes:
        cv: The coefficient of variation of the gaps between the requests of a model.
        share: Of the time, that a model is awake.
        alpha: How fast popularity falls with rank.
        models: How many models there are.
        rate: Requests per second of the first ``RANKS`` models together, on average over sleep and day.
        duration: Seconds.
        swing: How far the daily curve goes up and down from 1; it is at 1, and rising, at the beginning.
    """

    cv: float = 1.0
    share: float = 1.0
    alpha: float = 1.0
    models: int = RANKS
    rate: float = 0.8
    duration: float = 3600.0
    swing: float = 0.5

    @property
    def name(self) -> str:
        """What rows and tables call it."""
        return f"cv{self.cv:g} share{self.share:g} alpha{self.alpha:g}"


def plane(**shape: float) -> Iterator[Shape]:
    """Yield all 36 combinations of CV, active share and alpha."""
    for cv in CVS:
        for share in SHARES:
            for alpha in ALPHAS:
                yield Shape(cv, share, alpha, **shape)  # type: ignore[arg-type]


def generate(shape: Shape, seed: int) -> Workload:
    """Return the workload of a shape and a seed."""
    models: list[Model] = []
    requests: list[Request] = []
    gates = [
        list(awake(Random(f"{seed}/group/{group}"), shape.share, shape.duration)) for group in range(GROUPS)
    ]
    unit = shape.rate / sum((rank + 1) ** -shape.alpha for rank in range(RANKS)) / shape.share
    for index in range(shape.models):
        chance = Random(f"{seed}/model/{index}")
        models.append(Model(f"model-{index:02}", chance.choice(SIZES)))
        rate = unit * (index + 1) ** -shape.alpha
        times = arrivals(chance, shape, rate, gates[index % GROUPS])
        requests += [Request(at, index, *lengths(chance)) for at in times]
    requests.sort(key=lambda each: (each.at, each.model))
    return Workload(shape.name, models, requests, shape.duration)


def awake(chance: Random, share: float, duration: float) -> Iterator[tuple[float, float]]:
    """Yield the times in which a group is awake: begin and end of each."""
    if share >= 1.0:
        yield 0.0, duration
        return
    asleep = AWAKE * (1 - share) / share
    on, at = chance.random() < share, 0.0
    while at < duration:
        until = at + chance.expovariate(1 / (AWAKE if on else asleep))
        if on:
            yield at, min(until, duration)
        on, at = not on, until


def arrivals(chance: Random, shape: Shape, rate: float, gate: list[tuple[float, float]]) -> Iterator[float]:
    """Yield when the requests of a model come, at that rate while it is awake and the daily curve is at 1."""
    form, scale = 1 / shape.cv**2, shape.cv**2
    expected = -chance.random() * SETTLED * scale  # in requests that the rate lets expect until then
    for begin, end in gate:
        steps = [begin, *_windows(begin, end), end]
        for left, right in pairwise(steps):
            now = rate * _daily(left, shape.swing)
            # The clock of the gaps goes on only while the model is awake.
            room = (right - left) * now
            if room <= 0:
                continue
            while expected < 0:
                expected += chance.gammavariate(form, scale)
            while expected < room:
                yield left + expected / now
                expected += chance.gammavariate(form, scale)
            expected -= room


def lengths(chance: Random) -> tuple[int, int]:
    """Return tokens of a prompt and of its answer."""
    if chance.random() < 0.05:
        prompt = 2000 * chance.paretovariate(1.5)
    else:
        prompt = chance.lognormvariate(math.log(500), 0.8)
    return min(16_000, 1 + int(prompt)), min(2000, 1 + int(chance.expovariate(1 / 180)))


def _windows(begin: float, end: float) -> Iterator[float]:
    at = (begin // WINDOW + 1) * WINDOW
    while at < end:
        yield at
        at += WINDOW


def _daily(at: float, swing: float) -> float:
    return 1 + swing * math.sin(2 * math.pi * (at // WINDOW) * WINDOW / DAY)

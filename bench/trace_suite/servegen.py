"""ServeGen's client files: for each window of 600 s the rate, the CV and the distribution of a client's gaps.

Each client is one deployment. The files have no lengths; those are drawn as the generator draws them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

from attrs import evolve, frozen

from .generator import SIZES, lengths
from .lines import BadTrace, UnreadableTrace, read_lines
from .profile import Model
from .workload import Request, Workload

WINDOW = 600.0
DISTRIBUTIONS = ("Gamma", "Weibull", "")


@frozen
class Window:
    """One line: requests per second from ``start``, with gaps of that distribution, shape and scale in
    seconds."""

    start: float
    rate: float
    distribution: str
    shape: float
    scale: float

    def slower(self, factor: float) -> Window:
        """Return the same with gaps so many times longer."""
        return evolve(self, rate=self.rate / factor, scale=self.scale * factor)


def load(
    folder: Path,
    *,
    seed: int = 0,
    rate: float | None = None,
    begin: float = 36_000.0,
    duration: float = 7200.0,
) -> Workload:
    """Read all clients of a folder, from ``begin`` on, for ``duration`` seconds.

    Args:
        folder: Where the files are.
        seed: For what the files do not say: the very times, the lengths, the sizes of the models.
        rate: Requests per second that all clients together are to have on average: every gap is as many
            times longer as they have too many. None leaves them.
        begin: In seconds from the first window.
        duration: In seconds.

    Raises:
        BadTrace: There is no client, or some line is not of the format; the text names file and line.
    """
    files = sorted(folder.glob("client-*.csv"), key=lambda each: (len(each.name), each.name))
    if not files:
        raise UnreadableTrace(str(folder), "it has no file client-N.csv")
    end = begin + duration
    clients = {
        file.stem: [each for each in parse(str(file), read_lines(file)) if begin <= each.start < end]
        for file in files
    }
    given = sum(each.rate for windows in clients.values() for each in windows) * WINDOW / duration
    slower = 1.0 if rate is None or not given else given / rate
    models: list[Model] = []
    requests: list[Request] = []
    for name, windows in clients.items():
        chance = Random(f"{seed}/{name}")
        index = len(models)
        models.append(Model(name, chance.choice(SIZES)))
        times = arrivals(chance, [each.slower(slower) for each in windows], end)
        requests += [Request(at - begin, index, *lengths(chance)) for at in times]
    requests.sort(key=lambda each: (each.at, each.model))
    return Workload(folder.name, models, requests, duration)


def parse(name: str, lines: Iterable[str]) -> Iterator[Window]:
    """Yield the windows of a client.

    Raises:
        BadTrace: A line is not of the format.
    """
    for number, line in enumerate(lines, 1):
        parts = line.strip().split(",")
        if parts == [""]:
            continue
        if len(parts) != 6:
            raise BadTrace(name, number, f"it should have 6 fields, not {len(parts)}")
        try:
            start, rate, _, shape, scale = (float(each) for each in (*parts[:3], *parts[4:]))
        except ValueError:
            raise BadTrace(name, number, "all fields but the fourth should be numbers") from None
        if parts[3] not in DISTRIBUTIONS:
            raise BadTrace(name, number, f"its distribution is {parts[3][:40]!r}, not Gamma or Weibull")
        if not all(math.isfinite(each) and each >= 0 for each in (start, rate, shape, scale)):
            raise BadTrace(name, number, "a number is below 0, or none")
        yield Window(start, rate, parts[3], shape, scale)


def arrivals(chance: Random, windows: Iterable[Window], end: float) -> Iterator[float]:
    """Yield when requests come, before ``end``: the gap that a window ends in goes on in the next one."""
    left = -1.0  # of the gap that has begun, in gaps
    for window in windows:
        if window.rate <= 0:
            continue
        if left < 0:
            left = chance.random()
        at, until = window.start + left / window.rate, min(window.start + WINDOW, end)
        while at < until:
            yield at
            at += _gap(chance, window)
        left = (at - until) * window.rate


def _gap(chance: Random, window: Window) -> float:
    if window.shape <= 0 or window.scale <= 0 or not window.distribution:
        return chance.expovariate(window.rate)
    if window.distribution == "Gamma":
        return chance.gammavariate(window.shape, window.scale)
    return chance.weibullvariate(window.scale, window.shape)

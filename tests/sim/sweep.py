"""Many seeds, in several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Self

from .ledger import Summary
from .subjects import ACTORS, SUBJECTS

LONGEST = 60.0
"""Seconds of processor time that a seed may take: a loop that makes no progress ends as a violation."""


class TookTooLong(Exception):
    """A run does not end."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise in the main thread when the block takes too long; and again, if something swallows that."""

    def too_long(_number: int, _frame: FrameType | None) -> None:
        raise TookTooLong(f"the run took more than {seconds:g} s of processor time")

    before = signal.signal(signal.SIGPROF, too_long)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def run_seed(seed: int, mutation: str = "", *, keep_trace: bool = False, subject: str = ACTORS) -> Summary:
    """Run one seed within the time limit, with a deliberate bug in what is simulated if one is named."""
    began = time.process_time()
    with SUBJECTS[subject].mutations[mutation](), time_limit(LONGEST):
        summary = SUBJECTS[subject].simulate(seed)
    summary.cpu = time.process_time() - began
    if not (summary.violations or keep_trace):
        summary.tail.clear()  # not worth its way between processes
    return summary


def regressions(file: Path) -> list[int]:
    """Return the seeds that once failed."""
    lines = file.read_text().splitlines()
    return [int(line.split(maxsplit=1)[0]) for line in lines if line.strip() and not line.startswith("#")]


def keep(summary: Summary, file: Path) -> None:
    """Write a seed that failed into the list of those that once did; nothing if it is there."""
    if summary.seed not in regressions(file):
        with file.open("a") as kept:
            kept.write(f"{summary.seed:<6} {summary.violations[0][:100]}\n")


class Sweep:
    """Runs seeds in a pool of processes; a context manager, which waits for none of those not begun."""

    def __init__(self, processes: int | None = None, *, subject: str = ACTORS) -> None:
        self._subject = subject
        self._pool = ProcessPoolExecutor(
            processes or os.cpu_count(), mp_context=multiprocessing.get_context("spawn")
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(self, seed: int, mutation: str = "") -> Future[Summary]:
        """Have a seed run."""
        return self._pool.submit(run_seed, seed, mutation, subject=self._subject)

    def run(self, seeds: Iterable[int], mutation: str = "") -> Iterator[Summary]:
        """Run seeds, and yield each as it ends."""
        for done in as_completed([self.submit(seed, mutation) for seed in seeds]):
            yield done.result()

"""Playing many workloads against many policies, in processes side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from attrs import frozen

from . import azure, servegen
from .contenders import Contender, contenders
from .generator import Shape, generate
from .outcome import Outcome, medians
from .profile import Profile
from .simulation import play
from .workload import Workload, room

Key = tuple[str, Contender]
"""A workload's name and who played it."""


@frozen
class Trace:
    """A workload from a file of Azure's, or a folder of ServeGen's."""

    path: Path
    rate: float | None = None

    @property
    def name(self) -> str:
        """What rows and tables call it."""
        return self.path.stem

    def load(self, seed: int) -> Workload:
        """Read it; only what the trace does not say depends on the seed.

        Raises:
            BadTrace: It is not of the format.
        """
        if self.path.is_dir():
            return servegen.load(self.path, seed=seed, rate=self.rate)
        return azure.load(self.path, rate=self.rate)


@frozen
class Play:
    """One thing for a process to do: one workload with one seed on one room, against everybody."""

    source: Shape | Trace
    seed: int
    share: float
    profile: Profile

    def run(self) -> dict[Contender, Outcome]:
        """Play it."""
        source = self.source
        workload = source.load(self.seed) if isinstance(source, Trace) else generate(source, self.seed)
        gpus = room(workload, self.profile, self.share)
        return {each: play(workload, self.profile, gpus, each.make()) for each in contenders()}


@frozen
class Row:
    """What one contender made of one workload: medians over the seeds."""

    workload: str
    contender: Contender
    outcome: Outcome


Found = dict[tuple[float, str, Contender], list[Outcome]]
"""By room, workload and contender: what came of each seed."""


def sweep(
    sources: Sequence[Shape | Trace],
    *,
    seeds: int,
    shares: Sequence[float],
    profile: Profile,
    jobs: int,
    say: Callable[[str], None],
    into: Found,
) -> None:
    """Play everything, and note what came of each play as soon as it is over."""
    plays = [
        Play(source, seed, share, profile) for share in shares for source in sources for seed in range(seeds)
    ]
    for done, (each, outcomes) in enumerate(_run(plays, jobs), 1):
        for contender, outcome in outcomes.items():
            into.setdefault((each.share, each.source.name, contender), []).append(outcome)
        if done % max(1, len(plays) // 20) == 0 or done == len(plays):
            say(f"{done} of {len(plays)} plays")


def rows(found: Found, share: float) -> list[Row]:
    """Return the rows of a room of those workloads that everybody has played, in the order of the plays."""
    workloads = dict.fromkeys(workload for room, workload, _ in found if room == share)
    return [
        Row(workload, contender, medians(found[share, workload, contender]))
        for workload in workloads
        for contender in contenders()
    ]


def _run(plays: Sequence[Play], jobs: int) -> Iterator[tuple[Play, dict[Contender, Outcome]]]:
    if jobs == 1:
        for each in plays:
            yield each, each.run()
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(each.run): each for each in plays}
        for future in as_completed(running):
            yield running[future], future.result()

"""The two simulations: what each of them simulates, breaks on purpose, and once failed with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

from . import mutations, simulation
from .control import mutations as control_mutations
from .control import simulation as control_simulation
from .ledger import Summary

HERE = Path(__file__).parent


@frozen
class Subject:
    """One simulation.

    Attributes:
        simulate: Runs one seed.
        mutations: The deliberate bugs, by name; the empty name is none.
        regressions: The file with the seeds that once failed.
        again: Repeats a seed, for people.
    """

    simulate: Callable[[int], Summary]
    mutations: Mapping[str, mutations.Mutation]
    regressions: Path
    again: str


ACTORS: Final = "actors"
CONTROL: Final = "control"

SUBJECTS: Final[Mapping[str, Subject]] = {
    ACTORS: Subject(simulation.simulate, mutations.MUTATIONS, HERE / "regressions.txt", "make sim SEED="),
    CONTROL: Subject(
        control_simulation.simulate,
        control_mutations.MUTATIONS,
        HERE / "control" / "regressions.txt",
        "make sim-control SEED=",
    ),
}

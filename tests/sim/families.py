"""I7 and I10: what supervisors do, seen from outside: which incarnations begin and end, and when.

A supervisor's own bookkeeping is not asked: the system tells when an incarnation is made and when it has
ended, and the actors tell when their hooks run.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque

import trio
from attrs import define

from sllm_actors.actors import ONE_FOR_ONE, SupervisorSpec
from sllm_actors.actors.cell import Cell
from sllm_actors.actors.supervisor import SupervisorCell

from .ledger import Ledger


@define(eq=False)
class _Child:
    """One incarnation of a child; ``up`` once its ``started`` has returned (a supervisor's is not seen)."""

    number: int
    place: int
    up: bool


class Families:
    """The supervisors of one process, and their children that live.

    Args:
        ledger: Where violations go.
        process: Names the process in sentences.
    """

    def __init__(self, ledger: Ledger, process: str) -> None:
        self._ledger = ledger
        self._process = process
        self._living: defaultdict[int, dict[str, _Child]] = defaultdict(dict)
        self._starts: defaultdict[int, deque[float]] = defaultdict(deque)
        self._begun: defaultdict[int, set[str]] = defaultdict(set)
        self._jobs: Counter[int] = Counter()

    def made(self, cell: Cell) -> None:
        """An incarnation begins."""
        parent = cell.parent
        if not isinstance(parent, SupervisorCell):
            return
        child, siblings = cell.spec.id, self._living[parent.number]
        if child in siblings:
            self._violated("I10", f"{cell} begins while {siblings[child].number} lives")
        place = _place(cell)
        if _spec(parent).strategy is not ONE_FOR_ONE and not parent.state.dynamic:
            for name, other in siblings.items():
                if other.place > place:
                    self._violated("I7", f"{cell} begins while {name}, which comes after it, lives")
                elif not other.up:
                    self._violated("I7", f"{cell} begins before {name} is up")
        self._count(parent, child)
        siblings[child] = _Child(cell.number, place, up=isinstance(cell, SupervisorCell))

    def is_up(self, cell: Cell) -> None:
        """Its ``started`` is about to return."""
        self._living[_parent(cell)][cell.spec.id].up = True

    def stops(self, cell: Cell) -> None:
        """Its ``stopped`` begins, because it was asked to stop: whoever comes after it must have ended."""
        if cell.parent.state.dynamic:  # type: ignore[attr-defined]
            return
        place = _place(cell)
        for name, other in self._living[_parent(cell)].items():
            if other.place > place:
                self._violated("I7", f"{cell} is stopped while {name}, which comes after it, lives")

    def works(self, cell: Cell, by: int) -> None:
        """It has begun (1) or ended (-1) a piece of background work."""
        self._jobs[cell.number] += by

    def ended(self, cell: Cell) -> None:
        """An incarnation has ended."""
        if self._jobs.pop(cell.number, 0):
            self._violated("I8", f"{cell} has ended, its background work has not")
        if self._living.pop(cell.number, None):
            self._violated("I7", f"supervisor {cell} has ended before its children")
        if isinstance(cell.parent, SupervisorCell):
            child = self._living[cell.parent.number].get(cell.spec.id)
            if child is not None and child.number == cell.number:
                del self._living[cell.parent.number][cell.spec.id]

    def _count(self, parent: SupervisorCell, child: str) -> None:
        """Count the restarts in a window, where each follows its failure at once or after a back-off.

        A supervisor counts when the child fails; from outside its start is seen, later by up to the longest
        back-off. So many starts as are allowed failures fit into a window that is shorter by as much. (In a
        group, siblings have to stop first: that takes any time.)
        """
        if child not in self._begun[parent.number]:
            self._begun[parent.number].add(child)
            return
        spec, now = _spec(parent), trio.current_time()
        if spec.strategy is not ONE_FOR_ONE or parent.state.dynamic:
            return
        longest = max((each.backoff.cap for each in spec.children if each.backoff.first), default=0.0)
        window = spec.window - longest
        starts = self._starts[parent.number]
        starts.append(now)
        while starts and now - starts[0] >= window:
            starts.popleft()
        if len(starts) > spec.max_restarts:
            self._violated("I7", f"{parent} has restarted {len(starts)} times within {window:g} s: {child}")

    def _violated(self, rule: str, text: str) -> None:
        self._ledger.violated(rule, f"{self._process}: {text}")


def _parent(cell: Cell) -> int:
    return cell.parent.number  # type: ignore[attr-defined,no-any-return]


def _place(cell: Cell) -> int:
    """Return its place among its siblings; -1 where they have no order."""
    specs = _spec(cell.parent).children  # type: ignore[arg-type]
    return next((place for place, spec in enumerate(specs) if spec.id == cell.spec.id), -1)


def _spec(cell: Cell) -> SupervisorSpec:
    assert isinstance(cell.spec, SupervisorSpec)
    return cell.spec

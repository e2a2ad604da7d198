"""I7 and I10: what supervisors do, seen from outside: which incarnations begin and end, and when.

A supervisor's own bookkeeping is not asked: the system tells when an incarnation is made and when it has
ended, and the actors tell when their hooks run.

I10 is checked within a process: whatever has a place in its tree owns the token of that name (a GPU, say),
and at each instant at most one incarnation does, across restarts of the supervisors above it too. Between
nodes no such rule can hold at this layer. A ``Down`` of a node says that nobody can reach it, not that it has
stopped: cut off, it goes on until its own budget tells it so, and frozen (SIGSTOP, a paused machine) it wakes
at any later time and goes on before its first tick. Neither a lease nor a quarantine of any length in the
watcher's time bounds that; only the thing that is owned can, by refusing whoever comes with an old number, or
by being held by the kernel. That is how it is done: a GPU belongs to one machine, whose kernel holds its lock
for a process, so no owner of it ever begins on another node.
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
        self._last_place: dict[int, int] = {}
        self._owners: dict[str, Cell] = {}

    def made(self, cell: Cell) -> None:
        """An incarnation begins."""
        parent = cell.parent
        if not isinstance(parent, SupervisorCell):
            return
        self._owns(cell)
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
        self._count(parent, child, place)
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
            token = _token(cell)
            if self._owners.get(token) is cell:
                del self._owners[token]
            child = self._living[cell.parent.number].get(cell.spec.id)
            if child is not None and child.number == cell.number:
                del self._living[cell.parent.number][cell.spec.id]

    def _owns(self, cell: Cell) -> None:
        """It takes the token of its place in the tree."""
        token = _token(cell)
        owner = self._owners.get(token)
        if owner is not None:
            self._violated("I10", f"{cell} takes {token} while {owner} has it")
        if token:
            self._owners[token] = cell

    def _count(self, parent: SupervisorCell, child: str, place: int) -> None:
        """Count the restarts in a window."""
        first = child not in self._begun[parent.number]
        self._begun[parent.number].add(child)
        if parent.state.dynamic:
            return
        if _spec(parent).strategy is ONE_FOR_ONE:
            if not first:
                self._count_one(parent, child)
        else:
            self._count_round(parent, child, place)

    def _count_one(self, parent: SupervisorCell, child: str) -> None:
        """Each start follows its failure at once or after a back-off.

        A supervisor counts when the child fails; from outside its start is seen, later by up to the longest
        back-off. So many starts as are allowed failures fit into a window that is shorter by as much.
        """
        spec = _spec(parent)
        longest = max((each.backoff.cap for each in spec.children if each.backoff.first), default=0.0)
        self._at_most(parent, spec.max_restarts, spec.window - longest, child)

    def _count_round(self, parent: SupervisorCell, child: str, place: int) -> None:
        """A group starts in order: a start that is not behind the last one begins another round.

        Siblings have to stop first, which takes any time. But between the beginnings of two rounds lies a
        failure that was counted: n rounds within a window follow at least n - 1 of them within it.
        """
        last = self._last_place.get(parent.number, -1)
        self._last_place[parent.number] = place
        if place <= last:
            self._at_most(parent, _spec(parent).max_restarts + 1, _spec(parent).window, child)

    def _at_most(self, parent: SupervisorCell, most: int, window: float, child: str) -> None:
        starts, now = self._starts[parent.number], trio.current_time()
        starts.append(now)
        while starts and now - starts[0] >= window:
            starts.popleft()
        if len(starts) > most:
            self._violated("I7", f"{parent} has restarted {len(starts)} times within {window:g} s: {child}")

    def _violated(self, rule: str, text: str) -> None:
        self._ledger.violated(rule, f"{self._process}: {text}")


def _parent(cell: Cell) -> int:
    return cell.parent.number  # type: ignore[attr-defined,no-any-return]


def _token(cell: Cell) -> str:
    """Return the ids from the root, or from the actor that has started it, down to it."""
    names: list[str] = []
    while isinstance(cell.parent, SupervisorCell):
        names.append(cell.spec.id)
        cell = cell.parent
    return "/".join(reversed(names))


def _place(cell: Cell) -> int:
    """Return its place among its siblings; -1 where they have no order."""
    specs = _spec(cell.parent).children  # type: ignore[arg-type]
    return next((place for place, spec in enumerate(specs) if spec.id == cell.spec.id), -1)


def _spec(cell: Cell) -> SupervisorSpec:
    assert isinstance(cell.spec, SupervisorSpec)
    return cell.spec

"""Which gateways have let go of replicas that are to sleep or to end. Pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from attrs import define, field

from sllm_actors.engines.identity import ReplicaId, ReplicaKey
from sllm_actors.engines.messages import Drained, ReplicaReport, ReplicaState
from sllm_actors.serving.messages import Withdrawn

LEAVING = (ReplicaState.ASLEEP, ReplicaState.DRAINING)
"""The states in which a replica is sent no requests, but may have some in flight."""


@define(eq=False)
class _Withdrawal:
    number: int
    gateways: set[str] = field(factory=set)
    over: bool = False


class Withdrawals:
    """Each withdrawal of a replica, until every gateway that is linked has let go of it.

    A gateway that is linked is always waited for, also one that has just come: its requests may have outlived
    a lost link. One that has nothing in flight says so as soon as it has the worker's replicas.
    """

    def __init__(self) -> None:
        self._all: dict[ReplicaId, _Withdrawal] = {}

    def reported(self, report: ReplicaReport) -> None:
        """Take a report of a replica: it begins a withdrawal, or ends one."""
        known = self._all.get(report.id)
        if report.state not in LEAVING:
            self._all.pop(report.id, None)
        elif known is None or known.number != report.withdrawal:
            self._all[report.id] = _Withdrawal(report.withdrawal)

    def said(self, said: Withdrawn) -> None:
        """Take what a gateway said; of an earlier withdrawal, or of another engine life, it is ignored."""
        known = self._all.get(said.id)
        if known is not None and known.number == said.withdrawal:
            known.gateways.add(said.gateway)

    def ended(self, key: ReplicaKey) -> None:
        """Forget a replica that is gone."""
        for replica in [each for each in self._all if each.key == key]:
            del self._all[replica]

    def complete(self, linked: AbstractSet[str]) -> list[Drained]:
        """Return, once for each withdrawal, that all linked gateways have let go of the replica."""
        found = []
        for replica, known in self._all.items():
            if not known.over and linked <= known.gateways:
                known.over = True
                found.append(Drained(replica, known.number))
        return found

"""The last report of each replica of a worker."""

from __future__ import annotations

from sllm_actors.engines.identity import ReplicaId, ReplicaKey
from sllm_actors.engines.messages import ReplicaReport, ReplicaState


class Replicas:
    """The last report of each replica, for those that must look one up without asking the actor (tunnels).

    It outlives the worker's actor. So report numbers go on rising when that is restarted: head and gateways
    ignore a report whose number is not higher than the last.
    """

    def __init__(self) -> None:
        self._reports: dict[ReplicaKey, ReplicaReport] = {}
        self._sequence = 0

    def next_sequence(self) -> int:
        """Return the number of the next report."""
        self._sequence += 1
        return self._sequence

    def clear(self) -> None:
        """Remove all reports: when the worker's actor ends, its replicas end too."""
        self._reports.clear()

    def find(self, replica: ReplicaId) -> ReplicaReport | None:
        """Return the report of a replica if it is of exactly this engine life, else None."""
        report = self._reports.get(replica.key)
        return report if report is not None and report.id == replica else None

    def at(self, key: ReplicaKey) -> ReplicaReport | None:
        """Return the report of a replica, whichever engine life it is of, or None. Any thread may call it."""
        return self._reports.get(key)

    def put(self, report: ReplicaReport) -> None:
        """Set the report of a replica; a STOPPED replica is removed."""
        if report.state is ReplicaState.STOPPED:
            self._reports.pop(report.id.key, None)
        else:
            self._reports[report.id.key] = report

    def forget(self, key: ReplicaKey) -> None:
        """Remove a replica."""
        self._reports.pop(key, None)

    def all(self) -> tuple[ReplicaReport, ...]:
        """Return every report, in the order of the keys."""
        return tuple(self._reports[key] for key in sorted(self._reports))

"""What a worker runs, as its replicas last said."""

from __future__ import annotations

from sllm_actors.engines.identity import ReplicaId, ReplicaKey
from sllm_actors.engines.messages import ReplicaReport, ReplicaState


class Replicas:
    """What this worker runs now, for those that must look it up without asking the actor (tunnels).

    It outlives the actor, and so do the numbers of its reports: a peer ignores a number that it has seen.
    """

    def __init__(self) -> None:
        self._reports: dict[ReplicaKey, ReplicaReport] = {}
        self._sequence = 0

    def next_sequence(self) -> int:
        """Return the number of the next report."""
        self._sequence += 1
        return self._sequence

    def clear(self) -> None:
        """Forget all replicas: they ended with the actor that kept them."""
        self._reports.clear()

    def find(self, replica: ReplicaId) -> ReplicaReport | None:
        """Return the report of exactly that engine life, or None."""
        report = self._reports.get(replica.key)
        return report if report is not None and report.id == replica else None

    def at(self, key: ReplicaKey) -> ReplicaReport | None:
        """Return the report of whatever life fills a place now, or None; any thread may ask."""
        return self._reports.get(key)

    def put(self, report: ReplicaReport) -> None:
        """Keep the newest report of a replica; a STOPPED one is forgotten."""
        if report.state is ReplicaState.STOPPED:
            self._reports.pop(report.id.key, None)
        else:
            self._reports[report.id.key] = report

    def forget(self, key: ReplicaKey) -> None:
        """Forget a replica."""
        self._reports.pop(key, None)

    def all(self) -> tuple[ReplicaReport, ...]:
        """Return every report, by place."""
        return tuple(self._reports[key] for key in sorted(self._reports))

"""The last report of each replica of a worker."""

from __future__ import annotations

from sllm_actors.engines.identity import ReplicaId, ReplicaKey
from sllm_actors.engines.messages import ReplicaReport, ReplicaState


class Replicas:
    """The last report of each replica, for those that must look one up without asking the actor (tunnels).

    It outlives the worker's actor, and so counts what must go on rising when that is restarted.
    """

    def __init__(self) -> None:
        self._reports: dict[ReplicaKey, ReplicaReport] = {}
        self._sequence = 0
        self._lives = 0

    def begin(self, counter: int) -> int:
        """Begin a life of the worker's actor, without reports: its replicas have ended with the last one.

        Args:
            counter: That of the node's incarnation.

        Returns:
            A number that no earlier life had, over restarts of the node, too.
        """
        self._reports.clear()
        self._lives += 1
        return (counter * 1024 + self._lives % 1024) % 2**62

    def next_sequence(self) -> int:
        """Return the number of the next inventory."""
        self._sequence += 1
        return self._sequence

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

"""The most memory that engines were seen to have, by which later replicas of them are placed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sllm_actors.engines.messages import ReplicaReport
from sllm_actors.serving.store.records import MeasuredRecord

KIND: Final = "memory"

NEWS: Final = 0.05
"""The part by which a peak has to rise before that is kept."""

MOST_PEAKS: Final = 16_384
"""The most engines that are remembered; of too many, the one that was learned first is forgotten."""


class Peaks:
    """Bytes of a machine's memory, by the fingerprint of a revision.

    Args:
        known: What was measured before.
    """

    def __init__(self, known: Iterable[MeasuredRecord] = ()) -> None:
        self._memory = {each.engine: int(each.value) for each in known if each.kind == KIND}

    def memory(self, engine: str) -> int:
        """Return the most that an engine had; 0 where that was not measured."""
        return self._memory.get(engine, 0)

    def learn(self, report: ReplicaReport, at: float) -> MeasuredRecord | None:
        """Take what a worker has measured; return what is to be kept, or None if that is no news.

        Args:
            report: Of a replica.
            at: The time, in seconds since the epoch.
        """
        engine, known = report.fingerprint, self.memory(report.fingerprint)
        if not engine or report.memory <= known * (1 + NEWS):
            return None
        if engine not in self._memory and len(self._memory) >= MOST_PEAKS:
            del self._memory[next(iter(self._memory))]
        self._memory[engine] = report.memory
        return MeasuredRecord(engine, "", KIND, float(report.memory), at)

"""The most memory that engines were seen to have, and their files: by that, later replicas are placed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sllm_actors.engines.messages import ReplicaReport
from sllm_actors.serving.store.records import MeasuredRecord

KIND: Final = "memory"
FILES: Final = "files"

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
        self._memory: dict[str, int] = {}
        self._files: dict[str, int] = {}
        for each in known:
            if each.kind in (KIND, FILES):
                (self._memory if each.kind == KIND else self._files)[each.engine] = int(each.value)

    def memory(self, engine: str) -> int:
        """Return the most that an engine had; 0 where that was not measured."""
        return self._memory.get(engine, 0)

    def files(self, engine: str) -> int:
        """Return how many bytes the model's files have that an engine loads; 0 where that is not known."""
        return self._files.get(engine, 0)

    def learn_files(self, engine: str, size: int, at: float) -> MeasuredRecord | None:
        """Take how large a model is that is deployed; see ``learn``.

        Args:
            engine: The fingerprint of its revision.
            size: Bytes of its files.
            at: The time, in seconds since the epoch.
        """
        if size == self.files(engine):
            return None
        _put(self._files, engine, size)
        return MeasuredRecord(engine, "", FILES, float(size), at)

    def learn(self, report: ReplicaReport, at: float) -> MeasuredRecord | None:
        """Take what a worker has measured; return what is to be kept, or None if that is no news.

        Args:
            report: Of a replica.
            at: The time, in seconds since the epoch.
        """
        engine, known = report.fingerprint, self.memory(report.fingerprint)
        if not engine or report.memory <= known * (1 + NEWS):
            return None
        _put(self._memory, engine, report.memory)
        return MeasuredRecord(engine, "", KIND, float(report.memory), at)


def _put(sizes: dict[str, int], engine: str, size: int) -> None:
    if engine not in sizes and len(sizes) >= MOST_PEAKS:
        del sizes[next(iter(sizes))]
    sizes[engine] = size

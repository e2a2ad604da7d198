"""Which report of a replica goes out at once, and which waits. Pure."""

from __future__ import annotations

from typing import Any, Final

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport

PROGRESS_INTERVAL: Final = 0.5
"""Seconds between two reports of one replica in which nothing but its progress has changed."""


class Pace:
    """Lets reports of progress wait, so that one replica sends at most two of them a second."""

    def __init__(self) -> None:
        self._sent: dict[ReplicaKey, float] = {}
        self._waiting: dict[ReplicaKey, None] = {}

    def lets_go(self, report: ReplicaReport, before: ReplicaReport | None, now: float) -> bool:
        """Return whether a report may go out now; if not, ``due`` tells when.

        Args:
            report: The new report.
            before: The one of that replica that went out last, or None.
            now: Seconds on a monotonic clock.
        """
        key = report.id.key
        progress = before is not None and _weight(report) == _weight(before)
        if progress and now < self._sent[key] + PROGRESS_INTERVAL:
            self._waiting[key] = None
            return False
        self._waiting.pop(key, None)
        self._sent[key] = now
        return True

    def due(self, now: float) -> list[ReplicaKey]:
        """Return the replicas whose latest report is to go out now."""
        due = [key for key in self._waiting if now >= self._sent[key] + PROGRESS_INTERVAL]
        for key in due:
            del self._waiting[key]
            self._sent[key] = now
        return due

    def forget(self, key: ReplicaKey) -> None:
        """Forget a replica that is gone."""
        self._sent.pop(key, None)
        self._waiting.pop(key, None)


def _weight(report: ReplicaReport) -> tuple[Any, ...]:
    """Return what others decide by; the rest is for people to read."""
    return (
        report.id,
        report.state,
        report.downloading,
        report.failures,
        report.address,
        report.machine,
        report.key,
        report.server,
        report.withdrawal,
        report.can_sleep,
        report.reason,
        report.unfit,
        report.gpus,
        report.devices,
        report.gpu_reserved,
        report.memory,
        report.gpu_memory,
        report.gpu_figures,
        report.waiting,
        report.kv_used,
        report.fingerprint,
        report.level,
        report.if_idle,
        report.declined,
        report.memory_short,
    )

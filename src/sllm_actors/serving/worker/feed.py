"""Telling head and gateways of the replicas of this worker: what goes into the stream, and when."""

from __future__ import annotations

import structlog
from attrs import evolve

from sllm_actors.actors import ActorRef
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.differences.feed import Beats, Feed
from sllm_actors.serving.differences.publisher import Publisher
from sllm_actors.serving.streams import REPLICAS, AskReplicas

from .pace import Pace
from .replicas import Replicas

log = structlog.get_logger("sllm_actors.worker")

LONGEST_REASON = 4000
"""Characters of a reason that are kept of a report that is too large to be sent."""


class ReplicaFeed:
    """Publishes the stream ``REPLICAS``. All methods are for the worker's actor, in its turns.

    Args:
        replicas: The table for those that read reports without asking the actor; it has all of them at once.
        node: The worker's node id.
        life: See ``Publisher``.
    """

    def __init__(self, replicas: Replicas, node: str, life: int) -> None:
        self._replicas = replicas
        self._publisher = Publisher(REPLICAS, node, life)
        self._beats = Beats()
        self._feed = Feed(self._publisher, self._beats)
        self._pace = Pace()

    @property
    def has_followers(self) -> bool:
        """Whether ``tick`` is to be called."""
        return bool(self._feed.followers)

    def follow(self, node: str, ref: ActorRef) -> None:
        """Let a head or gateway follow."""
        self._feed.follow(node, ref)

    def unfollow(self, node: str) -> None:
        """Send that node nothing more."""
        self._feed.unfollow(node)

    def answer(self, question: AskReplicas) -> None:
        """Send the page that a follower asked for."""
        self._feed.answer(question)

    def put(self, report: ReplicaReport, now: float) -> None:
        """Report a replica; one that is STOPPED is removed."""
        key = report.id.key
        if report.state is ReplicaState.STOPPED:
            self.remove(key)
            return
        self._replicas.put(report)
        if self._pace.lets_go(report, self._publisher.get(key), now):
            self._put(report)

    def remove(self, key: ReplicaKey) -> None:
        """Report that there is no such replica here."""
        self._replicas.forget(key)
        self._pace.forget(key)
        self._publisher.remove(key)

    def gone(self, key: ReplicaKey) -> None:
        """Report that there is no such replica here, also to those who never heard of it.

        The report stays until ``remove``.
        """
        self.remove(key)
        self._publisher.put(ReplicaReport(key.attempt(0), ReplicaState.STOPPED))

    def publish(self) -> None:
        """Send what has changed."""
        if self._publisher.changed:
            self._feed.publish()

    def tick(self, now: float) -> None:
        """Send beats, and let ``publish`` send reports that had to wait: every ``TICK_INTERVAL`` seconds."""
        for key in self._pace.due(now):
            report = self._replicas.at(key)
            if report is not None:
                self._put(report)
        self._beats.tick()

    def _put(self, report: ReplicaReport) -> None:
        try:
            self._publisher.put(report)
        except ValueError as error:
            log.warning("replica.report_cut", replica=str(report.id), reason=str(error))
            self._publisher.put(
                evolve(report, log_tail=(), progress="", reason=report.reason[:LONGEST_REASON])
            )

"""The counts of a system at one moment: for metrics, and for tests that nothing is left behind."""

from __future__ import annotations

from attrs import frozen

from .mailbox import MailboxLimits


@frozen
class MailboxStatistics:
    """One mailbox.

    Attributes:
        messages: User messages that wait.
        bytes: Bytes that they weigh, by the estimate of ``weight.weigh``.
        rejected: User messages refused because of a limit, in this life of the actor.
        limits: How much the mailbox may hold.
    """

    messages: int
    bytes: int
    rejected: int
    limits: MailboxLimits


@frozen
class SystemStatistics:
    """Counts of one actor system.

    Attributes:
        actors: Actors alive, in any phase.
        supervisors: Supervisors alive, the root and actors' own ones included.
        names: Names registered.
        queued_messages: User messages that wait in mailboxes, all together.
        queued_bytes: Bytes that they weigh, all together.
        deepest_mailbox: The most user messages that wait in one mailbox.
        pending_asks: Asks of this system that wait for an outcome.
        deadlines: Deadlines that run: asks, timers, back-offs, budgets.
        jobs: Background tasks of actors.
        runners: Tasks that run turns or wait to.
        remote_monitors: Monitors that cross to or from other nodes.
        refused_monitors: Monitors that peers were refused, because they held too many, ever.
        dead_letters: Messages that reached nobody, ever.
        dead_letters_by_reason: The same, by reason.
        late_replies: Answers that came when nobody waited any more, ever.
        restarts: Children restarted by supervisors, ever.
    """

    actors: int
    supervisors: int
    names: int
    queued_messages: int
    queued_bytes: int
    deepest_mailbox: int
    pending_asks: int
    deadlines: int
    jobs: int
    runners: int
    remote_monitors: int
    refused_monitors: int
    dead_letters: int
    dead_letters_by_reason: dict[str, int]
    late_replies: int
    restarts: int

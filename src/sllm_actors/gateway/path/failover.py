"""What follows when an attempt to have a request answered does not end well. Pure.

One ``Failover`` belongs to one request; it may be made at the request's first failure. The caller tells it
what happened, and does what it returns: a ``Decision``, or None where nothing follows.

While an attempt is under way, or its end is looked into:

===============================  ==================================  =======================================
what happened                    the client has nothing yet          the client has a part of the answer
===============================  ==================================  =======================================
UNREACHED: no connection         Elsewhere; the replica was not      (cannot be)
                                 tried, and may be asked again after
                                 a pause
NO_ROOM: no free connection      Elsewhere, without waiting: Fail    (cannot be)
                                 if no other takes it now
BROKE: the engine broke          Elsewhere                           Fail
FAULTY: status 500, 502 or 503   Confirm; the answer is held back    (not told: what comes is passed on)
lost, and the engine died        Elsewhere                           Linger, then Fail
lost, in another way             Elsewhere, but the attempt may go   Linger, then Fail
                                 on while no other takes it
lost before it was reached       as UNREACHED                        (cannot be)
SILENT: nothing came for long    Fail                                Fail
BAD: another would do no better  Fail                                Fail
the client left                  (not told)                          (not told)
a kept connection closed before  (not told: the caller sends the     (cannot be)
a byte of the answer             request again over a fresh one)
===============================  ==================================  =======================================

``Confirm`` ends with ``confirmed``:

===============================  ===========================================================================
a FAULTY answer is held back     serving: Deliver. Else the attempt has failed, as by BROKE.
two engines broke                both died: Fail, ``request_breaks_engines``. Else Elsewhere.
it was lost meanwhile            nothing: what ``lost`` returned holds
===============================  ===========================================================================

``Elsewhere`` that found no replica until its time was over ends with ``out_of_time``:

===============================  ===========================================================================
hold deadline over, or NO_ROOM   Fail
failure budget over, and only    Fail: what is known of them may have been late, but is not any more
replicas that failed are ready
else                             Elsewhere
===============================  ===========================================================================

No replica is tried twice, and no more than ``Rules.attempts`` are: after that, Elsewhere becomes Fail, or
Linger where the attempt may go on. When a second engine broke, Confirm comes before Elsewhere, unless it is
known already how both ended. ``Fail`` carries the error of the last failure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from enum import Enum, auto
from typing import Final, TypeAlias

from attrs import frozen

from sllm_actors.api_error import ApiError
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import EngineConfirmed
from sllm_actors.gateway import errors
from sllm_actors.gateway.routing.loss import Lost

FAULTY_STATUS: Final = frozenset({500, 502, 503})
"""Answers that a broken engine gives, too: they are held back until its worker confirms that it serves."""

CONFIRM_SECONDS: Final = 1.0
"""How long a worker may take to confirm that an engine serves; after that it has not."""

MOST_DEATHS: Final = 2
"""How many engines may end by themselves over one request."""

FIRST_PAUSE: Final = 0.1
"""Seconds until a replica that could not be reached is asked again; each further pause is twice as long."""

LONGEST_PAUSE: Final = 1.0


class AttemptEnd(Enum):
    """How an attempt ended; see the table of the module."""

    UNREACHED = auto()
    NO_ROOM = auto()
    BROKE = auto()
    FAULTY = auto()
    SILENT = auto()
    BAD = auto()


@frozen
class Elsewhere:
    """Take another replica; if none takes the request now, hold it.

    Attributes:
        excluded: The replicas that it must not be given to.
        until: Until when it may be held; then call ``out_of_time``. Not later than now: do not hold it.
        stay: Whether the attempt under way goes on until another replica has taken the request, in place of
            a hold.
    """

    excluded: frozenset[ReplicaId]
    until: float
    stay: bool = False


@frozen
class Confirm:
    """Ask the workers of these replicas with ``ConfirmEngine``, then call ``confirmed``.

    It is called when all have answered, or after ``CONFIRM_SECONDS``.
    """

    replicas: tuple[ReplicaId, ...]


@frozen
class Deliver:
    """Give the client the answer that was held back."""


@frozen
class Linger:
    """Leave the attempt as it is. If no byte of it comes until then, end it, with ``AttemptEnd.BROKE``."""

    until: float


@frozen
class Fail:
    """End the request with this error."""

    error: ApiError


Decision: TypeAlias = Elsewhere | Confirm | Deliver | Linger | Fail


def _nobody(_: ReplicaId) -> bool:
    return False


@frozen
class Rules:
    """What is the same for all requests of a gateway.

    Attributes:
        attempts: On how many replicas one request may be tried.
        budget: The failure budget in seconds: how long a request whose replicas have failed waits for news
            of them while there is no other, and how long a lost replica may be silent in the middle of an
            answer.
        silence: How long an attempt may make no progress until it ends with ``AttemptEnd.SILENT``.
        has_died: Returns whether an engine is known to have ended by itself while its worker was linked.
    """

    attempts: int = 3
    budget: float = 10.0
    silence: float = 600.0
    has_died: Callable[[ReplicaId], bool] = _nobody


class Failover:
    """What one request has been through. Times are in seconds by one monotonic clock.

    Args:
        rules: Those of the gateway.
        deployment: The deployment's id, for errors.
        began: When the request came.
        hold_timeout: How long it may wait for a replica; after its first failure, it may wait for at least
            the failure budget.

    Attributes:
        tried: The replicas that it was tried on in vain.
    """

    __slots__ = (
        "_asked",
        "_began",
        "_broke",
        "_deadline",
        "_deployment",
        "_error",
        "_first",
        "_held_back",
        "_judged",
        "_no_room",
        "_pauses",
        "_rules",
        "tried",
    )

    def __init__(self, rules: Rules, deployment: str, *, began: float, hold_timeout: float) -> None:
        self.tried: set[ReplicaId] = set()
        self._rules = rules
        self._deployment = deployment
        self._began = began
        self._deadline = began + hold_timeout
        self._first: float | None = None
        self._error = errors.held_too_long(deployment)
        self._no_room = False
        self._pauses: dict[ReplicaId, tuple[float, float]] = {}
        self._broke: set[ReplicaId] = set()
        self._judged: dict[ReplicaId, bool] = {}
        self._asked: tuple[ReplicaId, ...] = ()
        self._held_back: ReplicaId | None = None

    @property
    def error(self) -> ApiError:
        """The error of the last failure."""
        return self._error

    def ended(
        self,
        replica: ReplicaId,
        end: AttemptEnd,
        reason: str,
        *,
        answered: bool,
        now: float,
        connect_timeout: float | None = None,
    ) -> Decision:
        """Take the end of an attempt.

        Args:
            replica: Where it was.
            end: How it ended.
            reason: Why, in a few words for the client; not used for SILENT.
            answered: Whether the client has a part of the answer. Comments that kept a stream alive, and the
                head before them, are no part.
            now: The time.
            connect_timeout: That of an external server; None for an engine. A request for a server that
                cannot be reached is held no longer than this.
        """
        self._fails(now, self._error_of(end, reason, external=connect_timeout is not None))
        self._no_room = end is AttemptEnd.NO_ROOM
        match end:
            case AttemptEnd.FAULTY if not answered:
                self._held_back = replica
                return self._confirm((replica,))
            case AttemptEnd.FAULTY | AttemptEnd.BROKE if not answered:
                return self._break(replica, now)
            case AttemptEnd.UNREACHED | AttemptEnd.NO_ROOM:
                self._pause(replica, now)
                if connect_timeout is not None and end is AttemptEnd.UNREACHED:
                    self._deadline = min(self._deadline, self._began + connect_timeout)
                return self._seek(now)
        return Fail(self._error)

    def lost(
        self, replica: ReplicaId, loss: Lost, *, answered: bool, now: float, reached: bool = True
    ) -> Decision:
        """Take the loss of the replica where an attempt is under way, or whose answer is held back.

        Args:
            replica: The replica.
            loss: How it was lost.
            answered: As for ``ended``.
            now: The time.
            reached: Whether the engine may have got the request. False while its worker has not accepted the
                stream that leads to it: such a replica was not tried.
        """
        self._fails(now, errors.engine_broke(self._deployment, loss.reason))
        self._no_room = False
        self._held_back, self._asked = None, ()
        if loss.died:
            self._judged[replica] = True
        if answered:
            return Linger(now + self._rules.budget)
        if not reached:
            self._pause(replica, now)
            return self._seek(now)
        if loss.died:
            return self._break(replica, now)
        self.tried.add(replica)
        return self._seek(now, stay=True)

    def confirmed(self, answers: Mapping[ReplicaId, EngineConfirmed], now: float) -> Decision | None:
        """Take what the workers answered; those that are missing have not answered in time.

        Returns:
            None if nothing is waited for any more, since the replica was lost meanwhile.
        """
        if not self._asked:
            return None
        for replica in self._asked:
            answer = answers.get(replica)
            self._judged[replica] = answer is not None and answer.died
        held_back, self._held_back, self._asked = self._held_back, None, ()
        if held_back is None:
            return self._seek(now)
        answer = answers.get(held_back)
        return Deliver() if answer is not None and answer.serving else self._break(held_back, now)

    def out_of_time(self, ready: Collection[ReplicaId], now: float) -> Decision:
        """Take that no replica was found until the time that ``Elsewhere`` gave.

        Args:
            ready: The replicas of the deployment that take requests now, free or not.
            now: The time.
        """
        failed = self.tried | self._pauses.keys()
        only_failed = bool(ready) and failed.issuperset(ready)
        if self._no_room or now >= self._deadline or (only_failed and now >= self._notice(now)):
            return Fail(self._error)
        return self._seek(now)

    def refusal(self) -> Fail | None:
        """Return the end of a request that is known by now to break engines; ask before a further attempt."""
        if sum(self._is_dead(replica) for replica in self._broke) >= MOST_DEATHS:
            return Fail(errors.request_breaks_engines(self._deployment))
        return None

    def _fails(self, now: float, error: ApiError) -> None:
        self._error = error
        if self._first is None:
            self._first = now
            self._deadline = max(self._deadline, now + self._rules.budget)

    def _error_of(self, end: AttemptEnd, reason: str, *, external: bool) -> ApiError:
        match end:
            case AttemptEnd.NO_ROOM:
                return errors.no_room(self._deployment, reason)
            case AttemptEnd.SILENT:
                return errors.engine_silent(self._deployment, self._rules.silence)
            case AttemptEnd.UNREACHED if external:
                return errors.server_unreachable(self._deployment, reason)
        return errors.engine_broke(self._deployment, reason)

    def _notice(self, now: float) -> float:
        """Return until when what is known of the replicas that failed may be late."""
        return (now if self._first is None else self._first) + self._rules.budget

    def _is_dead(self, replica: ReplicaId) -> bool:
        return self._judged.get(replica, False) or self._rules.has_died(replica)

    def _pause(self, replica: ReplicaId, now: float) -> None:
        _, before = self._pauses.get(replica, (0.0, FIRST_PAUSE / 2))
        pause = min(2 * before, LONGEST_PAUSE)
        self._pauses[replica] = (now + pause, pause)

    def _break(self, replica: ReplicaId, now: float) -> Decision:
        self.tried.add(replica)
        self._broke.add(replica)
        open_ = [each for each in self._broke if each not in self._judged and not self._is_dead(each)]
        dead = sum(map(self._is_dead, self._broke))
        if open_ and len(open_) + dead >= MOST_DEATHS > dead:
            return self._confirm(tuple(sorted(open_)))
        return self._seek(now)

    def _confirm(self, replicas: tuple[ReplicaId, ...]) -> Confirm:
        self._asked = replicas
        return Confirm(replicas)

    def _seek(self, now: float, *, stay: bool = False) -> Decision:
        if (refusal := self.refusal()) is not None:
            return refusal
        if len(self.tried) >= self._rules.attempts:
            return Linger(now + self._rules.budget) if stay else Fail(self._error)
        paused = {replica: at for replica, (at, _) in self._pauses.items() if at > now}
        excluded = frozenset(self.tried | paused.keys())
        if self._no_room:
            return Elsewhere(excluded, now)
        notice = self._notice(now)
        look = notice if notice > now else now + self._rules.budget
        return Elsewhere(excluded, min(self._deadline, look, *paused.values()), stay)

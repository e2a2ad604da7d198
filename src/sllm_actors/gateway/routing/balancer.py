"""Gives each request a replica at once, or lets it wait for one; knows what is under way where. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from sllm_actors.api_error import ApiError
from sllm_actors.gateway import errors

from .asked import SERVED, Asked, Outcome, User
from .callbacks import Callbacks
from .lines.attained import Use
from .lines.circuit import CircuitState
from .lines.hold import Hold, HoldState
from .lines.line import Line, LostOf
from .lines.place import Place
from .lines.policies.choice import policy_named
from .loss import Lost
from .reminders import Reminders
from .route import Route, Upstream
from .shell import REST_PAUSE, Shell

SLICE: Final = 32
"""Requests of one deployment that are let go in one turn of the event loop: each begins work at once."""


class Balancer:
    """Chooses replicas, counts what is under way at each, and keeps the requests that wait.

    All methods are for the thread of the event loop; each does all of its work before it returns, and waits
    for nothing. The cost of ``take`` and ``done`` grows neither with the number of deployments nor with that
    of requests.

    A request takes part in one of two ways at a time: it waits (``Hold``), or it is under way at a replica.

    * No replica ever has more requests of this gateway than its limit.
    * Where a replica has room, no request waits that may go there; within one turn of the event loop, at most
      ``SLICE`` of those that wait are let go, and until the last of them is, no other goes before.
    * Of requests that may go to a replica that has room, the one with the highest priority goes, of those one
      of the flow that has had the least service over its share (``FairQueue``), and of those the one that
      began to wait first.
    * Each request that waits is told once how its wait ended, unless it has left.

    Args:
        now: Reads a monotonic clock, in seconds.
        rng: The source of draws.
        shell: What is done around it.
        restart_notice: Seconds that a request which broke on the only replica waits to hear that this replica
            is no longer ready.

    Attributes:
        total: How many requests are under way at all replicas together.
    """

    def __init__(
        self, now: Callable[[], float], rng: random.Random, shell: Shell, *, restart_notice: float = 10.0
    ) -> None:
        self.total = 0
        self._now = now
        self._rng = rng
        self._shell = shell
        self._restart_notice = restart_notice
        self._lines: dict[str, Line] = {}
        self._at: dict[User, tuple[Line, Place, Asked, Use | None]] = {}
        self._reminders = Reminders(shell.wake_at)
        self._numbers = 0
        self._releasing: dict[str, Line] = {}
        self._changed: set[str] = set()
        self._rest_told = -inf
        self._callbacks = Callbacks(shell.failed)

    # ---- requests

    def take(self, asked: Asked, user: User) -> Upstream | None:
        """Return the replica that the request goes to; it is counted there until ``done``.

        None: no replica takes it now; ``hold`` says whether it may wait for one.
        """
        line = self._lines.get(asked.deployment)
        if line is None:
            return None
        # Where a place has room, no request waits that may go there, except between two slices of a release.
        place = None if line.releasing else line.policy.choose(line.ready, asked)
        if place is None:
            return None
        line.use(asked)
        self._begin(line, place, asked, user)
        return place.upstream

    def hold(
        self,
        asked: Asked,
        user: User,
        *,
        began: float | None = None,
        latest: float = inf,
        error: ApiError | None = None,
    ) -> Hold:
        """Let a request wait that ``take`` has just given no replica; ``user`` hears how the wait ends.

        It waits for at most the deployment's ``hold_timeout``; while replicas are ready, and all are full,
        for its ``queue_timeout`` where that is set. A request that was tried on every replica that is ready
        waits only ``restart_notice`` to hear that one of them no longer is.

        Args:
            asked: What it asks.
            user: Who is told.
            began: Since when it waits, by the balancer's clock, if not since now.
            latest: When the wait ends at the latest.
            error: Why the last attempt failed: what it is refused with if its time is over.

        Raises:
            ApiError: The deployment does not exist, no replica of it will be ready, the only one that has
                what the request is about is gone, or too many requests wait for it.
        """
        line, now = self._lines.get(asked.deployment), self._now()
        if line is None:
            raise errors.model_not_found(asked.deployment)
        refusal = line.refusal() or line.gone(asked) or line.full(now)
        if refusal is not None:
            raise refusal
        notice = now + self._restart_notice if asked.tried else None
        self._numbers += 1
        hold = Hold(asked, user, self._numbers, now if began is None else began, latest, notice, error)
        line.holds.join(hold, now)
        line.use(asked)
        self._note(line)
        self._look_at(line, hold, now)
        if not line.releasing and line.holds.first(_with_room(line.ready)) is not None:
            self._release_soon(line)  # ``take`` was not called just before
        if len(line.holds) == 1:
            self._shell.held(line.id)
        return hold

    def leave(self, hold: Hold) -> bool:
        """Let a request wait no longer: its client has left.

        Returns:
            Whether it had not been told the end of its wait yet, and is told none now. False: ``granted`` or
            ``refused`` was called before; after ``granted``, ``done`` is still to be called.
        """
        if hold.state is HoldState.OVER:
            return False
        if hold.state is HoldState.WAITING:
            line = self._lines[hold.asked.deployment]
            self._remove(line, hold, HoldState.OVER)
            self._forget_unused(line)
            return True
        hold.state = HoldState.OVER
        if hold.user in self._at:
            self.done(hold.user, Outcome.LEFT)
        return True

    def done(self, user: User, outcome: Outcome) -> None:
        """Count a request at its replica no longer: its place is free.

        Args:
            user: As given to ``take`` or ``hold``.
            outcome: How it ended there.

        Raises:
            KeyError: It is not under way.
        """
        line, place, asked, use = self._at.pop(user)
        probed = place.probe is user
        began = place.end(user)
        self.total -= 1
        line.in_flight -= 1
        if line.id not in self._changed:
            self._note(line)
        now = self._now()
        if line.holds.waiting:
            line.holds.end(asked, use, now)
        if outcome is SERVED:
            line.measured.served(now - began)
        if line.learn(place, outcome, probed=probed, now=now):
            self._numbers += 1
            self._reminders.put(place.circuit.until, self._numbers, place)
        if not place.load and (place.idle_calls or not place.ready):
            self._idle(line, place)
        if line.holds.waiting and place.room > 0 and not line.releasing:
            self._release(line, (place,))
            self._callbacks.make()
        if not line.in_flight and not line.holds.waiting and now >= self._rest_told + REST_PAUSE:
            self._rest_told = now
            self._shell.at_rest()

    def expire(self, now: float) -> None:
        """Do what is due: refuse the requests whose time is over, and let go of more that may go.

        Call it when ``Shell.wake_at`` has said; calling it at any other time is harmless.
        """
        self._reminders.rang()
        while (entry := self._reminders.due(now)) is not None:
            due, number, item = entry
            if isinstance(item, Hold):
                self._judge(self._lines[item.asked.deployment], item, now)
            else:
                self._reminders.drop(due, number)
                self._probe(item, now)
        for line in list(self._releasing.values()):
            self._stop_releasing(line)
            self._release(line, line.ready)
        self._reminders.rest()
        self._callbacks.make()

    # ---- what is known of a request, and of a replica

    def ahead_of(self, hold: Hold) -> int | None:
        """Return how many requests of its deployment go before one that waits; None if it waits no longer."""
        if hold.state is not HoldState.WAITING:
            return None
        return self._lines[hold.asked.deployment].holds.ahead_of(hold)

    def expected_wait(self, hold: Hold) -> float | None:
        """Return how many seconds a request will wait from now on, by what was measured; None if unknown."""
        ahead = self.ahead_of(hold)
        if ahead is None:
            return None
        return self._lines[hold.asked.deployment].expected_wait(ahead, self._now())

    def held(self, deployment: str) -> int:
        """Return how many requests wait for a deployment."""
        line = self._lines.get(deployment)
        return 0 if line is None else len(line.holds)

    def in_flight(self, deployment: str) -> int:
        """Return how many requests are under way at all replicas of a deployment."""
        line = self._lines.get(deployment)
        return 0 if line is None else line.in_flight

    def ready(self, deployment: str) -> int:
        """Return how many replicas of a deployment take requests, be they full."""
        line = self._lines.get(deployment)
        return 0 if line is None else len(line.ready)

    def busy(self) -> list[str]:
        """Return the deployments for which requests wait, or of which some are under way."""
        return [name for name, line in self._lines.items() if line.in_flight or len(line.holds)]

    def at(self, upstream: Upstream) -> int:
        """Return how many requests are under way at one replica."""
        place = self._place(upstream)
        return 0 if place is None else place.load

    def when_idle(self, upstream: Upstream, call: Callable[[], None]) -> None:
        """Call ``call`` once, when nothing is under way at a replica: now, or at the end of its last request.

        ``call`` must not raise. Calls that wait for one replica are made in the order in which they came.
        """
        place = self._place(upstream)
        if place is None or not place.load:
            call()
        else:
            place.idle_calls.append(call)

    def take_uses(self, deployment: str) -> tuple[int, float | None]:
        """Return how many requests of a deployment have begun since the last call, and what they wish.

        That is the ``keep_alive`` of the last of these requests that has one, or None.
        """
        line = self._lines.get(deployment)
        return (0, None) if line is None else line.take_uses()

    def take_changed(self) -> frozenset[str]:
        """Return the deployments of which more or fewer requests wait, or are under way, since the last call.

        Routes that changed count too.
        """
        changed = frozenset(self._changed)
        self._changed.clear()
        return changed

    # ---- routes

    def route_changed(self, route: Route, lost: LostOf) -> None:
        """Take the new route of a deployment; one without ``served``, if the deployment is gone.

        Call it too when the route is the same, and what ``lost`` returns may not be. Requests at a replica
        that is no longer ready end there, unless it is lost: then they are told, but not those at an external
        server, since a connection there does not depend on what a worker finds.

        Args:
            route: The route.
            lost: Returns how an engine life on a worker was lost; None if requests may still end there.
        """
        line, now = self._lines.get(route.id), self._now()
        name = "" if route.served is None else route.served.policy
        if line is None:
            line = self._lines[route.id] = Line(route.id, policy_named(name, self._rng))
        elif name and name != line.policy_name:
            line.policy = policy_named(name, self._rng)
        line.policy_name = name or line.policy_name
        limits = line.limits
        for place, loss in line.follow(route, now, lost):
            for user in place.users:
                self._callbacks.add(self._tell_loss, user, place, loss)
        self._note(line)
        if len(line.holds):
            self._reroute(line, now, again=limits != line.limits)
        self._forget_unused(line)
        self._callbacks.make()

    def _reroute(self, line: Line, now: float, *, again: bool) -> None:
        """Let a new route decide about the requests that wait; ``again``: when each is due has changed."""
        refusal = line.refusal()
        if refusal is not None:
            for hold in line.holds.all():
                self._decide(line, hold, _fresh(refusal))
            return
        for hold in line.holds.bereft(line.there):
            self._decide(line, hold, line.gone(hold.asked) or line.too_late(hold, now))
        self._release(line, line.ready)
        for hold in line.holds.tried_on_all(line.ready_ids):
            if hold.notice_by is not None and hold.notice_by <= now:
                self._decide(line, hold, line.too_late(hold, now))
        for hold in line.holds.all() if again else ():
            self._reminders.drop(hold.due, hold.number)
            self._look_at(line, hold, now)

    # ---- what waits

    def _release(self, line: Line, places: tuple[Place, ...]) -> None:
        """Let those go first that are first, to the places of these that have room."""
        for _ in range(SLICE):
            with_room = _with_room(places)
            hold = line.holds.first(with_room)
            place = None if hold is None else line.policy.choose(with_room, hold.asked)
            if hold is None or place is None:
                return
            self._begin(line, place, hold.asked, hold.user)
            self._decide(line, hold, place.upstream)
        if line.holds.first(_with_room(places)) is not None:
            self._release_soon(line)

    def _release_soon(self, line: Line) -> None:
        """Let requests go in the next turn of the event loop."""
        line.releasing = True
        self._releasing[line.id] = line
        self._reminders.wake(self._now())

    def _stop_releasing(self, line: Line) -> None:
        line.releasing = False
        del self._releasing[line.id]

    def _judge(self, line: Line, hold: Hold, now: float) -> None:
        """Refuse a request if its time is over; else note when that may be next."""
        unnoticed = hold.notice_by is not None and hold.notice_by <= now and line.is_stuck(hold)
        if unnoticed or line.ends(hold) <= now:
            self._decide(line, hold, line.too_late(hold, now))
        else:
            self._reminders.drop(hold.due, hold.number)
            self._look_at(line, hold, now)

    def _look_at(self, line: Line, hold: Hold, now: float) -> None:
        """Note when a request that waits is to be looked at next."""
        due = line.ends(hold)
        if hold.notice_by is not None and now < hold.notice_by < due:
            due = hold.notice_by
        hold.due = due
        self._reminders.put(due, hold.number, hold)

    def _probe(self, place: Place, now: float) -> None:
        """Let one request try a replica whose circuit was open long enough."""
        line = self._lines.get(place.deployment)
        if line is None or place.circuit.state is not CircuitState.OPEN or place.circuit.until > now:
            return
        place.circuit.half_open()
        place.reckon()
        if place.room > 0 and not line.releasing:
            self._release(line, (place,))

    def _decide(self, line: Line, hold: Hold, end: Upstream | ApiError) -> None:
        """End the wait of a request; its user is told among the callbacks."""
        hold.end = end
        self._remove(line, hold, HoldState.DECIDED)
        self._callbacks.add(self._tell_end, hold)

    def _remove(self, line: Line, hold: Hold, state: HoldState) -> None:
        """Take a request out of those that wait."""
        hold.state = state
        line.holds.leave(hold, self._now())
        self._reminders.drop(hold.due, hold.number)
        self._note(line)

    # ---- places

    def _begin(self, line: Line, place: Place, asked: Asked, user: User) -> None:
        """Count a request at a place from now on."""
        now = self._now()
        use = line.charge(asked, now) if line.holds.waiting else None
        self._at[user] = (line, place, asked, use)
        place.begin(user, now)
        self.total += 1
        line.in_flight += 1
        if line.id not in self._changed:
            self._note(line)

    def _idle(self, line: Line, place: Place) -> None:
        """Do what was to be done when nothing is under way at a place."""
        for call in place.idle_calls:
            self._callbacks.add(call)
        place.idle_calls = []
        self._callbacks.make()
        if not place.ready:
            line.forget_unused(place)
            self._forget_unused(line)

    def _place(self, upstream: Upstream) -> Place | None:
        line = self._lines.get(upstream.id.deployment)
        return None if line is None else line.places.get((upstream.node, upstream.id))

    def _forget_unused(self, line: Line) -> None:
        """Forget a deployment that is gone, once nothing of it waits or is under way."""
        if line.unused:
            self._lines.pop(line.id, None)
            if line.releasing:
                self._stop_releasing(line)

    # ---- the shell, and the users

    def _note(self, line: Line) -> None:
        """Take note that a deployment is one of those that ``take_changed`` returns."""
        changed = self._changed
        if not changed:
            self._shell.demand_changed()
        changed.add(line.id)

    def _tell_end(self, hold: Hold) -> None:
        if hold.state is not HoldState.DECIDED:
            return  # it has left in the meantime
        hold.state = HoldState.OVER
        if isinstance(hold.end, Upstream):
            hold.user.granted(hold.end)
        else:
            assert hold.end is not None
            hold.user.refused(hold.end)

    def _tell_loss(self, user: User, place: Place, loss: Lost) -> None:
        at = self._at.get(user)
        if at is not None and at[1] is place and user not in place.told:
            place.told.add(user)
            user.lost(loss)


def _with_room(places: Sequence[Place]) -> list[Place]:
    return [place for place in places if place.room > 0]


def _fresh(error: ApiError) -> ApiError:
    """Return a copy: one error object answers many requests, and a raised one carries its own traceback."""
    return ApiError(error.status, error.code, error.message, error.param, error.retry_after, error.detail)

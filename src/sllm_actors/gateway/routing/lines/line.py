"""One deployment, as the balancer keeps it: where its requests can go, and which of them wait. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sllm_actors.api_error import ApiError
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway import errors
from sllm_actors.gateway.routing.asked import SERVED, Asked, Outcome
from sllm_actors.gateway.routing.loss import Lost
from sllm_actors.gateway.routing.route import Route, Upstream, share_of

from .attained import Use
from .circuit import CLOSED
from .hold import Hold
from .hold_queue import HoldQueue
from .measured import Measured
from .place import UNLIMITED, Place
from .policies.policy import Policy

LostOf = Callable[[str, ReplicaId], Lost | None]
"""Returns how an engine life on a worker was lost; None if it goes on."""

UNMEASURED: Final = 1.0
"""Seconds that a request is expected to take where none was measured; any number lets flows take turns."""

NOBODY: Final[frozenset[ReplicaId]] = frozenset()


class Line:
    """A deployment's places, its policy, and the requests that wait for one of the places.

    Attributes:
        id: The deployment's id.
        route: The route that was heard of last.
        policy: Chooses among ``ready``.
        policy_name: What the policy was made for.
        ready: The places that take requests, in the order of the route.
        places: ``ready``, and the other engines that have requests, by worker and engine life.
        holds: The requests that wait.
        ready_since: When ``ready`` was empty last, and no longer was; None while it is empty.
        ready_ids: The identities of ``ready``.
        releasing: Whether more requests are let go in the next turn of the event loop.
        in_flight: How many requests are under way at all its places.
        measured: What was measured of it.
    """

    def __init__(self, deployment: str, policy: Policy) -> None:
        self.id = deployment
        self.route = Route(deployment)
        self.policy = policy
        self.policy_name = ""
        self.ready: tuple[Place, ...] = ()
        self.ready_ids = NOBODY
        self.places: dict[tuple[str, ReplicaId], Place] = {}
        self.holds = HoldQueue()
        self.ready_since: float | None = None
        self.releasing = False
        self.in_flight = 0
        self.measured = Measured()
        self._uses = 0
        self._keep_alive: float | None = None

    # ---- what the head is told

    def use(self, asked: Asked) -> None:
        """Count a request that begins."""
        self._uses += 1
        if asked.keep_alive is not None:
            self._keep_alive = asked.keep_alive

    def charge(self, asked: Asked, now: float) -> Use | None:
        """Charge a request's flow for the slot that it gets while others wait."""
        return self.holds.begin(asked, self.measured.service or UNMEASURED, now)

    def take_uses(self) -> tuple[int, float | None]:
        """See ``Balancer.take_uses``."""
        taken = (self._uses, self._keep_alive)
        self._uses, self._keep_alive = 0, None
        return taken

    # ---- the route

    def follow(self, route: Route, now: float, lost: LostOf) -> list[tuple[Place, Lost]]:
        """Take a new route.

        Returns:
            The engines that have requests and are lost, each with how; as long as they have requests, each
            time.
        """
        self.route = route
        for place in self.places.values():
            place.ready = False
        ready = [self._place_of(upstream) for upstream in route.ready]
        losses = []
        for place in list(self.places.values()):
            place.reckon()
            if place.ready:
                continue
            if place.load and place.upstream.server is None:
                loss = lost(place.upstream.node, place.id)
                if loss is not None:
                    losses.append((place, loss))
            self.forget_unused(place)
        self.ready = tuple(ready)
        self._readmit(now)
        self.ready_ids = frozenset(place.id for place in ready)
        self.policy.keep(self.ready_ids)
        if not ready:
            self.ready_since = None
        elif self.ready_since is None:
            self.ready_since = now
        self.measured.follow(route, now)
        return losses

    def forget_unused(self, place: Place) -> None:
        """Drop a place that takes no requests and has none."""
        if not place.ready and not place.load:
            self.places.pop((place.upstream.node, place.id), None)

    @property
    def unused(self) -> bool:
        """Whether nothing is left to remember of the deployment."""
        return self.route.served is None and not self.places and not len(self.holds)

    def _place_of(self, upstream: Upstream) -> Place:
        """Return the place of a replica that takes requests."""
        key = (upstream.node, upstream.id)
        place = self.places.get(key)
        if place is None:
            place = self.places[key] = Place(upstream, self.id)
        place.upstream = upstream
        place.ready = True
        place.limit = share_of(self.route.served, upstream) or UNLIMITED
        return place

    # ---- circuits

    def learn(self, place: Place, outcome: Outcome, *, probed: bool, now: float) -> bool:
        """Take note of how a request ended; return whether the place's circuit has just been opened.

        At most half of the ready places have circuits that are not closed: a replica that is alone goes on
        getting requests, and each fails with its own reason.

        Args:
            place: Where the request was.
            outcome: How it ended.
            probed: Whether it was the probe of a half open circuit.
            now: The time.
        """
        circuit = place.circuit
        if circuit.state is CLOSED:
            if outcome is SERVED:
                circuit.served(now)
                return False
            tripped = outcome is Outcome.BROKE and circuit.broke(now)
            if not tripped or 2 * (len(self._shut()) + 1) > len(self.ready):
                return False
        elif not probed or outcome is Outcome.LEFT:
            return False
        elif outcome is SERVED:
            circuit.close(now)
            place.reckon()
            return False
        circuit.open(now)
        place.reckon()
        return True

    def _readmit(self, now: float) -> None:
        """Close circuits, since with fewer places more than half of them would not be closed."""
        shut = sorted(self._shut(), key=lambda place: place.circuit.until)
        while 2 * len(shut) > len(self.ready):
            place = shut.pop(0)
            place.circuit.close(now)
            place.reckon()

    def _shut(self) -> list[Place]:
        return [place for place in self.ready if place.circuit.state is not CLOSED]

    # ---- what a request that waits is told

    @property
    def limits(self) -> tuple[float, float | None, float | None]:
        """What ``ends`` depends on beside the request."""
        served = self.route.served
        if served is None:
            return (0.0, None, None)
        return served.hold_timeout, served.queue_timeout, self.ready_since

    def refusal(self) -> ApiError | None:
        """Return why it is of no use to wait, or None."""
        if self.route.served is None:
            return errors.model_not_found(self.id)
        failure = self.route.failure
        if failure is None:
            return None
        if not failure.placed:
            return errors.no_place(self.id, failure.reason)
        if failure.external:
            return errors.server_unreachable(self.id, failure.reason)
        return errors.replicas_failed(self.id, failure.reason, failure.retry_in)

    def gone(self, asked: Asked) -> ApiError | None:
        """Return the error of a request that may go to one replica only, if that takes no more; else None."""
        stored = asked.stored
        if stored is None or stored.replica in self.there:
            return None
        return errors.holder_gone(stored.made, self.id)

    @property
    def there(self) -> frozenset[ReplicaId]:
        """The replicas that take requests, or will when they are woken."""
        return self.ready_ids.union(upstream.id for upstream in self.route.asleep)

    def full(self, now: float) -> ApiError | None:
        """Return the error of a request that comes when as many wait as may, or None if it may wait."""
        served = self.route.served
        if served is None or len(self.holds) < served.hold_limit:
            return None
        return errors.hold_queue_full(self.id, served.hold_limit, self.expected_wait(len(self.holds), now))

    def is_stuck(self, hold: Hold) -> bool:
        """Return whether replicas are ready, and the request was tried on each of them."""
        return bool(self.ready_ids) and self.ready_ids <= hold.asked.tried

    def ends(self, hold: Hold) -> float:
        """Return when the request's time to wait is over, as things are now."""
        served = self.route.served
        assert served is not None, "then nothing waits"
        end = hold.began + served.hold_timeout
        if self.ready_since is not None and served.queue_timeout is not None:
            # The two waits are not of one kind: a short one for room counts from when there are replicas.
            end = max(hold.began, self.ready_since) + served.queue_timeout
        return min(end, hold.latest)

    def too_late(self, hold: Hold, now: float) -> ApiError:
        """Return the error of a request whose time to wait is over."""
        if hold.error is not None:
            return hold.error
        expected = self.expected_wait(0, now)
        if self.ready:
            return errors.queued_too_long(self.id, expected)
        return errors.held_too_long(self.id, expected)

    def expected_wait(self, ahead: int, now: float) -> float | None:
        """Return the seconds that a request is expected to wait, or None if nothing was measured yet.

        Args:
            ahead: How many requests go before it.
            now: The time.
        """
        rooms = sum(place.limit for place in self.ready)
        return self.measured.wait(ahead, rooms, now)

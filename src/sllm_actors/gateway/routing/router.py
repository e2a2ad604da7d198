"""The router: the actor of one deployment, which keeps its waiting requests and gives back what leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import anyio
import structlog
from attrs import frozen

from sllm_actors.actors import Actor, ActorRef, AskError, NodeId, Reply, Timer
from sllm_actors.api_error import ApiError
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway import errors
from sllm_actors.gateway.settings import GatewaySettings
from sllm_actors.serving.messages import WORKER, WakeInstance, Withdrawn

from .board import Board
from .give_back import GiveBacks, Withdrawal
from .holds import Hold, HoldQueue
from .in_flight import InFlight
from .messages import HoldRefused, LeaveHold, LookAtClock, Released, RouteChanged, WaitForReplica
from .route import Failure, Route, Upstream

log = structlog.get_logger()

AGAIN = 1.0
"""Seconds after which a worker is told again what it may not have heard, or has not done."""

ANSWER_TIMEOUT = 5.0
"""Seconds that a worker has to say that it has heard something."""


def router_name(deployment: str) -> str:
    """Return the name that the router of a deployment (by id) is registered under."""
    return f"router:{deployment}"


@frozen
class RouterTools:
    """What the routers of a gateway share with its hot path."""

    board: Board
    in_flight: InFlight
    settings: GatewaySettings


class Router(Actor):
    """The actor of one deployment, which ``GatewayActor`` starts when it is needed.

    It takes ``RouteChanged``, ``WaitForReplica`` and ``LeaveHold``; with any message, it looks at the route
    anew. A worker is told that nothing is in flight at a replica that leaves, and told again every ``AGAIN``
    seconds until it has answered. When the router stops, the requests that wait are refused: with
    ``model_not_found`` if the deployment is gone, else with ``router_restarting``.

    Args:
        current: Returns the route as it is known now.
        whole_of: See ``Knowledge.whole_of``.
        tools: What it shares with the hot path. A replica that leaves is no longer on the board.
    """

    def __init__(
        self, current: Callable[[], Route], whole_of: Callable[[str], int], tools: RouterTools
    ) -> None:
        self._current = current
        self._tools = tools
        self._route = current()
        self._give_backs = GiveBacks(whole_of)
        self._holds = HoldQueue()
        self._replies: dict[int, Reply] = {}
        self._errors: dict[int, ApiError | None] = {}
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self._waking: set[tuple[str, ReplicaId, int]] = set()

    async def started(self) -> None:
        self._look_at_route()

    async def stopped(self, reason: object) -> None:  # noqa: ARG002 - Actor.stopped
        gone = self._current().served is None
        error = errors.model_not_found(self._route.id) if gone else errors.router_away()
        self._refuse(self._holds.clear(), error)

    async def receive(self, message: Any) -> Any:
        self._look_at_route()
        match message:
            case RouteChanged():
                pass
            case WaitForReplica():
                self._hold(message)
            case LeaveHold(ticket):
                if self._holds.leave(ticket):
                    self._forget(ticket)
            case LookAtClock():
                self._timer = None
                self._expire()
            case _:
                await super().receive(message)

    # ---- the route

    def _look_at_route(self) -> None:
        before, self._route = self._route, self._current()
        route = self._route
        for withdrawal, upstream in self._give_backs.begin(route.leaving):
            self.context.start_soon(self._give_back, withdrawal, upstream)
        if route is before:
            return
        if route.served is None:
            self._refuse(self._holds.clear(), errors.model_not_found(route.id))
        elif route.failure is not None:
            self._refuse(self._holds.clear(), _failed(route.id, route.failure))
        else:
            self._release(self._holds.release(self._ready()))
            self._expire()
        self._wake()

    async def _give_back(self, withdrawal: Withdrawal, upstream: Upstream) -> None:
        """Tell a worker that nothing is in flight at a replica, once that is so, until it has heard it."""
        idle = anyio.Event()
        self._tools.in_flight.when_idle(upstream.id, idle.set)
        await idle.wait()
        withdrawn = Withdrawn(self.context.system.node, upstream.id, upstream.withdrawal)
        while self._give_backs.is_due(withdrawal):
            try:
                await self._worker_of(upstream).ask(withdrawn, timeout=ANSWER_TIMEOUT)
            except AskError as error:
                log.info("replica.not_given_back", replica=str(upstream.id), error=str(error))
                await anyio.sleep(AGAIN)
            else:
                return

    def _worker_of(self, upstream: Upstream) -> ActorRef:
        return self.context.system.named(WORKER, NodeId(upstream.node))

    def _ready(self) -> tuple[ReplicaId, ...]:
        return tuple(upstream.id for upstream in self._route.ready)

    # ---- holds

    def _hold(self, wait: WaitForReplica) -> None:
        reply = self.context.reply_later()
        served, now = self._route.served, self.context.now()
        if served is None:
            reply.send(HoldRefused(errors.model_not_found(self._route.id)))
            return
        if self._route.failure is not None:
            reply.send(HoldRefused(_failed(self._route.id, self._route.failure)))
            return
        if any(upstream.id not in wait.excluded for upstream in self._route.ready):
            reply.send(Released())
            return
        notice_by = now + self._tools.settings.restart_notice if wait.excluded else None
        if not self._holds.join(
            Hold(wait.ticket, wait.deadline, wait.excluded, notice_by), served.hold_limit
        ):
            reply.send(HoldRefused(errors.hold_queue_full(self._route.id, served.hold_limit)))
            return
        self._replies[wait.ticket] = reply
        self._errors[wait.ticket] = wait.error
        self._expire()
        self._wake()

    def _to_wake(self) -> Upstream | None:
        """Return the sleeping replica that requests wait for: the first, which all gateways choose alike."""
        return self._route.asleep[0] if self._route.asleep and len(self._holds) else None

    def _wake(self) -> None:
        asleep = self._to_wake()
        if asleep is not None and _sleep_of(asleep) not in self._waking:
            self._waking.add(_sleep_of(asleep))
            self.context.start_soon(self._wake_up, asleep)

    async def _wake_up(self, upstream: Upstream) -> None:
        """Order a replica to wake, again and again, as long as it sleeps and requests wait for it."""
        log.info("replica.wake", replica=str(upstream.id))
        sleep = _sleep_of(upstream)
        while (asleep := self._to_wake()) is not None and _sleep_of(asleep) == sleep:
            try:
                await self._worker_of(upstream).ask(WakeInstance(upstream.id.key), timeout=ANSWER_TIMEOUT)
            except AskError as error:
                log.info("replica.not_woken", replica=str(upstream.id), error=str(error))
            await anyio.sleep(AGAIN)
        self._waking.discard(sleep)

    def _expire(self) -> None:
        now = self.context.now()
        late = self._holds.expire(now) + self._holds.expire_unnoticed(now, self._ready())
        for ticket in late:
            self._refuse([ticket], self._errors[ticket] or errors.held_too_long(self._route.id))
        at = self._holds.next_time(now)
        if self._timer is not None and at != self._timer_at:
            self._timer.cancel()
            self._timer = None
        if at is not None and self._timer is None:
            self._timer_at = at
            self._timer = self.context.after(max(0.0, at - now), LookAtClock())

    def _release(self, tickets: Iterable[int]) -> None:
        for ticket in tickets:
            self._forget(ticket).send(Released())

    def _refuse(self, tickets: Iterable[int], error: ApiError) -> None:
        for ticket in tickets:
            log.info("hold.refused", deployment=self._route.id, code=error.code)
            self._forget(ticket).send(HoldRefused(error))

    def _forget(self, ticket: int) -> Reply:
        del self._errors[ticket]
        return self._replies.pop(ticket)


def _sleep_of(upstream: Upstream) -> tuple[str, ReplicaId, int]:
    """Return what names one sleep of a replica."""
    return upstream.node, upstream.id, upstream.withdrawal


def _failed(deployment: str, failure: Failure) -> ApiError:
    if not failure.placed:
        return errors.no_place(deployment, failure.reason)
    if failure.external:
        return errors.server_unreachable(deployment, failure.reason)
    return errors.replicas_failed(deployment, failure.reason, failure.retry_in)

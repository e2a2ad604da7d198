"""The router: the actor of one deployment, which publishes its route and keeps its waiting requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import structlog
from attrs import frozen

from sllm_actors.actors import Actor, NodeId, Reply, Timer
from sllm_actors.api_error import ApiError
from sllm_actors.gateway import errors
from sllm_actors.gateway.settings import GatewaySettings
from sllm_actors.serving.messages import WORKER, WakeInstance, Withdrawn

from .board import Board
from .holds import Hold, HoldQueue
from .in_flight import InFlight
from .messages import HoldRefused, Idle, LeaveHold, LookAtClock, Released, UpdateRoute, WaitForReplica
from .route import Failure, Route, Upstream

log = structlog.get_logger()


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
    """The actor of one deployment, started by ``GatewayActor``.

    It takes ``UpdateRoute``, ``WaitForReplica``, ``LeaveHold`` and ``Idle``. When it stops, the requests that
    wait are refused: with ``model_not_found`` if the deployment is gone, else with ``router_restarting``.

    Args:
        current: Returns the route as it is known now; a restarted router begins with it.
        tools: What it shares with the hot path.
    """

    def __init__(self, current: Callable[[], Route], tools: RouterTools) -> None:
        self._current = current
        self._tools = tools
        self._route = current()
        self._holds = HoldQueue()
        self._replies: dict[int, Reply] = {}
        self._errors: dict[int, ApiError | None] = {}
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self._woken: Upstream | None = None

    async def started(self) -> None:
        self._apply(self._current())

    async def stopped(self, reason: object) -> None:  # noqa: ARG002 - Actor.stopped
        gone = self._current().served is None
        error = errors.model_not_found(self._route.id) if gone else errors.router_away()
        self._refuse(self._holds.clear(), error)

    async def receive(self, message: Any) -> Any:
        match message:
            case UpdateRoute(route):
                self._apply(route)
            case WaitForReplica():
                self._hold(message)
            case LeaveHold(ticket):
                if self._holds.leave(ticket):
                    self._forget(ticket)
            case Idle(replica, node, withdrawal):
                if all(upstream.id != replica for upstream in self._route.ready):
                    system = self.context.system
                    system.named(WORKER, NodeId(node)).tell(Withdrawn(system.node, replica, withdrawal))
            case LookAtClock():
                self._timer = None
                self._expire()
            case _:
                await super().receive(message)

    # ---- the route

    def _apply(self, route: Route) -> None:
        before, self._route = self._route, route
        # Published first: once a worker is told that nothing is in flight, no request may be sent there.
        self._tools.board.publish(route)
        known = {upstream.id for upstream in (*route.ready, *route.leaving)}
        vanished = [each for each in (*before.ready, *before.leaving) if each.id not in known]
        self._withdraw((*route.leaving, *vanished))
        if route.served is None:
            self._refuse(self._holds.clear(), errors.model_not_found(route.id))
        elif route.failure is not None:
            self._refuse(self._holds.clear(), _failed(route.id, route.failure))
        else:
            self._release(self._holds.release(self._ready()))
            self._expire()
        self._woken = None  # the order to wake it may have been lost: it is given again
        self._wake()

    def _withdraw(self, upstreams: Iterable[Upstream]) -> None:
        ref = self.context.ref
        for upstream in upstreams:
            idle = Idle(upstream.id, upstream.node, upstream.withdrawal)
            self._tools.in_flight.when_idle(upstream.id, lambda idle=idle: ref.tell(idle))  # type: ignore[misc]

    def _ready(self) -> tuple[Any, ...]:
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

    def _wake(self) -> None:
        """Order one sleeping replica to wake if requests wait: the first, which all gateways choose alike."""
        asleep = self._route.asleep[0] if self._route.asleep and len(self._holds) else None
        if asleep is not None and asleep != self._woken:
            self._woken = asleep
            log.info("replica.wake", replica=str(asleep.id))
            worker = self.context.system.named(WORKER, NodeId(asleep.node))
            worker.tell(WakeInstance(asleep.id.key))

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


def _failed(deployment: str, failure: Failure) -> ApiError:
    if not failure.placed:
        return errors.no_place(deployment, failure.reason)
    if failure.external:
        return errors.server_unreachable(deployment, failure.reason)
    return errors.replicas_failed(deployment, failure.reason, failure.retry_in)

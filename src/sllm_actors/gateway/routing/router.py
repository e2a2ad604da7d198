"""The router of one deployment: gives back what leaves and, while there is no head, wakes what sleeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import structlog
from attrs import frozen

from sllm_actors.actors import Actor, ActorRef, AskError, NodeId
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway.settings import GatewaySettings
from sllm_actors.serving.messages import WORKER, WakeInstance, Withdrawn

from .balancer import Balancer
from .board import Board
from .give_back import GiveBacks, Withdrawal
from .messages import RouteChanged
from .route import Route, Upstream

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
    balancer: Balancer
    settings: GatewaySettings


class Router(Actor):
    """The actor of one deployment, which ``GatewayActor`` starts when it is needed.

    With any message, it looks at the route anew. A worker is told that nothing is in flight at a replica that
    leaves, and told again every ``AGAIN`` seconds until it has answered. The head hears of requests that
    wait, and wakes replicas for them. While it is away, and none of the replicas is ready, one that sleeps is
    woken, and told so again every ``AGAIN`` seconds.

    Args:
        current: Returns the route as it is known now.
        whole_of: See ``Knowledge.whole_of``.
        tools: What it shares with the hot path. A replica that leaves is no longer on the board.
        has_head: Returns whether a head is linked.
    """

    def __init__(
        self,
        current: Callable[[], Route],
        whole_of: Callable[[str], int],
        tools: RouterTools,
        has_head: Callable[[], bool],
    ) -> None:
        self._current = current
        self._has_head = has_head
        self._tools = tools
        self._give_backs = GiveBacks(whole_of)
        self._waking: set[tuple[str, ReplicaId, int]] = set()

    async def started(self) -> None:
        self._look_at_route()

    async def receive(self, message: Any) -> Any:
        self._look_at_route()
        if not isinstance(message, RouteChanged):
            await super().receive(message)

    def _look_at_route(self) -> None:
        for withdrawal, upstream in self._give_backs.begin(self._current().leaving):
            self.context.start_soon(self._give_back, withdrawal, upstream)
        self._wake()

    async def _give_back(self, withdrawal: Withdrawal, upstream: Upstream) -> None:
        """Tell a worker that nothing is in flight at a replica, once that is so, until it has heard it."""
        idle = anyio.Event()
        self._tools.balancer.when_idle(upstream, idle.set)
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

    def _to_wake(self) -> Upstream | None:
        """Return the sleeping replica that requests wait for: the first, which all gateways choose alike."""
        route = self._current()
        if self._has_head():
            return None
        return route.asleep[0] if route.asleep and self._tools.balancer.held(route.id) else None

    def _wake(self) -> None:
        asleep = self._to_wake()
        if asleep is not None and _sleep_of(asleep) not in self._waking:
            self._waking.add(_sleep_of(asleep))
            self.context.start_soon(self._wake_up, asleep)

    async def _wake_up(self, upstream: Upstream) -> None:
        """Order a replica to wake, as long as it sleeps, requests wait for it, and no head is there."""
        log.info("replica.wake", replica=str(upstream.id))
        sleep = _sleep_of(upstream)
        while (asleep := self._to_wake()) is not None and _sleep_of(asleep) == sleep:
            try:
                await self._worker_of(upstream).ask(WakeInstance(upstream.id.key), timeout=ANSWER_TIMEOUT)
            except AskError as error:
                log.info("replica.not_woken", replica=str(upstream.id), error=str(error))
            await anyio.sleep(AGAIN)
        self._waking.discard(sleep)


def _sleep_of(upstream: Upstream) -> tuple[str, ReplicaId, int]:
    """Return what names one sleep of a replica."""
    return upstream.node, upstream.id, upstream.withdrawal

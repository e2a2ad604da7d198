"""What the balancer wants done around it, done by the gateway's actor."""

from __future__ import annotations

import structlog

from sllm_actors.actors import ActorSystem
from sllm_actors.serving.messages import GATEWAY

from .messages import AtRest, DemandChanged, RequestsWait, WakeBalancer

log = structlog.get_logger()


class BalancerShell:
    """A ``Shell`` whose wishes are messages to the gateway's actor, which makes up for those that are lost.

    Args:
        system: The node's actor system.
    """

    def __init__(self, system: ActorSystem) -> None:
        self._actor = system.named(GATEWAY)

    def wake_at(self, when: float) -> None:
        """See ``Shell``."""
        self._actor.tell(WakeBalancer(when))

    def held(self, deployment: str) -> None:
        """See ``Shell``."""
        log.info("request.held", deployment=deployment)
        self._actor.tell(RequestsWait(deployment))

    def demand_changed(self) -> None:
        """See ``Shell``."""
        self._actor.tell(DemandChanged())

    def at_rest(self) -> None:
        """See ``Shell``."""
        self._actor.tell(AtRest())

    def failed(self, error: Exception) -> None:
        """See ``Shell``."""
        log.error("request.callback_failed", exc_info=error)

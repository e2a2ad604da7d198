"""What the balancer wants done around it, as it can wait for nothing and knows no actor. Pure."""

from __future__ import annotations

from typing import Final, Protocol

REST_PAUSE: Final = 0.05
"""Seconds between two times that the shell is told at once of a deployment at rest."""


class Shell(Protocol):
    """What the balancer wants done around it. No method may call the balancer, or raise."""

    def wake_at(self, when: float) -> None:
        """Call ``expire`` at ``when``, by the balancer's clock, or sooner; earlier wishes are void then."""

    def held(self, deployment: str) -> None:
        """A first request waits for that deployment: a sleeping replica may have to be woken."""

    def demand_changed(self) -> None:
        """``take_changed`` has something to return; said once until that is called."""

    def at_rest(self) -> None:
        """The last request of a deployment has ended; not said twice within ``REST_PAUSE``, of any."""

    def failed(self, error: Exception) -> None:
        """A method of a ``User`` has raised: a mistake in the code that is to be logged."""

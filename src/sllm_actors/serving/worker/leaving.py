"""The end of a worker in good order: its requests have a moment to end, and what they wait for goes on."""

from __future__ import annotations

from typing import Final

from attrs import field, frozen
from attrs.validators import ge

STOPPING: Final = "its worker is stopped"
"""Why replicas end then."""


@frozen
class Leave:
    """To the worker's actor: begin nothing more, and let all replicas end.

    Gateways are told at once to send nothing more. What they have in flight may end, until the patience is
    over, or the drain timeout of the deployment. Answered once no replica is left.

    Attributes:
        patience: Seconds that requests have to end.
    """

    patience: float = field(validator=ge(0.0))


@frozen
class TimeIsUp:
    """The patience is over: what still runs ends now."""

"""What the server of the hot path asks of a request under way, whoever serves it."""

from __future__ import annotations

from typing import Protocol


class RequestHandler(Protocol):
    """A request under way. No method waits or raises."""

    def body(self, data: bytes) -> None:
        """Take the next piece of the request's body."""

    def body_ended(self) -> None:
        """The request is complete."""

    def client_left(self) -> None:
        """The client has closed the connection before the response was complete."""

    def pause(self) -> None:
        """The client does not read: write no more than what is already under way, until ``resume``."""

    def resume(self) -> None:
        """The client reads again."""

    def give_up(self) -> None:
        """The gateway stops: end the response now, with the error ``gateway_stopping``."""

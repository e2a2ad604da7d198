"""How an attempt to have a request answered by an engine ends badly."""

from __future__ import annotations

from sllm_actors.transport import NodeFull, TunnelRefused


class EngineBroke(Exception):
    """The engine, or the connection to it, failed before the answer was complete; the text says how.

    Attributes:
        final: Whether another replica would do no better, so that the request must not be tried on one.
        unreached: Whether no connection was found: the engine has got nothing of the request.
        no_room: Whether that was for lack of room here or at the worker; no engine is to blame.
        stale: Whether a connection that had been used before closed before a byte of an answer came: engines
            close idle connections, so this says nothing of the engine.
        external: Whether it is an external server that could not be reached.
    """

    def __init__(
        self,
        reason: str,
        *,
        final: bool = False,
        unreached: bool = False,
        no_room: bool = False,
        stale: bool = False,
        external: bool = False,
    ) -> None:
        super().__init__(reason)
        self.final = final
        self.unreached = unreached
        self.no_room = no_room
        self.stale = stale
        self.external = external


def broken_by(error: Exception | None, what: str, *, unreached: bool = False) -> EngineBroke:
    """Return how an attempt ended whose connection was lost before a byte of an answer.

    Args:
        error: What the connection was lost with; None if the other side has closed it in order.
        what: What has gone wrong, as "no connection".
        unreached: Whether the engine has got nothing of the request in any case.
    """
    if isinstance(error, NodeFull):
        return EngineBroke(str(error), unreached=True, no_room=True)
    if isinstance(error, TunnelRefused):
        return EngineBroke(f"no connection ({error})", unreached=True)
    if error is None:
        return EngineBroke("it closed the connection without an answer")
    return EngineBroke(f"{what} ({str(error) or type(error).__name__})", unreached=unreached)

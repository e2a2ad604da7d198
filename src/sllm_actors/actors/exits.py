"""Why an actor ended, and the message that tells those who wanted to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, NewType

from attrs import frozen

if TYPE_CHECKING:
    from .reference import ActorRef

MonitorId = NewType("MonitorId", int)
"""Names one ``monitor`` call; never used twice in the life of a system."""

LONGEST_TEXT = 1000
"""Characters kept of a failure's message, here and on the wire."""


@frozen
class ExitReason:
    """Why an actor ended. ``str()`` gives one line for a person, which ``parse`` turns back."""

    @property
    def is_normal(self) -> bool:
        """Whether a ``TRANSIENT`` child that ends so stays down."""
        return False


@frozen
class Normal(ExitReason):
    """The actor had nothing more to do."""

    @property
    def is_normal(self) -> bool:
        return True

    def __str__(self) -> str:
        return "normal"


@frozen
class Shutdown(ExitReason):
    """The actor was asked to stop."""

    @property
    def is_normal(self) -> bool:
        return True

    def __str__(self) -> str:
        return "shutdown"


@frozen
class Killed(ExitReason):
    """The actor was ended whatever it was doing; ``stopped`` was not called, or not finished."""

    def __str__(self) -> str:
        return "killed"


@frozen
class Gone(ExitReason):
    """The actor had ended before it was monitored, or nobody goes by that name: how it ended is not known."""

    def __str__(self) -> str:
        return "gone"


@frozen
class Failed(ExitReason):
    """The actor raised an exception.

    Attributes:
        type_name: The name of the exception's class.
        message: The exception's text on one line, cut to ``LONGEST_TEXT`` characters.
    """

    type_name: str
    message: str = ""

    @classmethod
    def of(cls, error: Exception) -> Failed:
        """Return the reason that stands for an exception."""
        return cls(type(error).__name__, one_line(str(error)))

    def __str__(self) -> str:
        return f"failed: {self.type_name}: {self.message}" if self.message else f"failed: {self.type_name}"


@frozen
class NodeDown(ExitReason):
    """The actor's node, or every way to it, was lost; ``reason`` says what was observed."""

    reason: str = ""

    def __str__(self) -> str:
        return f"node down: {self.reason}" if self.reason else "node down"


NORMAL = Normal()
SHUTDOWN = Shutdown()
KILLED = Killed()
GONE = Gone()

_PLAIN: dict[str, ExitReason] = {str(reason): reason for reason in (NORMAL, SHUTDOWN, KILLED, GONE)}


def parse(text: str) -> ExitReason:
    """Turn a reason's line back into the reason; a line of another version becomes a ``Failed``."""
    plain = _PLAIN.get(text)
    if plain is not None:
        return plain
    kind, _, rest = text.partition(": ")
    if kind == "failed" and rest:
        type_name, _, message = rest.partition(": ")
        return Failed(type_name, one_line(message))
    if kind == "node down":
        return NodeDown(one_line(rest))
    return Failed("ExitReason", one_line(text))


def one_line(text: str) -> str:
    """Return the text on one line, cut to ``LONGEST_TEXT`` characters."""
    return " ".join(text[: 2 * LONGEST_TEXT].split())[:LONGEST_TEXT]


@frozen
class Down:
    """An actor that was monitored has ended, or can no longer be known to live.

    Attributes:
        ref: The ref that was monitored.
        reason: How it ended, as far as that is known.
        watch: What ``Context.monitor`` returned.
    """

    ref: ActorRef
    reason: ExitReason
    watch: MonitorId

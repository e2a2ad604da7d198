"""The two ends of an ask: who waits for the answer, and what the receiver answers through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from .activity import get_current
from .deadlines import Deadline, Deadlines
from .errors import ActorGone, AskError, AskTimeout, RemoteFailure
from .exits import Failed
from .network import Outcome, ReplyTo
from .wakeup import Wakeup

NOTHING: Final = object()
"""Stands for "no outcome yet", since None is an outcome."""


class AskHost(Protocol):
    """The parts of a system that its asks use.

    Attributes:
        deadlines: Where the deadlines of asks are kept.
        asks: How many asks made in this system wait for their outcome.
        late_replies: How many outcomes came for an ask that had one already.
        wakeup: Makes the wake-up that one ask waits for.
    """

    deadlines: Deadlines
    asks: int
    late_replies: int
    wakeup: Callable[[], Wakeup]


class ReplyOwner(Protocol):
    """An actor that has taken over answers, by ``Context.reply_later``.

    Attributes:
        replies: The answers that it has taken over and not sent yet.
    """

    replies: set[Reply]

    @property
    def label(self) -> str:
        """The actor, as ``node/number``."""


class Port(Deadline):
    """Where the answer of one ask goes. The first outcome counts, later ones are dropped and counted.

    Attributes:
        outcome: The first outcome, or ``NOTHING``.
        when: The deadline, in the clock's seconds; 0 for none.
    """

    __slots__ = ("outcome", "system", "when")

    def __init__(self, system: AskHost) -> None:
        self.armed = False
        self.system = system
        self.outcome: Outcome = NOTHING
        self.when = 0.0

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits: False once it is answered, timed out or abandoned."""
        return self.outcome is NOTHING

    def resolve(self, outcome: Outcome) -> None:
        """Take an outcome: pass it on if it is the first, else drop and count it."""
        raise NotImplementedError


class Ask(Port):
    """An ask that was made in this system, waiting for its outcome.

    Attributes:
        forget: Tells the network that nobody waits any more; None for an ask within this system.
    """

    __slots__ = ("forget", "wakeup")

    def __init__(self, system: AskHost, timeout: float) -> None:
        super().__init__(system)
        self.wakeup = system.wakeup()
        self.forget: Callable[[], None] | None = None
        self.when = system.deadlines.add(self, timeout)
        system.asks += 1

    def resolve(self, outcome: Outcome) -> None:
        if self.outcome is NOTHING:
            self.outcome = outcome
            self.wakeup.set()
        else:
            self.system.late_replies += 1

    def fire(self) -> None:
        if self.outcome is NOTHING:
            self.outcome = AskTimeout("no reply came by the deadline")
            self.wakeup.set()
            if self.forget is not None:
                self.forget()

    async def wait(self) -> Any:
        """Return the reply or raise the error; to be called once. A cancelled wait abandons the ask."""
        try:
            await self.wakeup.wait()
        finally:
            self.system.asks -= 1
            self.system.deadlines.cancel(self)
            if self.outcome is NOTHING:
                self.outcome = AskTimeout("abandoned by the caller")
                if self.forget is not None:
                    self.forget()
        outcome = self.outcome
        if isinstance(outcome, AskError):
            activity = get_current()
            outcome.relayed_to = "" if activity is None else activity.label
            raise outcome
        return outcome


class RemoteAsk(Port):
    """An ask that came from another node: the transport carries the answer."""

    __slots__ = ("_reply_to",)

    def __init__(self, system: AskHost, reply_to: ReplyTo, remaining: float | None) -> None:
        super().__init__(system)
        self._reply_to = reply_to
        if remaining is not None:
            self.when = system.deadlines.add(self, remaining)

    def resolve(self, outcome: Outcome) -> None:
        if self.outcome is NOTHING:
            self.outcome = outcome
            self.system.deadlines.cancel(self)
            self._reply_to(outcome)
        else:
            self.system.late_replies += 1

    def fire(self) -> None:
        if self.outcome is NOTHING:
            self.outcome = AskTimeout("no reply came by the deadline")
            self._reply_to(self.outcome)


class Reply:
    """The right to answer one ask, taken over from the handler by ``Context.reply_later``.

    May be used from anywhere in the loop's thread, once; a second use is dropped and counted. If it is never
    used, the asker gets ``ActorGone`` when the actor ends, or ``AskTimeout`` before that.
    """

    __slots__ = ("_owner", "_port")

    def __init__(self, owner: ReplyOwner, port: Port | None) -> None:
        self._owner = owner
        self._port = port

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for the answer: False for a tell, and after a time-out or cancellation."""
        return self._port is not None and self._port.wanted

    def send(self, value: Any) -> None:
        """Answer with a value."""
        self._resolve(value)

    def fail(self, error: Exception) -> None:
        """Answer with an error; one that is not an ``AskError`` becomes a ``RemoteFailure``."""
        self._resolve(as_ask_error(error, self._owner.label))

    def _resolve(self, outcome: Outcome) -> None:
        if self._port is not None:
            self._port.resolve(outcome)
            self._owner.replies.discard(self)

    def abandon(self, reason: str) -> None:
        """Answer with ``ActorGone``, unless there is an answer already: the actor has ended."""
        if self.wanted:
            self._resolve(ActorGone(reason))


def as_ask_error(error: Exception, label: str) -> AskError:
    """Return what the asker gets to see of an exception that the actor ``label`` answers with.

    An ``AskError`` passes as it is, unless it came from an ask of that actor: then it becomes a
    ``RemoteFailure``, because its promises (such as "never saw the message") are about another message.
    """
    if isinstance(error, AskError) and error.relayed_to != label:
        return error
    failed = Failed.of(error)
    return RemoteFailure(failed.type_name, failed.message)

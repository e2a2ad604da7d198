"""What can go wrong between a sender and a receiver: a closed set, the same for local and remote.

An error of an ``ask`` may mean "done, but you will never know": only ``MailboxFull`` and ``CallCycle``
promise that the receiver never saw the message. Nothing is ever resent on the caller's behalf.
"""

from __future__ import annotations


class ActorError(Exception):
    """Any failure of the actor system that a caller can see."""


class StartFailed(ActorError):
    """A child could not be started; the text says which and why."""


class SystemFailed(ActorError):
    """The root supervisor gave up: what it kept running failed more often than it was allowed to.

    Attributes:
        reason: The root supervisor's exit reason.
    """

    def __init__(self, reason: object) -> None:
        super().__init__(f"the actor system gave up: {reason}")
        self.reason = reason


class AskError(ActorError):
    """The one way in which an ``ask`` fails: each of its kinds is a subclass.

    Attributes:
        relayed_to: The actor (as ``node/number``) whose ``ask`` raised it last, or "". A handler that lets an
            error of its own ask through has failed; one that raises an error that it made has answered.
    """

    relayed_to = ""


class AskTimeout(AskError):
    """No reply came by the deadline. The receiver may or may not have handled the message."""


class ActorGone(AskError):
    """The receiver's incarnation has ended, or nobody is registered under that name."""


class PeerDown(AskError):
    """The receiver's node, or the lane to it, was lost before a reply came.

    Attributes:
        node: The id of that node.
        reason: What was observed, in words for a person ("closed by peer", "silent for 3.0 s").
    """

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(f"node {node} is down: {reason}")
        self.node = node
        self.reason = reason


class MailboxFull(AskError):
    """The receiver's mailbox (or the way to it) was full: the message was rejected, not queued."""


class CallCycle(AskError):
    """The receiver is itself waiting, up the call chain, for the sender: a reply could never come."""


class RemoteFailure(AskError):
    """The receiver's handler raised.

    Attributes:
        type_name: The name of the exception's class, as text (never an object from the wire).
        message: The exception's text, on one line and cut to 1000 characters; or what the handler chose.
    """

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(f"{type_name}: {message}" if message else type_name)
        self.type_name = type_name
        self.message = message


class UnknownMessage(RemoteFailure):
    """One of the two nodes does not know a message of that name, or its fields do not fit the class."""

    def __init__(self, message: str) -> None:
        super().__init__("UnknownMessage", message)

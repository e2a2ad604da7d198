"""The actor system: refs, mailboxes, supervision, monitors, names. Knows nothing of networks or models."""

from __future__ import annotations

from .actor import Actor, Context, StartIgnored
from .alarm import Alarm
from .asking import Reply
from .backoff import AT_ONCE, Backoff
from .children import (
    ChildCounts,
    ChildState,
    CountChildren,
    DeleteChild,
    RestartChild,
    StartChild,
    TerminateChild,
    WhichChildren,
)
from .clock import Clock, LoopClock
from .dead_letters import DeadLetter
from .errors import (
    ActorError,
    ActorGone,
    AskError,
    AskTimeout,
    CallCycle,
    MailboxFull,
    PeerDown,
    RemoteFailure,
    StartFailed,
    SystemFailed,
    UnknownMessage,
)
from .exits import (
    GONE,
    KILLED,
    NORMAL,
    SHUTDOWN,
    Down,
    ExitReason,
    Failed,
    Gone,
    Killed,
    MonitorId,
    NodeDown,
    Normal,
    Shutdown,
)
from .identity import LOCAL_NODE, Address, Incarnation, NodeId
from .mailbox import MailboxLimits, Overflow
from .message import Catalog
from .network import NO_METADATA, Envelope, Inbound, Metadata, Network, Outcome, ReplyTo
from .reference import ActorRef
from .specs import (
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    PERMANENT,
    REST_FOR_ONE,
    TEMPORARY,
    TRANSIENT,
    AutoShutdown,
    ChildSpec,
    Restart,
    Spec,
    Strategy,
    SupervisorSpec,
)
from .statistics import MailboxStatistics, SystemStatistics
from .system import ActorSystem
from .timers import Timer

__all__ = [
    "AT_ONCE",
    "GONE",
    "KILLED",
    "LOCAL_NODE",
    "NORMAL",
    "NO_METADATA",
    "ONE_FOR_ALL",
    "ONE_FOR_ONE",
    "PERMANENT",
    "REST_FOR_ONE",
    "SHUTDOWN",
    "TEMPORARY",
    "TRANSIENT",
    "Actor",
    "ActorError",
    "ActorGone",
    "ActorRef",
    "ActorSystem",
    "Address",
    "Alarm",
    "AskError",
    "AskTimeout",
    "AutoShutdown",
    "Backoff",
    "CallCycle",
    "Catalog",
    "ChildCounts",
    "ChildSpec",
    "ChildState",
    "Clock",
    "Context",
    "CountChildren",
    "DeadLetter",
    "DeleteChild",
    "Down",
    "Envelope",
    "ExitReason",
    "Failed",
    "Gone",
    "Inbound",
    "Incarnation",
    "Killed",
    "LoopClock",
    "MailboxFull",
    "MailboxLimits",
    "MailboxStatistics",
    "Metadata",
    "MonitorId",
    "Network",
    "NodeDown",
    "NodeId",
    "Normal",
    "Outcome",
    "Overflow",
    "PeerDown",
    "RemoteFailure",
    "Reply",
    "ReplyTo",
    "Restart",
    "RestartChild",
    "Shutdown",
    "Spec",
    "StartChild",
    "StartFailed",
    "StartIgnored",
    "Strategy",
    "SupervisorSpec",
    "SystemFailed",
    "SystemStatistics",
    "TerminateChild",
    "Timer",
    "UnknownMessage",
    "WhichChildren",
]

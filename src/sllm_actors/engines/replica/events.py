"""The events and effects of one replica's state machine (``lifecycle``).

``attempt`` in an event is the attempt number of the engine life that it is about.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import field, frozen

from sllm_actors.engines.external import ServerAccess
from sllm_actors.engines.gpu_figures import GpuFigures

from .recent_pressure import Pressure

# ---- events


@frozen
class Ordered:
    """The replica was ordered: the first event."""


@frozen
class Launched:
    """An engine life begins and has got its attempt number.

    Attributes:
        progress: What it does first, in a few words.
    """

    attempt: int
    progress: str = "starting the engine"


@frozen
class Delayed:
    """The engine life has to wait for GPUs; ``reason`` is one sentence."""

    attempt: int
    reason: str


@frozen
class Admitted:
    """The engine life has its GPUs, and goes on.

    Attributes:
        gpus: Their UUIDs.
        gpu_memory: Bytes that are kept for it on each of them; 0 where that is not known.
        gpu_figures: What its model takes of each by its files; None where that is not known.
    """

    attempt: int
    gpus: tuple[str, ...] = ()
    gpu_memory: int = 0
    gpu_figures: GpuFigures | None = None


@frozen
class Gauged:
    """The most bytes that the engine's processes had until now: of memory, and of one of its GPUs."""

    attempt: int
    memory: int
    gpu_memory: int = 0


@frozen
class Pressed:
    """The engine has been as full as that lately."""

    attempt: int
    pressure: Pressure


@frozen
class NoRoom:
    """The engine was not woken: its GPUs have no room for it now. It sleeps on at this level."""

    attempt: int
    level: int
    reason: str


@frozen
class NoMemory:
    """The engine was not put to sleep: the machine has no memory for its weights. It is awake."""

    attempt: int
    reason: str


@frozen
class ProcessStarted:
    """The engine's process runs."""

    attempt: int
    pid: int


@frozen
class Progressed:
    """The engine does something else on its way to READY.

    Attributes:
        progress: A few words.
        downloading: Whether the files of its model are being downloaded.
    """

    attempt: int
    progress: str
    downloading: bool = False


@frozen
class Answered:
    """The engine is ready for requests. The attributes are those of ``ReplicaReport``."""

    attempt: int
    address: str
    can_sleep: bool = False
    key: str = field(default="", repr=False)
    server: ServerAccess | None = None
    concurrency: int = 0
    context_length: int = 0
    gpu_used: int = 0


@frozen
class Unreached:
    """A server that somebody else runs cannot be reached. It is still asked: ``Answered`` may follow."""

    attempt: int
    reason: str


@frozen
class SleepAsked:
    """The replica is to sleep, at this level: see ``SleepReplica``."""

    level: int
    if_idle: bool = False
    patience: float | None = None


@frozen
class WakeAsked:
    """The replica is to wake: see ``WakeReplica``."""


@frozen
class Slept:
    """The engine has fallen asleep, and keeps so many bytes of each of its GPUs."""

    attempt: int
    gpu_memory: int = 0


@frozen
class Woken:
    """The engine has woken, takes requests again, and has so many bytes of each of its GPUs."""

    attempt: int
    gpu_memory: int = 0


@frozen
class Ended:
    """The engine life has ended, or could not start, although nobody asked for that.

    Attributes:
        reason: Why, in one sentence for a person.
        exit_status: How the process ended; "" if it did not end by itself, or never ran.
        log_tail: The last lines of its log.
        chance: A random number from 0 to 1, for the jitter of the delay before a retry.
        gpu_lacked: See ``ReplicaReport``.
    """

    attempt: int
    reason: str
    exit_status: str = ""
    log_tail: tuple[str, ...] = ()
    chance: float = 0.0
    gpu_lacked: int = 0


@frozen
class RetryDue:
    """The delay before a retry is over."""


@frozen
class StopAsked:
    """The replica is no longer wanted: see ``StopReplica``."""

    drain: bool
    reason: str = ""
    if_idle: bool = False
    patience: float | None = None


@frozen
class DrainOver:
    """The wait for requests in flight has ended.

    Attributes:
        withdrawal: The withdrawal that was waited for.
        late: Whether the time for them is over; else no request is in flight any more.
    """

    withdrawal: int
    late: bool = False


@frozen
class Cleared:
    """After ``EndEngine``: nothing of the engine is left."""


Event: TypeAlias = (
    Ordered
    | Launched
    | Delayed
    | Admitted
    | Gauged
    | Pressed
    | NoRoom
    | NoMemory
    | ProcessStarted
    | Progressed
    | Answered
    | Unreached
    | SleepAsked
    | WakeAsked
    | Slept
    | Woken
    | Ended
    | RetryDue
    | StopAsked
    | DrainOver
    | Cleared
)

# ---- effects


@frozen
class StartEngine:
    """Begin an engine life, once nothing of the last is left; its first event is ``Launched``."""


@frozen
class EndEngine:
    """End the engine life, or the wait for the next; then comes ``Cleared``."""


@frozen
class PutToSleep:
    """Put the engine to sleep; then comes ``Slept``. ``PutToSleep`` and ``WakeUp`` keep their order."""

    level: int


@frozen
class WakeUp:
    """Wake the engine, which sleeps at this level; then comes ``Woken``."""

    level: int


@frozen
class Report:
    """Send the replica's state to its owner."""


@frozen
class AwaitDrained:
    """When the drain timeout is over, ``DrainOver`` of this withdrawal comes, with ``late``.

    Attributes:
        if_idle: Whether it comes after ``IDLE_PATIENCE`` instead.
        patience: Seconds after which it comes instead; None where there are none of its own.
    """

    withdrawal: int
    if_idle: bool = False
    patience: float | None = None


@frozen
class AwaitRetry:
    """After ``delay`` seconds comes ``RetryDue``."""

    delay: float


@frozen
class Finish:
    """End the actor: the replica is STOPPED."""


Effect: TypeAlias = (
    StartEngine | EndEngine | PutToSleep | WakeUp | Report | AwaitDrained | AwaitRetry | Finish
)

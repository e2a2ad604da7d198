"""What happens to one replica, and what is to be done about it: the words of its state machine."""

from __future__ import annotations

from typing import TypeAlias

from attrs import field, frozen

from sllm_actors.engines.external import ServerAccess

# ---- what happens


@frozen
class Ordered:
    """It was ordered."""


@frozen
class Launched:
    """An engine life has its number.

    Attributes:
        progress: What it does first.
    """

    attempt: int
    progress: str = "starting the engine"


@frozen
class Delayed:
    """It has to wait for something of the machine."""

    attempt: int
    reason: str


@frozen
class Admitted:
    """It has to wait no longer."""

    attempt: int


@frozen
class ProcessStarted:
    """Its process runs."""

    attempt: int
    pid: int


@frozen
class Progressed:
    """It does something else on its way to READY."""

    attempt: int
    progress: str


@frozen
class Answered:
    """It is ready for requests."""

    attempt: int
    address: str
    can_sleep: bool = False
    key: str = field(default="", repr=False)
    server: ServerAccess | None = None


@frozen
class Unreached:
    """A server that somebody else runs cannot be reached; it is asked on, and may yet say ``Answered``."""

    attempt: int
    reason: str


@frozen
class SleepAsked:
    """Somebody needs its room more than its clients do."""

    level: int


@frozen
class WakeAsked:
    """It is needed."""


@frozen
class Slept:
    """Its engine sleeps."""

    attempt: int


@frozen
class Woken:
    """Its engine takes requests again."""

    attempt: int


@frozen
class Ended:
    """It is over, and nobody asked for that.

    Attributes:
        chance: Between 0 and 1, drawn by whoever says this: for the jitter of a delay.
    """

    attempt: int
    reason: str
    exit_status: str = ""
    log_tail: tuple[str, ...] = ()
    chance: float = 0.0


@frozen
class RetryDue:
    """The delay is over."""


@frozen
class StopAsked:
    """It is not wanted any more."""

    drain: bool
    reason: str = ""


@frozen
class DrainOver:
    """Nobody uses it any more, or the time for that is over.

    Attributes:
        withdrawal: Which wait for that has ended.
        late: It is the time that is over.
    """

    withdrawal: int
    late: bool = False


@frozen
class Cleared:
    """What was to be ended has ended: nothing of it is left."""


Event: TypeAlias = (
    Ordered
    | Launched
    | Delayed
    | Admitted
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

# ---- what is to be done about it


@frozen
class StartEngine:
    """Begin another engine life, once nothing of the last is left; say ``Launched`` first."""


@frozen
class EndEngine:
    """End the engine life, or the wait for the next; then say ``Cleared``."""


@frozen
class PutToSleep:
    """Put the engine to sleep; then say ``Slept``. What is asked of it is done in this order."""

    level: int


@frozen
class WakeUp:
    """Wake the engine, which sleeps at that level; then say ``Woken``."""

    level: int


@frozen
class Report:
    """Tell the owner."""


@frozen
class AwaitDrained:
    """Say ``DrainOver`` when the drain timeout is over."""

    withdrawal: int


@frozen
class AwaitRetry:
    """Say ``RetryDue`` after so many seconds."""

    delay: float


@frozen
class Finish:
    """Nothing more will happen."""


Effect: TypeAlias = (
    StartEngine | EndEngine | PutToSleep | WakeUp | Report | AwaitDrained | AwaitRetry | Finish
)

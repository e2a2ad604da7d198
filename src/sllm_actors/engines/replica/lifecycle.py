"""The state machine of one replica; pure.

``PENDING -> STARTING -> READY <-> ASLEEP -> DRAINING -> STOPPED``, or ``FAILED`` and then STARTING again;
back to PENDING while a start has to wait for GPUs. Its rules:

- An end of the engine that nobody asked for is a failure, whatever the exit code.
- A replica that was READY is started again at once, the first time. After that, and when a start fails, it
  is FAILED for a time that doubles up to a bound (see ``engines.retry``); then it is started again.
  There is no last attempt: giving up is for whoever ordered the replica.
- A replica that becomes ASLEEP is first withdrawn from the gateways; its engine is put to sleep when no
  request is in flight any more. If it is woken before that, or the requests do not end in time, it is READY
  again.
- A replica that is to stop or sleep *if idle* does so only if its requests end in a short time; else it
  declines, and is READY again. A replica that is waking declines, too: somebody needs it. If the engine of a
  replica dies that sleeps because it was idle, it is not started again: nobody needs it.
- A replica that is to sleep and to be *patient* with its requests waits longer for them. If they have not
  ended by then, it does not decline: it stops.
- A replica whose weights find no room in the machine's memory is not put to sleep at level 1: it declines,
  and is READY again.
- A server that somebody else runs is FAILED while it cannot be reached. It is still asked within the same
  life, and is READY, or STARTING if it is loading, as soon as it answers.
- Failures are forgotten when the replica has been READY for ``healthy_uptime``, not as soon as a start
  succeeds.

An event of an engine life that is over, or that has not begun (attempt 0), changes nothing.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import evolve, field, frozen

from sllm_actors.engines.external import ServerAccess
from sllm_actors.engines.gpu_figures import GpuFigures
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.engines.retry import retry_delay

from .events import (
    Admitted,
    Answered,
    AwaitDrained,
    AwaitRetry,
    Cleared,
    Delayed,
    DrainOver,
    Effect,
    Ended,
    EndEngine,
    Event,
    Finish,
    Gauged,
    Launched,
    NoMemory,
    NoRoom,
    Ordered,
    Pressed,
    ProcessStarted,
    Progressed,
    PutToSleep,
    Report,
    RetryDue,
    SleepAsked,
    Slept,
    StartEngine,
    StopAsked,
    Unreached,
    WakeAsked,
    WakeUp,
    Woken,
)
from .recent_pressure import EMPTY, Pressure

NEWS = 0.05
"""The part by which what was measured has to grow before that alone is reported."""


@frozen
class Replica:
    """The state of one replica. Attributes that are not listed here mean what they mean in ``ReplicaReport``.

    Attributes:
        attempt: The attempt number of the engine life that runs, or ran last; 0 before the first.
        ended: The attempt number of the engine life that ended last; 0 before the first end.
        starts: How many engine lives there were so far.
        healthy_uptime: Seconds of being READY after which earlier failures are forgotten.
        failures: Failures in a row, since they were last forgotten.
        delays: How often the replica waited for a retry since then.
        ready_at: When it became READY, by the clock of ``step``.
        can_sleep: Whether its engine can be put to sleep.
        concurrency: How many requests its engine runs at a time; 0 where that is not known.
        context_length: How many tokens one request may have, its answer included; 0 where that is not known.
        level: The level at which it sleeps, or is about to; None while it does neither.
        asking: Whether it is FAILED as an external server that is still asked, within the same life.
        leaving: Whether it is withdrawn, while requests may still be in flight.
        if_idle: Whether it was to do so, or sleeps, *if idle*.
        patient: Whether it waits for its requests as long as it was told, until it is asked again.
        withdrawal: How often it was withdrawn from the gateways.
        memory_short: Whether its engine was not put to sleep for want of memory, and has not slept since.
        pressure: How full its engine has been lately.
        began_at: When its start began that is under way, or its wake; by the clock of ``step``.
    """

    healthy_uptime: float = 60.0
    state: ReplicaState = ReplicaState.PENDING
    attempt: int = 0
    ended: int = 0
    starts: int = 0
    failures: int = 0
    delays: int = 0
    ready_at: float = 0.0
    can_sleep: bool = False
    concurrency: int = 0
    context_length: int = 0
    level: int | None = None
    asking: bool = False
    leaving: bool = False
    if_idle: bool = False
    patient: bool = False
    declined: int = 0
    withdrawal: int = 0
    memory_short: bool = False
    began_at: float = 0.0
    started_in: float = 0.0
    woke_in: float = 0.0
    devices: tuple[str, ...] = ()
    gpu_reserved: int = 0
    memory: int = 0
    gpu_memory: int = 0
    gpu_figures: GpuFigures | None = None
    gpu_used: int = 0
    gpu_lacked: int = 0
    pressure: Pressure = EMPTY
    address: str = ""
    key: str = field(default="", repr=False)
    server: ServerAccess | None = None
    pid: int = 0
    progress: str = ""
    downloading: bool = False
    reason: str = ""
    exit_status: str = ""
    log_tail: tuple[str, ...] = ()
    retry_in: float | None = None


Step: TypeAlias = tuple[Replica, tuple[Effect, ...]]

_LIVE = (ReplicaState.PENDING, ReplicaState.STARTING, ReplicaState.READY, ReplicaState.ASLEEP)


def step(replica: Replica, event: Event, now: float) -> Step:
    """Return the replica's next state and the effects to carry out, in this order.

    Args:
        replica: Its state.
        event: What happened.
        now: Seconds on a monotonic clock.
    """
    match event:
        case Ordered() if replica.state is ReplicaState.PENDING and not replica.attempt:
            return _start(replica)
        case RetryDue() if replica.state is ReplicaState.FAILED and not replica.asking:
            return _start(replica)
        case Launched(attempt, progress) if replica.state is ReplicaState.STARTING:
            launched = evolve(replica, attempt=attempt, starts=replica.starts + 1, pid=0, memory_short=False)
            return evolve(launched, progress=progress, began_at=now, gpu_lacked=0), (Report(),)
        case Unreached(attempt) if _lives(replica, attempt):
            return _lose(replica, event)
        case Delayed(attempt, reason) if _lives(replica, attempt) and replica.state is ReplicaState.STARTING:
            waiting = evolve(replica, state=ReplicaState.PENDING, progress=reason)
            return waiting, (Report(),)
        case Pressed(attempt, pressure) if _lives(replica, attempt) and replica.pressure != pressure:
            return evolve(replica, pressure=pressure), (Report(),)
        case Admitted() | Gauged() | NoRoom() | NoMemory() if _lives(replica, event.attempt):
            return _take_room(replica, event, now)
        case Ended(attempt=attempt) if attempt == replica.attempt and (
            replica.state in _LIVE or replica.asking
        ):
            return _fail(replica, event, now)
        case ProcessStarted() | Progressed() | Answered() if _lives(replica, event.attempt):
            return _advance(replica, event, now)
        case SleepAsked() | WakeAsked() | Slept() | Woken():
            return _change_tier(replica, event, now)
        case StopAsked():
            return _stop(replica, event)
        case Ended(attempt=attempt) if attempt == replica.attempt and replica.leaving:
            return _end(replica)
        case DrainOver(number, late) if number == replica.withdrawal and replica.leaving:
            return _drained(replica, late=late)
        case Cleared() if replica.state is ReplicaState.DRAINING:
            return evolve(replica, state=ReplicaState.STOPPED, address="", pid=0), (Report(), Finish())
    return replica, ()


def _lives(replica: Replica, attempt: int) -> bool:
    """Return whether an engine life is the present one and has not ended."""
    return replica.ended < attempt == replica.attempt


def _withdraw(
    replica: Replica, state: ReplicaState, asked: SleepAsked | StopAsked
) -> tuple[Replica, AwaitDrained]:
    number, patience = replica.withdrawal + 1, asked.patience
    withdrawn = evolve(replica, state=state, leaving=True, if_idle=asked.if_idle, withdrawal=number)
    return evolve(withdrawn, patient=patience is not None), AwaitDrained(number, asked.if_idle, patience)


def _drained(replica: Replica, *, late: bool) -> Step:
    """Go on when the requests of a replica have ended that is withdrawn, or are ``late``."""
    if late and replica.patient and replica.state is ReplicaState.ASLEEP:
        reason = "it was not put to sleep, but stopped: its requests did not end in time"
        return _end(_draining(replica, StopAsked(drain=True, reason=reason)))
    if late and replica.if_idle:
        return _decline(_stay_awake(replica))
    return _end(replica) if replica.state is ReplicaState.DRAINING else _doze(replica, late=late)


def _decline(replica: Replica) -> Step:
    return evolve(replica, declined=replica.declined + 1), (Report(),)


def _end(replica: Replica) -> Step:
    return evolve(replica, leaving=False, if_idle=False, address=""), (Report(), EndEngine())


def _start(replica: Replica) -> Step:
    starting = evolve(
        replica,
        state=ReplicaState.STARTING,
        address="",
        pid=0,
        progress="waiting for its turn",
        downloading=False,
        retry_in=None,
    )
    return starting, (Report(), StartEngine())


def _advance(replica: Replica, event: ProcessStarted | Progressed | Answered, now: float) -> Step:
    if replica.asking:
        replica = evolve(replica, state=ReplicaState.STARTING, asking=False)
    if replica.state is not ReplicaState.STARTING:
        return replica, ()
    match event:
        case ProcessStarted(pid=pid):
            return evolve(replica, pid=pid, downloading=False), (Report(),)
        case Progressed(_, progress, downloading):
            return evolve(replica, progress=progress, downloading=downloading), (Report(),)
        case Answered():
            ready = evolve(replica, state=ReplicaState.READY, address=event.address, progress="")
            able = evolve(ready, can_sleep=event.can_sleep, concurrency=event.concurrency, ready_at=now)
            open_ = evolve(able, key=event.key, server=event.server, context_length=event.context_length)
            took = 0.0 if event.server is not None else now - replica.began_at  # a server that was there
            return evolve(open_, log_tail=(), started_in=took, gpu_used=event.gpu_used), (Report(),)


def _lose(replica: Replica, event: Unreached) -> Step:
    """Go on when an external server cannot be reached: FAILED, but still asked."""
    if replica.asking and replica.reason != event.reason:
        return evolve(replica, reason=event.reason), (Report(),)
    if replica.state is not ReplicaState.STARTING:
        return replica, ()
    lost = evolve(replica, state=ReplicaState.FAILED, asking=True, failures=replica.failures + 1)
    return evolve(lost, reason=event.reason, progress="", exit_status="", log_tail=()), (Report(),)


def _change_tier(replica: Replica, event: SleepAsked | WakeAsked | Slept | Woken, now: float) -> Step:
    """Go on when the replica is asked to sleep or wake, or has done so.

    It is ASLEEP from the moment it is asked to sleep, so that no gateway sends it requests, and READY only
    when its engine has woken.
    """
    asleep = replica.state is ReplicaState.ASLEEP
    match event:
        case SleepAsked(level) if replica.state is ReplicaState.READY:
            if not replica.can_sleep and event.if_idle:
                return _decline(replica)
            if not replica.can_sleep:
                return _stop(replica, StopAsked(drain=True, reason="it is idle, and its engine cannot sleep"))
            tired, awaited = _withdraw(replica, ReplicaState.ASLEEP, event)
            tired = evolve(tired, level=level, progress="waiting for its requests to end")
            return evolve(tired, woke_in=0.0), (Report(), awaited)
        case SleepAsked(if_idle=True) if asleep and replica.level is None:
            return _decline(replica)
        case WakeAsked() if replica.leaving and (asleep or replica.if_idle):
            return _stay_awake(replica), (Report(),)
        case WakeAsked() if asleep and replica.level is not None:
            waking = evolve(replica, level=None, if_idle=False, progress="waking up", began_at=now)
            return waking, (Report(), WakeUp(replica.level))
        case Slept(attempt) if asleep and attempt == replica.attempt and replica.level is not None:
            return evolve(replica, progress="", gpu_reserved=event.gpu_memory), (Report(),)
        case Woken(attempt) if asleep and attempt == replica.attempt and replica.level is None:
            ready = evolve(replica, state=ReplicaState.READY, progress="", ready_at=now)
            ready = evolve(ready, gpu_reserved=event.gpu_memory, memory_short=False)
            return evolve(ready, woke_in=now - replica.began_at), (Report(),)
    return replica, ()


def _doze(replica: Replica, *, late: bool) -> Step:
    """Go on when the requests of a replica that is to sleep have ended, or are ``late``."""
    if late or replica.level is None:
        reason = "it was not put to sleep: its requests did not end in time"
        return evolve(_stay_awake(replica), reason=reason), (Report(),)
    dozing = evolve(replica, leaving=False, progress="falling asleep")
    return dozing, (Report(), PutToSleep(replica.level))


def _stay_awake(replica: Replica) -> Replica:
    awake = evolve(replica, state=ReplicaState.READY, level=None, leaving=False, progress="")
    return evolve(awake, if_idle=False)


def _take_room(replica: Replica, event: Admitted | Gauged | NoRoom | NoMemory, now: float) -> Step:
    match event:
        case Admitted() if replica.state in (ReplicaState.PENDING, ReplicaState.STARTING):
            return _admit(replica, event, now)
        case Gauged():
            return _measure(replica, event)
        case NoRoom(_, level, reason) if replica.state is ReplicaState.ASLEEP and replica.level is None:
            return _decline(evolve(replica, level=level, progress="", reason=reason))
        case NoMemory(_, reason) if replica.state is ReplicaState.ASLEEP and replica.level is not None:
            return _decline(evolve(_stay_awake(replica), reason=reason, memory_short=True, ready_at=now))
    return replica, ()


def _admit(replica: Replica, event: Admitted, now: float) -> Step:
    waited = replica.state is ReplicaState.PENDING
    admitted = evolve(replica, began_at=now, devices=event.gpus, gpu_reserved=event.gpu_memory)
    admitted = evolve(admitted, gpu_figures=event.gpu_figures)
    if waited:
        admitted = evolve(admitted, state=ReplicaState.STARTING, progress="starting the engine")
    return admitted, (Report(),) if waited or event.gpus else ()


def _measure(replica: Replica, event: Gauged) -> Step:
    """Keep the most that was measured; it is told when it has grown by more than ``NEWS``."""
    memory, gpu_memory = max(replica.memory, event.memory), max(replica.gpu_memory, event.gpu_memory)
    if memory <= replica.memory * (1 + NEWS) and gpu_memory <= replica.gpu_memory * (1 + NEWS):
        return replica, ()
    return evolve(replica, memory=memory, gpu_memory=gpu_memory), (Report(),)


def _fail(replica: Replica, ended: Ended, now: float) -> Step:
    was_ready = replica.state in (ReplicaState.READY, ReplicaState.ASLEEP)
    unneeded = replica.state is ReplicaState.ASLEEP and replica.if_idle
    if was_ready and now - replica.ready_at >= replica.healthy_uptime:
        replica = evolve(replica, failures=0, delays=0)
    replica = evolve(
        replica,
        ended=replica.attempt,
        failures=replica.failures + 1,
        reason=ended.reason,
        exit_status=ended.exit_status,
        log_tail=ended.log_tail,
        level=None,
        asking=False,
        leaving=False,
        if_idle=False,
        address="",
        pid=0,
        devices=(),
        gpu_reserved=0,
        gpu_lacked=ended.gpu_lacked,
        pressure=EMPTY,
        progress="",
    )
    if unneeded:
        return evolve(replica, state=ReplicaState.DRAINING), (Report(), EndEngine())
    if was_ready and replica.failures == 1:
        return _start(replica)
    delay = retry_delay(replica.delays, ended.chance)
    failed = evolve(replica, state=ReplicaState.FAILED, delays=replica.delays + 1, retry_in=delay)
    return failed, (Report(), AwaitRetry(delay))


def _stop(replica: Replica, asked: StopAsked) -> Step:
    if replica.state is ReplicaState.STOPPED:
        return replica, ()
    sooner = replica.if_idle or not asked.drain or (replica.patient and asked.patience is None)
    hasty = replica.leaving and not asked.if_idle and sooner
    if replica.state is ReplicaState.DRAINING and not hasty:  # asked again: only haste is new
        return replica, ()
    asleep = replica.state is ReplicaState.ASLEEP
    if asked.if_idle and asleep and not replica.leaving:
        if replica.level is None:  # it is waking: somebody needs it
            return _decline(replica)
        return _end(_draining(replica, asked))
    serving = asleep or replica.state in (ReplicaState.READY, ReplicaState.DRAINING)
    if serving and asked.drain:
        draining, awaited = _withdraw(replica, ReplicaState.DRAINING, asked)
        if asked.if_idle:  # it may be READY again, with the reason that it has now
            return evolve(draining, level=None, progress=asked.reason), (Report(), awaited)
        return _draining(draining, asked), (Report(), awaited)
    return _end(_draining(replica, asked))


def _draining(replica: Replica, asked: StopAsked) -> Replica:
    draining = evolve(replica, state=ReplicaState.DRAINING, asking=False, level=None, progress="")
    return evolve(draining, reason=asked.reason, retry_in=None)

"""Erlang/OTP's supervisor as a pure state machine: ``step(state, event, now) -> effects``.

The rules are those of OTP's ``supervisor`` (stdlib): ordered start, reverse stop, restart types, the three
strategies, intensity in a sliding window where a failed restart counts, significant children. Four differ:

- A restart may wait for a back-off. Under ``one_for_one`` nobody else waits with it.
- OTP's supervisor blocks while a child starts; this one goes on handling events. What is to be done next is
  derived from the children's phases after each event (``_settle``), so that a second failure in the middle
  of a group restart needs no case of its own.
- A supervisor that gives up ends with a failure that tells why, not with a bare shutdown.
- A ``dynamic`` supervisor (an actor's own children; OTP's ``simple_one_for_one``) forgets a child once it
  stays down, and stops all of them at once.
"""

from __future__ import annotations

from .effects import (
    Add,
    Answer,
    BackoffOver,
    Begin,
    Delete,
    DoKill,
    DoStart,
    DoStop,
    Effect,
    End,
    Event,
    Exited,
    Kill,
    NotStarted,
    Opened,
    Revive,
    Started,
    Stop,
    Terminate,
    Wait,
    WaitNoMore,
)
from .exits import KILLED, SHUTDOWN, ExitReason, Failed
from .specs import PERMANENT, REST_FOR_ONE, TEMPORARY, AutoShutdown, Strategy
from .supervision_state import Child, ChildPhase, Mode, Supervision


def step(state: Supervision, event: Event, now: float) -> list[Effect]:
    """Apply one event at a monotonic time in seconds, and return what is to be done, in order."""
    effects: list[Effect] = []
    match event:
        case Begin():
            _settle(state, effects)
        case Started():
            _started(state, state.children[event.id], now, effects)
        case NotStarted():
            _start_failed(state, state.children[event.id], event, now, effects)
        case Exited():
            _exited(state, state.children[event.id], event.reason, now, effects)
        case BackoffOver():
            _backoff_over(state, event, effects)
        case Stop():
            _stop(state, event.reason, effects)
        case Kill():
            _kill(state, effects)
        case _:
            _request(state, event, effects)
    return effects


# ---- what children do


def _started(state: Supervision, child: Child, now: float, effects: list[Effect]) -> None:
    child.up_since = now
    if child.phase is ChildPhase.STOPPING:  # it was told to stop meanwhile
        return
    child.phase = ChildPhase.UP
    child.fresh = False
    _answer(child, effects)
    _settle(state, effects)


def _start_failed(
    state: Supervision, child: Child, event: NotStarted, now: float, effects: list[Effect]
) -> None:
    if child.phase is ChildPhase.STOPPING or state.mode is Mode.STOPPING:
        _is_down(state, child, effects)
        return
    child.phase = ChildPhase.DOWN
    if event.ignored:
        child.wanted = False
        _answer(child, effects)
        if state.dynamic or child.spec.restart is TEMPORARY:
            del state.children[child.spec.id]
        _settle(state, effects)
    elif child.tokens:
        _answer(child, effects, f"child {child.spec.id!r} did not start: {event.reason}")
        child.wanted = False
        if child.fresh:
            del state.children[child.spec.id]
        _settle(state, effects)
    elif state.mode is Mode.STARTING:
        _stop(state, Failed("StartFailed", f"child {child.spec.id!r}: {event.reason}"), effects)
    else:
        _restart(state, child, event.reason, now, effects)


def _exited(state: Supervision, child: Child, reason: ExitReason, now: float, effects: list[Effect]) -> None:
    if child.phase is ChildPhase.STOPPING or child.doomed or state.mode is Mode.STOPPING:
        _is_down(state, child, effects)
        return
    child.phase = ChildPhase.DOWN
    spec = child.spec
    if now - child.up_since >= spec.backoff.reset_after:
        child.failures = 0
    if spec.restart is PERMANENT or (spec.restart is not TEMPORARY and not reason.is_normal):
        _restart(state, child, reason, now, effects)
        return
    child.wanted = False
    if state.dynamic or spec.restart is TEMPORARY:
        del state.children[spec.id]
    if spec.significant and _significant_end(state):
        _stop(state, SHUTDOWN, effects)
    else:
        _settle(state, effects)


def _significant_end(state: Supervision) -> bool:
    if state.auto_shutdown is AutoShutdown.ALL_SIGNIFICANT:
        return not any(each.spec.significant and each.wanted for each in state.children.values())
    return state.auto_shutdown is AutoShutdown.ANY_SIGNIFICANT


def _is_down(state: Supervision, child: Child, effects: list[Effect]) -> None:
    """Note that a child which was to go down is down."""
    child.phase = ChildPhase.DOWN
    if state.mode is Mode.STOPPING:
        _stop_next(state, effects)
        return
    if not child.doomed:  # somebody asked for it
        child.wanted = False
        _answer(child, effects)
    if child.forget or child.spec.restart is TEMPORARY or (state.dynamic and not child.wanted):
        _answer(child, effects)
        del state.children[child.spec.id]
    _settle(state, effects)


# ---- restarting


def _restart(state: Supervision, child: Child, reason: ExitReason, now: float, effects: list[Effect]) -> None:
    state.restarts.append(now)
    while now - state.restarts[0] > state.window:
        state.restarts.popleft()
    if len(state.restarts) > state.max_restarts:
        what = f"more than {state.max_restarts} restarts within {state.window:g} s"
        _stop(
            state, Failed("RestartIntensity", f"{what}; the last: child {child.spec.id!r}, {reason}"), effects
        )
        return
    state.total_restarts += 1
    child.failures += 1
    delay = child.spec.backoff.delay(child.failures, state.rng)
    if delay > 0:
        child.phase = ChildPhase.WAITING
        child.ticket += 1
        effects.append(Wait(child.spec.id, child.ticket, delay))
    if state.strategy is Strategy.ONE_FOR_ONE:
        if child.phase is ChildPhase.DOWN and state.mode is Mode.RUNNING:
            _start(child, effects)
    else:
        _doom(state, child, effects)
    _settle(state, effects)


def _doom(state: Supervision, failed: Child, effects: list[Effect]) -> None:
    """Mark those that restart together with ``failed``."""
    reached = state.strategy is not REST_FOR_ONE
    for child in state.children.values():
        if child is failed:
            reached = True
        elif reached:
            if child.phase is ChildPhase.STOPPING:  # doomed already, or somebody's request
                continue
            child.doomed = child.phase in (ChildPhase.STARTING, ChildPhase.UP)
            _wait_no_more(child, effects)
            child.wanted = True


def _settle(state: Supervision, effects: list[Effect]) -> None:
    """Do the next thing in order: stop the last doomed child, else start the first missing one."""
    if state.mode is not Mode.STARTING and (
        state.mode is not Mode.RUNNING or state.strategy is Strategy.ONE_FOR_ONE
    ):
        return
    children = state.children.values()
    last = next(
        (child for child in reversed(children) if child.doomed and child.phase is not ChildPhase.DOWN), None
    )
    if last is not None:
        _ask_to_stop(last, effects)
        return
    for child in children:
        child.doomed = False
        if child.phase in (ChildPhase.WAITING, ChildPhase.STARTING, ChildPhase.STOPPING):
            return
    for child in children:
        if child.wanted and child.phase is ChildPhase.DOWN:
            _start(child, effects)
            return
    if state.mode is Mode.STARTING:
        state.mode = Mode.RUNNING
        state.opened = True
        effects.append(Opened())


def _start(child: Child, effects: list[Effect]) -> None:
    child.phase = ChildPhase.STARTING
    effects.append(DoStart(child.spec))


def _wait_no_more(child: Child, effects: list[Effect]) -> None:
    """End the back-off of a child, if it is in one."""
    if child.phase is ChildPhase.WAITING:
        child.phase = ChildPhase.DOWN
        effects.append(WaitNoMore(child.spec.id))


def _backoff_over(state: Supervision, event: BackoffOver, effects: list[Effect]) -> None:
    child = state.children.get(event.id)
    if child is None or child.phase is not ChildPhase.WAITING or child.ticket != event.ticket:
        return
    child.phase = ChildPhase.DOWN
    if state.mode is Mode.RUNNING and state.strategy is Strategy.ONE_FOR_ONE:
        _start(child, effects)
    _settle(state, effects)


# ---- stopping


def _stop(state: Supervision, reason: ExitReason, effects: list[Effect]) -> None:
    if state.mode in (Mode.STOPPING, Mode.ENDED):
        return
    state.mode = Mode.STOPPING
    state.reason = reason
    state.still_up = []
    for child in state.children.values():
        _answer(child, effects, f"child {child.spec.id!r}: its supervisor is stopping")
        _wait_no_more(child, effects)
        if child.phase is not ChildPhase.DOWN:
            state.still_up.append(child.spec.id)
            if state.dynamic:
                _ask_to_stop(child, effects)
    _stop_next(state, effects)


def _stop_next(state: Supervision, effects: list[Effect]) -> None:
    while state.still_up:
        child = state.children[state.still_up[-1]]
        if child.phase is not ChildPhase.DOWN:
            _ask_to_stop(child, effects)
            return
        state.still_up.pop()
    state.mode = Mode.ENDED
    effects.append(End(KILLED if state.killed else state.reason, state.opened))


def _ask_to_stop(child: Child, effects: list[Effect]) -> None:
    if child.phase is not ChildPhase.STOPPING:
        child.phase = ChildPhase.STOPPING
        effects.append(DoStop(child.spec.id))


def _kill(state: Supervision, effects: list[Effect]) -> None:
    if state.mode is Mode.ENDED:
        return
    state.killed = True
    for child in state.children.values():
        if child.phase in (ChildPhase.STARTING, ChildPhase.UP, ChildPhase.STOPPING):
            child.phase = ChildPhase.STOPPING
            effects.append(DoKill(child.spec.id))
    _stop(state, KILLED, effects)


# ---- requests


def _request(state: Supervision, event: Add | Terminate | Revive | Delete, effects: list[Effect]) -> None:
    child_id = event.spec.id if isinstance(event, Add) else event.id
    child = state.children.get(child_id)
    error: str | None = None
    if state.mode in (Mode.STOPPING, Mode.ENDED):
        error = "its supervisor is stopping"
    elif isinstance(event, Add):
        error = _add(state, child, event, effects)
    elif child is None:
        error = "there is no such child"
    elif isinstance(event, Terminate):
        _terminate(state, child, event, effects)
    elif child.phase is not ChildPhase.DOWN or child.wanted:
        error = "it is not down"
    elif isinstance(event, Revive):
        child.wanted = True
        child.tokens += (event.token,)
        _start(child, effects)
    else:
        del state.children[child_id]
        effects.append(Answer(event.token, child_id))
    if error is not None:
        effects.append(Answer(event.token, child_id, f"child {child_id!r}: {error}"))


def _add(state: Supervision, child: Child | None, event: Add, effects: list[Effect]) -> str | None:
    if child is not None:
        return "a child with this id exists already"
    if event.spec.significant and state.auto_shutdown is AutoShutdown.NEVER:
        return "it is significant, but its supervisor has no auto_shutdown"
    child = Child(event.spec, fresh=True, tokens=(event.token,))
    state.children[event.spec.id] = child
    _start(child, effects)
    return None


def _terminate(state: Supervision, child: Child, event: Terminate, effects: list[Effect]) -> None:
    child.forget = child.forget or event.forget
    child.doomed = False
    match child.phase:
        case ChildPhase.STARTING | ChildPhase.UP:
            _answer(child, effects, f"child {child.spec.id!r}: it was stopped while it started")
            _ask_to_stop(child, effects)
        case _:
            _wait_no_more(child, effects)
    child.tokens += (event.token,)
    if child.phase is ChildPhase.DOWN:
        _is_down(state, child, effects)


def _answer(child: Child, effects: list[Effect], error: str | None = None) -> None:
    effects.extend(Answer(token, child.spec.id, error) for token in child.tokens)
    child.tokens = ()

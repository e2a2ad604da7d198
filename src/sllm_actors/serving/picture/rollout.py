"""What a deployment needs next: which replicas to start, to move and to stop. Pure, for one deployment.

It looks only at the present state, so it may be asked at any time, and gives nothing to do once all is as it
should be. Its rules:

- Replicas of the wanted revision on workers that are not being drained are *kept*; the others *leave*.
- One more than wanted may run while others leave (surge 1), and none that serves is stopped before another
  one serves (unavailable 0).
- If no place is found for the one more within ``SURGE_PATIENCE``, one that leaves goes first where two or
  more are wanted; where one is wanted, only if downtime is allowed: else the rollout pauses.
- A new revision that fails three times, or is not ready within its start-up timeout, is rolled back.
- Of too many, those go first that are furthest from serving.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from sllm_actors.engines.messages import ReplicaState

from .deployment import Deployment
from .replica import CRASH_LOOP, Replica

SURGE_PATIENCE = 30.0
"""Seconds that a rollout waits for a place before an old replica goes first, or it pauses."""


@define(eq=False)
class Plan:
    """What to do for one deployment now.

    Attributes:
        revision: Which revision new replicas have.
        start: One entry for each replica to start: which endpoint of several it is for, or None.
        move: Replicas to be replaced on another worker, if another one may have them.
        stop: Replicas to stop, each with the reason.
        rolled_back: Why the revision that is rolled out is given up; "" if it is not.
        pause: Why the rollout is to pause; "" if it is not.
        finished: Whether every replica has the new revision, and enough of them serve.
        due: When the answer could change without an event, in seconds on the head's clock; None: never.
    """

    revision: int
    start: list[int | None] = field(factory=list)
    move: list[Replica] = field(factory=list)
    stop: list[tuple[Replica, str]] = field(factory=list)
    rolled_back: str = ""
    pause: str = ""
    finished: bool = False
    due: float | None = None

    def due_at(self, when: float) -> None:
        """Be asked again at ``when``, or earlier."""
        self.due = when if self.due is None else min(self.due, when)


def plan(deployment: Deployment, draining: Callable[[str], bool], now: float) -> Plan:
    """Return what to do for a deployment that is not being deleted.

    Args:
        deployment: With its replicas, and how long one has waited for a place.
        draining: Whether the worker with this node id is being drained.
        now: Seconds on the head's clock.
    """
    held = deployment.rolling and bool(deployment.paused)
    todo = Plan(deployment.current if held else deployment.target)
    running = deployment.running()
    if deployment.rolling and not held:
        todo.rolled_back = _why_failed(deployment, running, now, todo)
        if todo.rolled_back:
            return todo
    keep: list[Replica] = []
    leave: list[Replica] = []
    for replica in running:
        kept = (held or replica.key.revision == todo.revision) and not draining(replica.node)
        (keep if kept else leave).append(replica)
    _stop_surplus(deployment, keep, todo)
    keep = [replica for replica in keep if not any(replica is gone for gone, _ in todo.stop)]
    _stop_leaving(deployment, keep, leave, todo, now)
    left = len(keep) + len(leave) - sum(replica in leave for replica, _ in todo.stop)
    room = deployment.wanted + bool(leave) - left
    todo.start = _missing(deployment, keep)[: max(0, room)]
    todo.move = [each for each in keep if each.unfit]
    if not deployment.rolling:  # else the revision is rolled back
        todo.move = [each for each in keep if each.unfit or each.failures >= CRASH_LOOP]
    old = any(replica.key.revision != deployment.target for replica in running)
    serving = sum(replica.serves for replica in keep)
    todo.finished = deployment.rolling and not held and not old and serving >= deployment.wanted
    if deployment.wait is not None and not deployment.wait.overdue:
        todo.due_at(deployment.wait.since + deployment.spec.startup_timeout)
    return todo


def _why_failed(deployment: Deployment, running: list[Replica], now: float, todo: Plan) -> str:
    """Return why the revision that is rolled out failed, as a sentence, or ""."""
    patience = deployment.spec.startup_timeout
    for replica in running:
        if replica.key.revision != deployment.target or replica.serves or replica.unfit:
            continue
        reason = replica.report.reason if replica.report is not None else ""
        if replica.failures >= CRASH_LOOP:
            return f"it failed {replica.failures} times in a row: {reason}"
        if replica.state in (ReplicaState.STARTING, ReplicaState.FAILED):
            if now >= replica.ordered_at + patience:
                return f"it was not ready within {patience:g} s" + (f": {reason}" if reason else "")
            todo.due_at(replica.ordered_at + patience)
    return ""


def _stop_surplus(deployment: Deployment, keep: list[Replica], todo: Plan) -> None:
    turns = len(deployment.revisions[todo.revision].spec.endpoints)
    taken: dict[int, int] = {}
    for replica in sorted(keep, key=lambda each: each.distance):
        # Each endpoint of an external deployment has a turn of its own; elsewhere any replica is as good.
        turn = replica.key.number % turns if turns else 0
        taken[turn] = taken.get(turn, 0) + 1
        if taken[turn] > (1 if turns else deployment.wanted):
            todo.stop.append((replica, "there are more replicas than wanted"))


def _stop_leaving(
    deployment: Deployment, keep: list[Replica], leave: list[Replica], todo: Plan, now: float
) -> None:
    total, wanted = len(keep) + len(leave), deployment.wanted
    serving = sum(replica.serves for replica in (*keep, *leave))
    first = bool(leave) and _goes_first(deployment, leave, todo, now)
    for replica in sorted(leave, key=lambda each: each.distance, reverse=True):
        if not first and (total <= wanted or (replica.serves and serving <= wanted)):
            continue
        todo.stop.append((replica, _why_leaves(deployment, replica)))
        total, serving, first = total - 1, serving - replica.serves, False


def _goes_first(deployment: Deployment, leave: list[Replica], todo: Plan, now: float) -> bool:
    """Return whether one that leaves is stopped, so that there is room for one of the new revision."""
    old = [replica for replica in leave if replica.key.revision != todo.revision]
    if not deployment.rolling or deployment.wait is None or not old:
        return False
    if now < deployment.wait.since + SURGE_PATIENCE:
        todo.due_at(deployment.wait.since + SURGE_PATIENCE)
        return False
    if deployment.wanted >= 2 or deployment.allow_downtime or not all(replica.serves for replica in old):
        return True
    todo.pause = (
        f"there is no room for revision {deployment.target} beside the replica that serves: "
        "free some, or resume it with --allow-downtime"
    )
    return False


def _why_leaves(deployment: Deployment, replica: Replica) -> str:
    if replica.key.revision != deployment.target:
        return f"revision {deployment.target} takes its place"
    return "its worker is being drained"


def _missing(deployment: Deployment, keep: list[Replica]) -> list[int | None]:
    if turns := len(deployment.spec.endpoints):
        covered = {replica.key.number % turns for replica in keep}
        return [turn for turn in range(turns) if turn not in covered]
    return [None] * (deployment.wanted - len(keep))

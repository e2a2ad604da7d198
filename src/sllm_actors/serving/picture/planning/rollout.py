"""What a deployment needs next: which replicas to start, to move and to stop. Pure, for one deployment.

It looks only at the present state, so it may be asked at any time, and gives nothing to do once all is as it
should be. Its rules:

- Replicas of the wanted revision on workers that are not being drained are *kept*; the others *leave*.
- One more than wanted may run while others leave (surge 1), and none that serves is stopped before another
  one serves (unavailable 0).
- If no place is found for the one more within ``SURGE_PATIENCE``, an old replica whose room would do goes
  first: where two or more run and all serve, or where downtime is allowed. Else the rollout pauses.
  Where only one runs and downtime is allowed, it goes first at once.
- A new revision that fails three times, or is not ready within its start-up timeout, is rolled back.
- While a rollout is paused, replicas of both revisions stay, and missing ones are of the old revision.
- Of those that are not needed, the ones whose engines can sleep do so *if idle*, and wake before another one
  is started.
- Of too many, those go first that are furthest from serving; those within the maximum only *if idle*, and
  not while they are known to be busy.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from attrs import define, field

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.picture.deployment import Deployment, Revision
from sllm_actors.serving.picture.replica import CRASH_LOOP, KnownReplica, Told
from sllm_actors.serving.picture.tiers.resting import rest

SURGE_PATIENCE = 30.0
"""Seconds that a rollout waits for a place before an old replica goes first, or it pauses."""


class Workers(Protocol):
    """What a plan has to know of the workers."""

    def drains(self, node: str) -> bool:
        """Return whether a worker is being drained."""
        ...

    def sleep_level(self, replica: KnownReplica) -> int | None:
        """Return the level at which a replica sleeps that is not needed; None if it is to stop."""
        ...

    def has_room(self, revision: Revision) -> bool:
        """Return whether a replica of a revision would find a place now."""
        ...

    def makes_room(self, revision: Revision, replicas: Collection[KnownReplica]) -> bool:
        """Return whether a replica of a revision could have the place of others, all on one worker."""
        ...


@define(eq=False)
class Plan:
    """What to do for one deployment now.

    Attributes:
        revision: Which revision new replicas have.
        start: One entry for each replica to start: which endpoint of several it is for, or None.
        move: Replicas to be replaced on another worker, if another one may have them.
        stop: Replicas to stop, each with the reason.
        release: Replicas to stop if they are idle, each with the reason.
        sleep: Replicas to put to sleep if they are idle, each with the level and the reason.
        wake: Replicas to wake.
        rolled_back: Why the revision that is rolled out is given up; "" if it is not.
        pause: Why the rollout is to pause; "" if it is not.
        finished: Whether every replica has the new revision, and enough of them serve.
        due: When the answer could change without an event, in seconds on the head's clock; None: never.
    """

    revision: int
    start: list[int | None] = field(factory=list)
    move: list[KnownReplica] = field(factory=list)
    stop: list[tuple[KnownReplica, str]] = field(factory=list)
    release: list[tuple[KnownReplica, str]] = field(factory=list)
    sleep: list[tuple[KnownReplica, int, str]] = field(factory=list)
    wake: list[KnownReplica] = field(factory=list)
    rolled_back: str = ""
    pause: str = ""
    finished: bool = False
    due: float | None = None

    def due_at(self, when: float) -> None:
        """Be asked again at ``when``, or earlier."""
        self.due = when if self.due is None else min(self.due, when)


def is_steady(deployment: Deployment, draining: Collection[str]) -> bool:
    """Return whether just what is wanted runs, as nearly always: then the plan is to do nothing.

    Args:
        deployment: One that is not being deleted.
        draining: The workers that are being drained.
    """
    target = deployment.target
    if target != deployment.current or deployment.spec.endpoints:
        return False
    running = 0
    for replica in deployment.replicas.values():
        if replica.ordered is not Told.RUN or replica.replaced:
            continue
        running += 1
        if replica.sleep is not None or replica.key.revision != target or replica.node in draining:
            return False
        report = replica.report
        if report is not None and (report.unfit or report.failures >= CRASH_LOOP):
            return False
    return running == deployment.wanted


def plan(deployment: Deployment, workers: Workers, now: float) -> Plan:
    """Return what to do for a deployment that is not being deleted.

    Args:
        deployment: With its replicas, and how long one has waited for a place.
        workers: The workers that its replicas are on.
        now: Seconds on the head's clock.
    """
    held = deployment.rolling and bool(deployment.paused)
    todo = Plan(deployment.current if held else deployment.target)
    turns = len(deployment.revisions[todo.revision].spec.endpoints)
    wanted = turns or deployment.wanted
    running = deployment.running()
    if deployment.rolling and not held:
        todo.rolled_back = _why_failed(deployment, running, now, todo)
        if todo.rolled_back:
            return todo
    keep: list[KnownReplica] = []
    leave: list[KnownReplica] = []
    for replica in running:
        kept = (held or replica.key.revision == todo.revision) and not workers.drains(replica.node)
        (keep if kept else leave).append(replica)
    most = 0 if deployment.unloading else deployment.most
    surplus = deployment.fewer or "there are more replicas than wanted"
    resting = rest(deployment, [] if turns else keep, wanted)
    todo.wake, awake = resting.wake, turns or resting.wanted
    keep = _without_surplus(keep if turns else resting.awake, turns, awake, most, surplus, todo, workers, now)
    keep += _sleep_on(deployment, resting.asleep, todo, now)
    _stop_leaving(deployment, keep, leave, wanted, todo, workers, now)
    left = len(keep) + len(leave) - sum(replica in leave for replica, _ in todo.stop)
    surge = bool(leave) or any(replica.key.revision != todo.revision for replica in keep)
    todo.start = _missing(keep, todo.revision, turns, wanted)[: max(0, wanted + surge - left)]
    steady = held or not deployment.rolling  # else the revision is rolled back, if it fails
    todo.move = [each for each in keep if each.unfit or (steady and each.failures >= CRASH_LOOP)]
    old = any(replica.key.revision != deployment.target for replica in running)
    serving = sum(replica.serves for replica in keep)
    todo.finished = deployment.rolling and not held and not old and serving >= max(1, wanted)
    return todo


def _why_failed(deployment: Deployment, running: list[KnownReplica], now: float, todo: Plan) -> str:
    """Return why the revision that is rolled out failed, as a sentence, or ""."""
    patience = deployment.spec.startup_timeout
    for replica in running:
        if replica.key.revision != deployment.target or replica.serves or replica.unfit:
            continue
        reason = replica.report.reason if replica.report is not None else ""
        if replica.failures >= (1 if deployment.unproven else CRASH_LOOP):
            times = f" {replica.failures} times in a row" if replica.failures > 1 else ""
            return f"it failed{times}: {reason}"
        if replica.state in (ReplicaState.STARTING, ReplicaState.FAILED):
            if now >= replica.since + patience:
                return f"it was not ready within {patience:g} s" + (f": {reason}" if reason else "")
            todo.due_at(replica.since + patience)
    return ""


def _without_surplus(
    keep: list[KnownReplica],
    turns: int,
    wanted: int,
    most: int,
    surplus: str,
    todo: Plan,
    workers: Workers,
    now: float,
) -> list[KnownReplica]:
    """Stop those of ``keep`` that are too many, with ``surplus`` as the reason, and return the others."""
    if not turns and len(keep) <= wanted and all(each.key.revision == todo.revision for each in keep):
        return keep
    kept: list[KnownReplica] = []
    others: list[KnownReplica] = []  # of the new revision, while the rollout is paused
    taken: dict[int, int] = {}
    for replica in sorted(keep, key=lambda each: each.distance):
        if replica.key.revision != todo.revision:
            others.append(replica)
            continue
        # Each endpoint of an external deployment has a turn of its own; elsewhere any replica is as good.
        turn = replica.key.number % turns if turns else 0
        taken[turn] = taken.get(turn, 0) + 1
        if taken[turn] <= (1 if turns else wanted):
            kept.append(replica)
        elif turns or taken[turn] > most:
            todo.stop.append((replica, surplus))
        elif now >= replica.busy_until:
            level = workers.sleep_level(replica) if replica.state is ReplicaState.READY else None
            if level is None:
                todo.release.append((replica, surplus))
            else:
                todo.sleep.append((replica, level, surplus))
        else:
            kept.append(replica)
            todo.due_at(replica.busy_until)
    spare = max(0, wanted + 1 - len(kept))
    todo.stop += [(replica, surplus) for replica in others[spare:]]
    return kept + others[:spare]


def _sleep_on(
    deployment: Deployment, asleep: list[KnownReplica], todo: Plan, now: float
) -> list[KnownReplica]:
    """Stop those that have slept for as long as they may, and return the others."""
    if deployment.unloaded or deployment.unloading:
        todo.release += [(replica, deployment.fewer) for replica in asleep]
        return []
    limit = deployment.spec.scaling.sleep_keep_alive
    if limit < 0:
        return asleep
    kept = []
    for replica in asleep:
        if replica.spare and replica.state is ReplicaState.ASLEEP and now >= replica.asleep_since + limit:
            todo.release.append((replica, f"it has slept for {limit:g} s, and nobody has needed it"))
            continue
        kept.append(replica)
        if replica.spare and replica.state is ReplicaState.ASLEEP:
            todo.due_at(replica.asleep_since + limit)
    return kept


def _stop_leaving(
    deployment: Deployment,
    keep: list[KnownReplica],
    leave: list[KnownReplica],
    wanted: int,
    todo: Plan,
    workers: Workers,
    now: float,
) -> None:
    if not leave:
        return
    total = len(keep) + len(leave)
    serving = sum(replica.serves for replica in (*keep, *leave))
    first: list[KnownReplica] = []
    ending = any(replica.ordered is Told.STOP for replica in deployment.replicas.values())
    if deployment.rolling and not ending:  # else its room is not free yet
        first = _first_to_go(deployment, leave, serving == total, todo, workers, now)
    for replica in sorted(leave, key=lambda each: each.distance, reverse=True):
        if replica not in first and (total <= wanted or (replica.serves and serving <= wanted)):
            continue
        todo.stop.append((replica, _why_leaves(deployment, replica)))
        total, serving = total - 1, serving - replica.serves


def _first_to_go(
    deployment: Deployment,
    leave: list[KnownReplica],
    all_serve: bool,
    todo: Plan,
    workers: Workers,
    now: float,
) -> list[KnownReplica]:
    """Return which replicas are stopped now, so that there is room for one of the new revision."""
    old = [replica for replica in leave if replica.key.revision != todo.revision]
    if deployment.wait is None or not old:
        return []
    several = len(deployment.running()) >= 2
    at_once = deployment.allow_downtime and not several
    if not at_once and now < deployment.wait.since + SURGE_PATIENCE:
        todo.due_at(deployment.wait.since + SURGE_PATIENCE)
        return []
    revision = deployment.revisions[todo.revision]
    if workers.has_room(revision):
        return []
    alone = [replica for replica in old if workers.makes_room(revision, [replica])]
    alone.sort(key=lambda each: each.distance, reverse=True)
    if alone and (deployment.allow_downtime or not alone[0].serves or (several and all_serve)):
        return alone[:1]
    if alone and several:
        return []  # until all serve again
    groups: dict[str, list[KnownReplica]] = {}
    for replica in old:
        groups.setdefault(replica.node, []).append(replica)
    together = [group for group in groups.values() if workers.makes_room(revision, group)]
    if together and deployment.allow_downtime:
        return min(together, key=len)
    todo.pause = f"there is no room for revision {deployment.target}"
    if together:
        remedy = "free some, or resume it with --allow-downtime"
        todo.pause += f" beside {'the replicas that run' if several else 'the replica that serves'}: {remedy}"
    else:
        todo.pause += ", even without the replicas of the old one: free some, or update it again"
    return []


def _why_leaves(deployment: Deployment, replica: KnownReplica) -> str:
    if replica.key.revision != deployment.target:
        return f"revision {deployment.target} takes its place"
    return "its worker is being drained"


def _missing(keep: list[KnownReplica], revision: int, turns: int, wanted: int) -> list[int | None]:
    if turns:
        covered = {replica.key.number % turns for replica in keep if replica.key.revision == revision}
        return [turn for turn in range(turns) if turn not in covered]
    return [None] * (wanted - len(keep))

"""Carrying out the plan of one deployment: orders, numbers, places, routes and records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.serving.decisions.start_cost import StartCosts
from sllm_actors.serving.picture.catalogue import Catalogue
from sllm_actors.serving.picture.deployment import NUMBERS, Deployment, PlacementWait, Revision
from sllm_actors.serving.picture.effects import Effects
from sllm_actors.serving.picture.eviction.evictor import Evictor
from sllm_actors.serving.picture.eviction.making_room import RoomMaker
from sllm_actors.serving.picture.fleet import Fleet
from sllm_actors.serving.picture.indices.demand import DemandTable
from sllm_actors.serving.picture.indices.queues import WaitingQueues
from sllm_actors.serving.picture.missing import (
    LOOKED_AT,
    WorkersFor,
    could_have,
    refused_by_all,
    what_is_missing,
)
from sllm_actors.serving.picture.node import KnownNode
from sllm_actors.serving.picture.replica import KnownReplica
from sllm_actors.serving.picture.room.fitting import fits_after
from sllm_actors.serving.picture.room.placing import find_place
from sllm_actors.serving.store.writes import DropRevision, PutDeployment, PutRevision, RemoveDeployment

from . import rollout
from .ordering import Ordering
from .route import route_of, told_of

REJECTION = 600.0
"""Seconds after which a revision is tried again on a worker that refused it, or where it failed."""

RETRY = 30.0
"""Seconds after which a replica that waits for a place is tried again even if nothing has changed."""

_TURNS = 8  # of planning one deployment: what is stopped makes room for what starts


class Planner:
    """Plans one deployment at a time.

    Args:
        fleet: The nodes.
        catalogue: The deployments.
        demand: What clients want of them.
        costs: What starts and wakes of replicas have taken.

    Attributes:
        effects: What follows, until it is taken.
        orders: Tells workers what is decided.
        waiting: Deployments of which a replica has no place.
        room: Makes room for those that may have it.
        evictor: Chooses whose room they get.
    """

    def __init__(self, fleet: Fleet, catalogue: Catalogue, demand: DemandTable, costs: StartCosts) -> None:
        self._fleet = fleet
        self._costs = costs
        self._catalogue = catalogue
        self.effects = Effects()
        self.orders = Ordering(fleet, self.effects)
        self.waiting = WaitingQueues()
        self.evictor = Evictor(fleet, demand, costs)
        self.room = RoomMaker(fleet, catalogue.by_uid, self.evictor, self.orders, self.publish)

    def plan(self, deployment: Deployment, now: float, wall: float) -> None:
        """Bring a deployment nearer to what it should be.

        Args:
            deployment: It may be of any state.
            now: Seconds on the head's clock.
            wall: Seconds since the epoch.
        """
        deployment.due = None
        if deployment.deleting:
            self._delete(deployment, wall)
            return
        for _ in range(_TURNS):
            if not self._turn(deployment, now):
                break
        else:
            self._due_at(deployment, now + RETRY)
        self.keep(deployment)
        self._drop_old_revisions(deployment)
        self.publish(deployment)

    # ---- one turn

    def _turn(self, deployment: Deployment, now: float) -> bool:
        """Do what the plan says once; return whether that may have changed the plan."""
        if rollout.is_steady(deployment, self._fleet.draining):
            self._settle_wait(deployment)
            return False

        def has_room(revision: Revision) -> bool:
            return self._place(deployment, revision, now, _by_worker(deployment)) is not None

        workers = WorkersFor(self._fleet, deployment, self._costs, now, has_room)
        todo = rollout.plan(deployment, workers, now)
        deployment.due = todo.due
        if todo.rolled_back:
            self._roll_back(deployment, todo.rolled_back)
            return True
        if todo.pause:
            deployment.paused = todo.pause
            self.effects.note(deployment.id, "rollout.paused", todo.pause, revision=deployment.target)
            self._settle_wait(deployment)
            return True
        for replica, reason in todo.stop:
            self.orders.stop(replica, reason)
        for replica, reason in todo.release:
            self.orders.release(replica, reason)
        for replica, level_, reason in todo.sleep:
            self.orders.rest(deployment, replica, level_, reason)
        woken, waits = self._wake(deployment, todo.wake, now)
        if todo.finished:
            sentence = f"revision {deployment.target} serves"
            self.effects.note(deployment.id, "rollout.finished", sentence, revision=deployment.target)
            deployment.current = deployment.target
            deployment.allow_downtime = deployment.unproven = False
            return True
        moved = [self._move(deployment, replica, now) for replica in todo.move]
        placed = False  # what waits for room to wake comes before what waits for a place to start
        if not waits:
            placed = self._start(deployment, deployment.revisions[todo.revision], todo.start, now)
        return bool(todo.stop or todo.release or todo.sleep) or woken or any(moved) or placed

    def _wake(self, deployment: Deployment, asleep: list[KnownReplica], now: float) -> tuple[bool, bool]:
        """Wake replicas; return whether that may have changed the plan, and whether one waits for room."""
        for number, replica in enumerate(asleep):
            revision = deployment.revisions[replica.key.revision]
            if self.room.wakes(deployment, replica, now):
                self.orders.wake(deployment, replica, "it is needed")
            elif self._goes_elsewhere(deployment, revision, replica, now):
                reason = "it is needed, and there is no room for it to wake"
                self.orders.release(replica, reason)
            else:
                begun = self._wait(deployment, revision, now)
                if (when := self.room.make(deployment, revision, now, replica)) is not None:
                    self._due_at(deployment, when)
                return begun or number > 0, True
        return bool(asleep), False

    def _goes_elsewhere(
        self, deployment: Deployment, revision: Revision, replica: KnownReplica, now: float
    ) -> bool:
        """Return whether another replica is started instead of one that has no room to wake."""
        if self.evictor.claims.get(deployment.uid) is not None:
            return False  # its room is being made
        if self.evictor.room_of_idle(deployment, revision, now, replica) is not None:
            return False
        if self._place(deployment, revision, now, _by_worker(deployment)) is not None:
            return True
        return not replica.is_winding_down and self.room.is_for_another(deployment, revision, replica, now)

    def _start(self, deployment: Deployment, revision: Revision, turns: list[int | None], now: float) -> bool:
        same = _by_worker(deployment)
        for done, turn in enumerate(turns):
            node = self.room.place(deployment, revision, now) or self._place(deployment, revision, now, same)
            if node is None:
                if deployment.rolling and revision.number == deployment.target:
                    reason = refused_by_all(deployment, revision, self._fleet, now)
                    if reason:
                        self._roll_back(deployment, reason)
                        return True
                if self._does_without(deployment, revision, now):
                    return True
                begun = self._wait(deployment, revision, now)
                if (when := self.room.make(deployment, revision, now)) is not None:
                    self._due_at(deployment, when)
                return begun or done > 0
            key = self._next_key(deployment, revision, turn)
            if key is None:  # numbers are being reserved; it is planned again when they are
                return done > 0
            self.orders.run(deployment, revision, key, node, now)
            same[node.id] += 1
        self._settle_wait(deployment)
        return bool(turns)

    def _does_without(self, deployment: Deployment, revision: Revision, now: float) -> bool:
        """Want no more replicas than run, if one waits in vain and nobody asks for it; return if so.

        One that was started for requests does so as soon as these have gone, others after the start-up
        timeout. One goes on waiting that no worker could have even if that was empty, of those looked at.
        """
        running, nodes = len(deployment.running()), islice(self._fleet.workers_up.values(), LOOKED_AT)
        if running >= deployment.wanted or running < deployment.needed or deployment.rolling:
            return False
        wait, rest = deployment.wait, deployment.scaler.rest
        if wait is None:
            return False
        for_requests = deployment.loaded and rest is not None and wait.since <= rest
        if not for_requests and now < wait.since + revision.spec.startup_timeout:
            return False
        if not any(could_have(node, deployment, revision, now) for node in nodes):
            return False
        why = "others have had the room, and nobody asks for it"
        sentence = f"from {deployment.wanted} to {running}: {why}"
        self.effects.note(deployment.id, "deployment.scaled", sentence)
        deployment.want(running, why, now)
        deployment.loaded = True
        self._settle_wait(deployment)
        return True

    def _place(
        self,
        deployment: Deployment,
        revision: Revision,
        now: float,
        same: Mapping[str, int],
        *,
        but: str = "",
    ) -> KnownNode | None:
        nodes, selector = self._fleet.nodes, revision.spec.node_selector

        def passes(node: str) -> bool:
            return node != but and nodes[node].admits(deployment.uid, revision.number, selector, now)

        return find_place(self._fleet, self._costs, deployment, revision, same, passes)

    def _next_key(self, deployment: Deployment, revision: Revision, turn: int | None) -> ReplicaKey | None:
        number = deployment.next_number
        if turn is not None:
            turns = len(revision.spec.endpoints)
            number += (turn - number) % turns
        block = max(NUMBERS, 2 * deployment.wanted)
        if number + block // 2 >= deployment.reserved:
            deployment.reserved = max(deployment.reserved, number) + block
            self.effects.numbers[deployment.uid] = deployment.reserved
        if number >= deployment.usable:
            return None
        deployment.next_number = number + 1
        return ReplicaKey(deployment.id, revision.number, number, deployment.uid)

    def _move(self, deployment: Deployment, replica: KnownReplica, now: float) -> bool:
        """Replace a replica that its worker refuses, or where it fails again and again; return if it was.

        One that fails stays where it is if no other worker may have it: it is tried again there.
        """
        node, report = self._fleet.nodes[replica.node], replica.report
        pair = (deployment.uid, replica.key.revision)
        reason = report.reason if report is not None else ""
        if not node.rejects(pair, now):
            self._fleet.reject(node, pair, reason or "it failed there", now, now + REJECTION)
        revision = deployment.revisions[replica.key.revision]
        same = _by_worker(deployment)
        if not replica.unfit and self._place(deployment, revision, now, same, but=node.id) is None:
            if not replica.stays:
                replica.stays = True
                sentence = f"{replica.key} fails again and again, and no other worker has a place: {reason}"
                self.effects.note_replica(replica, "replica.stays", sentence)
            return False
        where = node.name or node.id
        why = f"{where} {'cannot run it' if replica.unfit else 'failed it'}: {reason}"
        self.effects.note_replica(replica, "replica.moved", f"{replica.key} goes elsewhere: {why}")
        self.orders.stop(replica, why)
        return True

    # ---- what waits

    def may_go_to(self, node: KnownNode, now: float) -> list[str]:
        """Return the uids of deployments that wait for room, and may find some on a worker now."""
        if not len(self.waiting) or not node.takes_replicas:
            return []

        def fits(uid: str) -> bool:
            waiting = self._catalogue.by_uid[uid]
            assert waiting.wait is not None
            revision = waiting.revisions[waiting.wait.revision]
            if (wakes := self.evictor.contenders.waking(uid)) is not None:
                return wakes.node == node.id and fits_after(node, wakes.need, (), wakes)
            if not node.free.fits(waiting.need(revision, node.gpus)):
                return False
            return node.admits(uid, revision.number, revision.spec.node_selector, now)

        return list(self.waiting.for_room(node.free, fits))

    def _wait(self, deployment: Deployment, revision: Revision, now: float) -> bool:
        """Let a replica wait for a place; return whether it has not waited before."""
        wait = deployment.wait
        begun = wait is None or wait.revision != revision.number
        if wait is None or begun:
            wait = deployment.wait = PlacementWait(now, revision.number)
        if not wait.overdue and now >= wait.since + revision.spec.startup_timeout:
            wait.overdue, wait.missing = True, self._what_is_missing(deployment, now)
            sentence = deployment.no_place()
            self.effects.note(deployment.id, "deployment.no_place", sentence, revision=revision.number)
        self.waiting.add(deployment.uid, deployment.need(revision, 0))
        if not wait.overdue:
            self._due_at(deployment, wait.since + revision.spec.startup_timeout)
        self._due_at(deployment, now + RETRY)
        return begun

    def _what_is_missing(self, deployment: Deployment, now: float) -> str:
        return what_is_missing(deployment, self._fleet, self._catalogue.by_uid, now)

    def _settle_wait(self, deployment: Deployment) -> None:
        deployment.wait = None
        self.waiting.remove(deployment.uid)
        self.evictor.withdraw(deployment.uid)

    def _due_at(self, deployment: Deployment, when: float) -> None:
        deployment.due = when if deployment.due is None else min(deployment.due, when)

    # ---- revisions and records

    def _roll_back(self, deployment: Deployment, reason: str) -> None:
        failed = deployment.revisions[deployment.target]
        failed.failed = reason
        self.effects.writes.append(PutRevision(failed.record(deployment.uid)))
        sentence = f"revision {failed.number} was rolled back to {deployment.current}: {reason}"
        self.effects.note(deployment.id, "rollout.rolled_back", sentence, revision=failed.number)
        deployment.target = deployment.current
        deployment.paused, deployment.allow_downtime, deployment.unproven = "", False, False
        self._settle_wait(deployment)

    def _drop_old_revisions(self, deployment: Deployment) -> None:
        if len(deployment.revisions) == 1:
            return
        used = {deployment.current, deployment.target, max(deployment.revisions)}
        used |= {replica.key.revision for replica in deployment.replicas.values()}
        for number in [each for each in deployment.revisions if each not in used]:
            del deployment.revisions[number]
            self.effects.writes.append(DropRevision(deployment.uid, number))

    def _delete(self, deployment: Deployment, wall: float) -> None:
        self._settle_wait(deployment)
        self.publish(deployment)
        for replica in list(deployment.replicas.values()):
            self.orders.stop(replica, "its deployment is being deleted")
        self.keep(deployment)
        if not deployment.replicas:
            self._catalogue.remove(deployment, wall)
            self.effects.writes.append(RemoveDeployment(deployment.uid, wall))
            self.effects.note(deployment.id, "deployment.deleted", f"{deployment.id} is deleted")

    def keep(self, deployment: Deployment) -> None:
        """Let the store hold what has changed."""
        record = deployment.record
        if record != deployment.written:
            deployment.written = record
            self.effects.writes.append(PutDeployment(record))

    def publish(self, deployment: Deployment) -> None:
        """Tell gateways what has changed."""
        told = None if deployment.deleting else told_of(deployment)
        if told == deployment.told:
            return
        deployment.told = told
        route = None if deployment.deleting else route_of(deployment)
        if route != deployment.route:
            deployment.route = route
            self.effects.routes[deployment.id] = route


def _by_worker(deployment: Deployment) -> Counter[str]:
    """Return how many replicas of a deployment are to run on each worker."""
    return Counter(replica.node for replica in deployment.running())

"""What workers run that the head did not order: taken back, adopted, or stopped once that harms nobody.

After a start the head knows no replica: workers report them. Most are adopted, because deployment, revision
and fingerprint are those of the store. Of the others:

- One whose deployment was deleted is stopped, and so is one that was draining already.
- One whose deployment has an id that is free is a *stranger*: the store was lost. Its document is asked from
  the worker, and the deployment is taken back after the settle time, with the revision of which most
  replicas serve.
- One of another life, another revision or another engine of a deployment that is known is a *rival*: it goes
  on until the known one serves, cannot find a place, or is deleted. A stranger whose id is deployed is one.
  When it is stopped, its other life is remembered as deleted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from itertools import islice

from attrs import define, field

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.deployment.problem import DeploymentProblem
from sllm_actors.serving.store.records import RevisionRecord
from sllm_actors.serving.store.writes import PutDeletion, PutRevision

from .catalogue import Catalogue
from .deployment import NUMBERS, Deployment, Revision, least_of, order_for
from .fleet import Fleet
from .node import KnownNode
from .planning.planner import Planner
from .planning.rollout import SURGE_PATIENCE
from .replica import KnownReplica, Told
from .room.need import need_of_report

BATCH = 16
"""How many strangers are decided about in one step at most: the actor takes other messages in between."""

_Place = tuple[str, ReplicaKey]  # a worker and a replica


@define(eq=False)
class Stranger:
    """A deployment that only workers know.

    Attributes:
        id: Its id.
        decide_at: When to decide about it, in seconds on the head's clock.
        replicas: What workers run of it.
        documents: By revision: the document, or "" if the worker that was asked could not say.
    """

    id: str
    decide_at: float
    replicas: dict[_Place, KnownReplica] = field(factory=dict)
    documents: dict[int, str] = field(factory=dict)


class Recovery:
    """Decides about replicas that the head did not order.

    Args:
        fleet: The nodes.
        catalogue: The deployments.
        planner: Takes the decisions.
        settle_time: Seconds from the first replica of a stranger until it is decided about.
    """

    def __init__(self, fleet: Fleet, catalogue: Catalogue, planner: Planner, settle_time: float) -> None:
        self._fleet = fleet
        self._catalogue = catalogue
        self._planner = planner
        self._settle_time = settle_time
        self._strangers: dict[str, Stranger] = {}  # by uid; those that are decided first come first
        self._claims: dict[str, set[str]] = {}  # by deployment id, the uids of strangers
        self._rivals: dict[str, dict[_Place, KnownReplica]] = {}

    def meet(self, node: KnownNode, report: ReplicaReport, now: float) -> KnownReplica:
        """Take the first report of a replica that is not ordered there, and return its record."""
        key = report.id.key
        deployment = self._catalogue.by_uid.get(key.uid)
        revision = None if deployment is None else deployment.revisions.get(key.revision)
        need = need_of_report(report)
        if deployment is not None and revision is not None:
            need = deployment.need_of_running(revision, report)
        replica = KnownReplica(key, node.id, need, Told.NOTHING, now, report, returned=True)
        self._fleet.add(replica)
        if deployment is None:
            if _ends(report):
                self._planner.orders.stop(replica, "it was being stopped")
            elif key.uid in self._catalogue.deletions:
                self._planner.orders.stop(replica, "its deployment was deleted")
            elif key.deployment in self._catalogue.by_id:
                self._rival(replica)
            else:
                self._stranger(replica, now)
            return replica
        elsewhere = deployment.replicas.get(key)
        if elsewhere is not None:
            self._planner.orders.stop(replica, "it runs on another worker")
        elif deployment.deleting or _ends(report):
            deployment.replicas[key] = replica
            why = "its deployment is being deleted" if deployment.deleting else "it was being stopped"
            self._planner.orders.stop(replica, why)
        elif revision is None or report.fingerprint not in ("", revision.fingerprint):
            self._rival(replica)
        else:
            self._adopt(deployment, revision, replica)
        return replica

    def forget(self, replica: KnownReplica) -> None:
        """Take note that a worker has nothing of a replica any more."""
        place = (replica.node, replica.key)
        rivals = self._rivals.get(replica.key.deployment)
        if rivals is not None and rivals.pop(place, None) is not None and not rivals:
            del self._rivals[replica.key.deployment]
        stranger = self._strangers.get(replica.key.uid)
        if stranger is not None and stranger.replicas.pop(place, None) is not None and not stranger.replicas:
            self._drop(replica.key.uid)

    def learn(self, uid: str, revision: int, document: str) -> None:
        """Take a document that a worker gave."""
        stranger = self._strangers.get(uid)
        if stranger is not None:
            stranger.documents[revision] = document

    def claimed(self, name: str) -> None:
        """Take note that a deployment id is no longer free: of strangers with it, the replicas are rivals."""
        for uid in sorted(self._claims.get(name, ())):
            for replica in self._drop(uid).replicas.values():
                self._rival(replica)

    def due(self) -> float | None:
        """Return when the next stranger is to be decided about, or None."""
        first = next(iter(self._strangers.values()), None)
        return None if first is None else first.decide_at

    def decides_at(self, name: str) -> float:
        """Return when the last stranger of an id is to be decided about; minus infinity if there is none."""
        times = (self._strangers[uid].decide_at for uid in self._claims.get(name, ()))
        return max(times, default=float("-inf"))

    def decide(self, now: float, wall: float, held: Collection[str]) -> list[Deployment]:
        """Decide about strangers that are due, and return the deployments that are to be planned.

        It decides about ``BATCH`` at most: while ``due`` is not after ``now``, there are more.
        About those with an id of ``held`` it is decided later: just now, somebody deploys it.
        """
        concerned = []
        for uid, stranger in list(islice(self._strangers.items(), BATCH)):
            if uid not in self._strangers:
                continue  # another one has just been taken back under its id
            if stranger.decide_at > now:
                break
            if stranger.id in held:
                self._decide_later(uid, now)
                continue
            deployment = self._take_back(uid, stranger, now, wall)
            if deployment is not None:
                concerned.append(deployment)
        return concerned

    def mind_rivals(self, deployment: Deployment, now: float, wall: float) -> None:
        """Stop the rivals of a deployment that serves, found no place for a while, or is being deleted.

        What they are of is deleted with that: a worker that was away does not bring it back.
        """
        if deployment.id not in self._rivals:
            return
        if deployment.deleting:
            self._yield(deployment, "is being deleted", wall)
        elif any(replica.serves for replica in deployment.running()):
            self._yield(deployment, "serves", wall)
        elif deployment.wait is not None and now >= deployment.wait.since + SURGE_PATIENCE:
            self._yield(deployment, "needs its room", wall)

    # ---- inside

    def _adopt(self, deployment: Deployment, revision: Revision, replica: KnownReplica) -> None:
        key = replica.key
        replica.order_to_run()
        if replica.report is not None and replica.report.level is not None:
            replica.order_if_idle(sleep=replica.report.level)  # it sleeps: nothing has changed that
        self._fleet.weigh(self._fleet.nodes[replica.node])
        deployment.replicas[key] = replica
        if deployment.settled:
            deployment.count_running()
        deployment.next_number = max(deployment.next_number, key.number + 1)
        self._planner.effects.orders[replica.node, key] = order_for(revision, replica)

    def _yield(self, deployment: Deployment, why: str, wall: float) -> None:
        rivals = list(self._rivals.pop(deployment.id).values())
        for uid in sorted({replica.key.uid for replica in rivals} - {deployment.uid}):
            record = self._catalogue.gone(uid, deployment.id, wall)
            self._planner.effects.writes.append(PutDeletion(record))
        for replica in rivals:
            self._planner.orders.stop(
                replica, f"it is not of {deployment.id} as it is deployed now, which {why}"
            )

    def _rival(self, replica: KnownReplica) -> None:
        self._rivals.setdefault(replica.key.deployment, {})[replica.node, replica.key] = replica

    def _stranger(self, replica: KnownReplica, now: float) -> None:
        key = replica.key
        stranger = self._strangers.get(key.uid)
        if stranger is None:
            stranger = self._strangers[key.uid] = Stranger(key.deployment, now + self._settle_time)
            self._claims.setdefault(stranger.id, set()).add(key.uid)
        if key.revision not in stranger.documents:
            stranger.documents[key.revision] = ""
            self._planner.effects.documents.append((replica.node, key))
        stranger.replicas[replica.node, key] = replica

    def _drop(self, uid: str) -> Stranger:
        stranger = self._strangers.pop(uid)
        claims = self._claims[stranger.id]
        claims.discard(uid)
        if not claims:
            del self._claims[stranger.id]
        return stranger

    def _decide_later(self, uid: str, now: float) -> None:
        stranger = self._strangers.pop(uid)
        stranger.decide_at = now + self._settle_time
        self._strangers[uid] = stranger  # behind all others

    def _take_back(self, uid: str, stranger: Stranger, now: float, wall: float) -> Deployment | None:
        running: Counter[int] = Counter(key.revision for _, key in stranger.replicas)
        serving = Counter(key.revision for (_, key), each in stranger.replicas.items() if each.serves)
        for number in sorted(running, key=lambda each: (serving[each], each), reverse=True):
            try:
                record = RevisionRecord(uid, number, stranger.documents[number], wall)
                revision = Revision.of(record)
            except DeploymentProblem:
                continue
            if revision.spec.id == stranger.id:
                self._drop(uid)
                return self._recovered(uid, stranger, revision, running[number])
        self._decide_later(uid, now)
        asked = {key.revision: (node, key) for node, key in stranger.replicas}
        self._planner.effects.documents += asked.values()  # of each revision one
        return None

    def _recovered(self, uid: str, stranger: Stranger, revision: Revision, running: int) -> Deployment:
        highest = max(key.number for _, key in stranger.replicas)
        deployment = Deployment(
            uid=uid,
            id=stranger.id,
            created=revision.created,
            revisions={revision.number: revision},
            current=revision.number,
            target=revision.number,
            wanted=max(least_of(revision.spec, loaded=True), running),
            reserved=highest + 1 + NUMBERS,
            next_number=highest + 1,
            recovered=True,
            loaded=True,
        )
        self._catalogue.add(deployment)
        self.claimed(deployment.id)
        effects = self._planner.effects
        effects.numbers[uid] = deployment.reserved
        self._planner.keep(deployment)
        effects.writes.append(PutRevision(revision.record(uid)))
        effects.note(
            deployment.id,
            "deployment.recovered",
            f"{deployment.id} is not in the store: it was taken back from the workers that run it",
        )
        for replica in stranger.replicas.values():
            if replica.key.revision == revision.number and replica.key not in deployment.replicas:
                assert replica.report is not None  # or nobody would have met it
                self._fleet.resize(replica, deployment.need_of_running(revision, replica.report))
                self._adopt(deployment, revision, replica)
            else:
                self._planner.orders.stop(replica, f"revision {revision.number} was taken back")
        return deployment


def _ends(report: ReplicaReport) -> bool:
    """Return whether a replica is about to end for certain; one that does so if it is idle may stay."""
    return report.state is ReplicaState.DRAINING and not report.if_idle

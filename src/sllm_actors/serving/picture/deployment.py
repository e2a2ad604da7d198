"""One deployment with its revisions, as the head knows it, and the record of it in the store."""

from __future__ import annotations

import json

from attrs import define, evolve, field

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaOrder, ReplicaReport
from sllm_actors.serving.decisions.scaling import Scaler, ScalingPolicy
from sllm_actors.serving.decisions.schedules import Calendar
from sllm_actors.serving.deployment.changes import engine_hash
from sllm_actors.serving.deployment.contradictions import AUTO
from sllm_actors.serving.deployment.document import write_document
from sllm_actors.serving.deployment.spec import DeploymentSpec
from sllm_actors.serving.messages import Order, ServedModel
from sllm_actors.serving.store.records import DeploymentRecord, RevisionRecord

from .indices.timers import sooner
from .replica import KnownReplica, Told
from .room.figures import KnownFigures
from .room.gpu_memory import GpuEstimate
from .room.need import Need, need_of
from .room.peaks import Peaks

NUMBERS = 64
"""How many replica numbers are reserved at a time."""


@define(eq=False)
class Revision:
    """One revision of a deployment: what its engines are told.

    Attributes:
        number: Its number, from 1.
        spec: The deployment's specification with the engine's part of this revision.
        document: The same as a document: JSON text.
        fingerprint: Of the engine's part; two revisions with one fingerprint mean the same engine.
        created: When it was made, in seconds since the epoch.
        failed: Why it was rolled back; "" if it was not.
    """

    number: int
    spec: DeploymentSpec
    document: str
    fingerprint: str
    created: float
    failed: str = ""

    @classmethod
    def of(cls, record: RevisionRecord) -> Revision:
        """Read a record of the store, which has checked the document."""
        spec, document = record.spec, record.document
        return cls(record.revision, spec, document, fingerprint_of(spec), record.created, record.failed)

    def record(self, uid: str) -> RevisionRecord:
        """Return what the store is to hold."""
        return RevisionRecord(uid, self.number, self.document, self.created, self.failed)


@define(eq=False)
class PlacementWait:
    """A replica that should run has no place: no worker has room for it.

    Attributes:
        since: When that began, in seconds on the head's clock.
        revision: Its revision.
        overdue: Whether it has lasted longer than the start-up timeout. The head still goes on trying.
        missing: What was missing when it became overdue, as a sentence for a person; "" before that.
    """

    since: float
    revision: int
    overdue: bool = False
    missing: str = ""


@define(eq=False)
class Deployment:
    """One deployment.

    Attributes:
        uid: Its identity: a deployment that is made again under the same id is another.
        id: ``<model>:<backend>``.
        created: When it was deployed, in seconds since the epoch.
        revisions: Its revisions that matter still, by number: the current one, the one that is rolled out,
            those of which a replica is left, and the last one that was rolled back.
        current: The revision that serves.
        target: The revision that it is to have: ``current`` but while one is rolled out.
        wanted: How many replicas should run.
        needed: So many of them for a minimum or for requests that are there: the others only go on.
        fewer: Why fewer are wanted than before; "" if they are not.
        fewer_at: Since when, in seconds on the head's clock; None if they are not.
        generation: Rises with each change of its settings.
        deleting: Whether it is being deleted.
        paused: Why the rollout does not go on, by a person or by the head; "" if it does.
        allow_downtime: Whether the rollout may stop the last replica that serves.
        unproven: Whether the revision that is rolled out was to begin without a replica: it counts as the one
            that serves, but if its first start fails, it is rolled back.
        reserved: Replica numbers below this may have been given out, once that is in the store.
        usable: Replica numbers below this are reserved in the store.
        next_number: The next replica number.
        recovered: Whether it was taken back from workers, because the store did not know it.
        loaded: Whether a replica of it has served since it was made, or since somebody wanted it loaded:
            until then one is to run, whatever its clients want.
        asked_for: Whether a person waits for that one, so that others may have to make room for it.
        unloaded: Whether a person wants nothing of it to run, nor to sleep, until the next request.
        unloading: Whether all its replicas are to end, whatever its clients want, before another one starts.
        replicas: Its replicas, by key, with those that are ending.
        gateways: How many gateways share its replicas.
        held: How many requests wait for a replica.
        pressing: For so many replicas others have to make room.
        wait: Set while a replica has no place.
        starts_in: See ``ServedModel``.
        wakes_in: See ``ServedModel``.
        scaler: What is remembered of its load.
        pauses_kept: How many of the pauses that were added are in the store.
        pauses_kept_at: When that was written, in seconds on the head's clock.
        calendar: Which of its schedules holds.
        least: The fewest replicas that it says it has now.
        most: The most replicas that it may have now.
        policy: What it says about its scaling, as it holds now; None before that was reckoned.
        policy_of: What ``policy`` was made of: it is made anew when that changes.
        settled: Whether it is known what ran of it when the head started: before that, one is taken to run.
        look_at: When it may want another number of replicas without an event; None if it does not.
        peaks: How much memory engines were seen to have, and how large their files are.
        figures: What engines take of each GPU.
        due: When its plan could change without an event; None if it cannot.
        route: What gateways were told last.
        told: What ``route`` was made of.
        written: What the store was told last.
    """

    uid: str
    id: str
    created: float
    revisions: dict[int, Revision]
    current: int
    target: int
    wanted: int
    needed: int = 0
    fewer: str = ""
    fewer_at: float | None = None
    generation: int = 1
    deleting: bool = False
    paused: str = ""
    allow_downtime: bool = False
    unproven: bool = False
    reserved: int = 0
    usable: int = 0
    next_number: int = 0
    recovered: bool = False
    loaded: bool = False
    asked_for: bool = False
    unloaded: bool = False
    unloading: bool = False
    replicas: dict[ReplicaKey, KnownReplica] = field(factory=dict)
    gateways: int = 1
    held: int = 0
    pressing: int = 0
    wait: PlacementWait | None = None
    starts_in: float = 0.0
    wakes_in: float = 0.0
    scaler: Scaler = field(factory=Scaler)
    pauses_kept: int = 0
    pauses_kept_at: float = 0.0
    calendar: Calendar = field(factory=Calendar)
    least: int = 0
    most: int = 1
    policy: ScalingPolicy | None = None
    policy_of: tuple[object, ...] = ()
    settled: bool = True
    look_at: float | None = None
    peaks: Peaks = field(factory=Peaks)
    figures: KnownFigures = field(factory=KnownFigures)
    due: float | None = None
    route: ServedModel | None = None
    told: tuple[object, ...] | None = None
    written: DeploymentRecord | None = None

    @classmethod
    def of(cls, record: DeploymentRecord, revisions: dict[int, Revision]) -> Deployment:
        """Make a deployment without replicas from the records of the store."""
        target = record.target if record.target is not None else record.current
        return cls(
            uid=record.uid,
            id=record.id,
            created=record.created,
            revisions=revisions,
            current=record.current,
            target=target,
            wanted=least_of(revisions[target].spec, loaded=record.loaded),
            generation=record.generation,
            deleting=record.deleting,
            paused=record.paused,
            allow_downtime=record.allow_downtime,
            reserved=record.reserved,
            usable=record.reserved,
            next_number=record.reserved,
            recovered=record.recovered,
            loaded=record.loaded and not revisions[target].spec.preload,
            written=record,
        )

    @property
    def record(self) -> DeploymentRecord:
        """What the store is to hold."""
        return DeploymentRecord(
            uid=self.uid,
            id=self.id,
            created=self.created,
            deleting=self.deleting,
            generation=self.generation,
            current=self.current,
            target=self.target if self.target != self.current else None,
            paused=self.paused,
            allow_downtime=self.allow_downtime,
            reserved=self.reserved,
            recovered=self.recovered,
            loaded=self.loaded,
        )

    @property
    def spec(self) -> DeploymentSpec:
        """The specification of the revision that it is to have."""
        return self.revisions[self.target].spec

    @property
    def rolling(self) -> bool:
        """Whether a revision is being rolled out."""
        return self.target != self.current

    def need(self, revision: Revision, gpus: int) -> Need:
        """Return what a replica of one of its revisions takes on a worker that has so many GPUs."""
        engine, estimated = revision.fingerprint, self.estimate(revision)
        share = 0 if estimated is None else estimated.memory
        return need_of(revision.spec, gpus, self.peaks.memory(engine), self.peaks.files(engine), share)

    def need_of_running(self, revision: Revision, report: ReplicaReport) -> Need:
        """Return what a replica takes that runs on a worker: of its GPUs, what it was started with."""
        need = evolve(self.need(revision, report.gpus), gpus=report.gpus)
        return evolve(need, gpu_memory=report.gpu_share) if revision.spec.gpu_memory == AUTO else need

    def estimate(self, revision: Revision) -> GpuEstimate | None:
        """Return what is estimated that a replica takes of each GPU; None where it is declared, or unknown.

        How many requests it is to have is not the revision's: that may change while replicas run on.
        """
        if revision.spec.gpu_memory != AUTO:
            return None
        return self.figures.estimate(revision.fingerprint, self.spec.scaling.target)

    @property
    def next_due(self) -> float | None:
        """When it is to be planned though nothing has happened to it; None: never."""
        return sooner(self.look_at, self.due)

    def running(self) -> list[KnownReplica]:
        """Return the replicas that are ordered to run, but for those that others replace."""
        return [each for each in self.replicas.values() if each.ordered is Told.RUN and not each.replaced]

    @property
    def has_sleepers(self) -> bool:
        """Whether some of its replicas are to sleep."""
        return any(replica.sleep is not None for replica in self.replicas.values())

    def count_running(self) -> None:
        """Want the replicas that run, at least: those that were found to run are not known to be too many."""
        most = len(self.spec.endpoints) or self.spec.scaling.max_instances
        awake = sum(replica.sleep is None for replica in self.running())
        self.wanted = max(self.wanted, min(awake - self.rolling, most))

    def want(self, wanted: int, why: str, now: float) -> None:
        """Want so many replicas from now on; ``why`` is kept for people unless they are more than before."""
        fewer = wanted <= self.wanted
        self.wanted, self.fewer, self.fewer_at = wanted, why if fewer else "", now if fewer else None

    def used(self, now: float) -> None:
        """Keep what is awake as if a request had just ended: somebody has woken it."""
        self.wanted = max(self.wanted, 1)
        if self.scaler.rest is not None:
            self.scaler.rest = now

    def why_overdue(self) -> str:
        """Return in a few words that a replica found no place in time; "" if none waits, or not so long."""
        if self.wait is None or not self.wait.overdue:
            return ""
        return f"it found no place within {self.spec.startup_timeout:g} s"

    def no_place(self) -> str:
        """Return the same as a sentence, with what was missing when it became overdue."""
        why = self.why_overdue()
        return f"{why}: {self.wait.missing}" if why and self.wait is not None else ""


def fingerprint_of(spec: DeploymentSpec) -> str:
    """Return what two revisions have in common that mean the same engine."""
    return engine_hash(spec)[:16]


def least_of(spec: DeploymentSpec, *, loaded: bool) -> int:
    """Return the fewest replicas that a deployment has: one for each endpoint, else the minimum.

    Args:
        spec: What it says.
        loaded: See ``Deployment``; while it is not, at least one.
    """
    return len(spec.endpoints) or max(spec.scaling.min_instances or 0, 0 if loaded else 1)


def loses_first_load(deployment: Deployment, before: DeploymentSpec, after: DeploymentSpec) -> bool:
    """Return whether a deployment is not to be loaded once any more: what it says of its minimum is new."""
    changed = after.scaling.min_instances != before.scaling.min_instances
    return changed and begins_idle(after) and not deployment.asked_for


def begins_idle(spec: DeploymentSpec) -> bool:
    """Return whether nothing is started for a deployment when it is made: it says that none is needed."""
    return spec.scaling.min_instances == 0 and not spec.preload


def revision_record(uid: str, number: int, spec: DeploymentSpec, created: float) -> RevisionRecord:
    """Return the record of a new revision; ``created`` is in seconds since the epoch."""
    return RevisionRecord(uid, number, json.dumps(write_document(spec)), created, "")


def order_for(revision: Revision | None, replica: KnownReplica) -> Order:
    """Return what a worker is told of a replica; one that is to stop needs no revision."""
    if replica.ordered is Told.STOP or revision is None:
        stop = Order(replica.key, None, replica.stop, replica.if_idle, None, replica.turn)
        return stop if replica.patience is None else evolve(stop, patience=replica.patience)
    run = _order_to_run(revision, replica.key, replica.need)
    order = Order(replica.key, run, sleep=replica.sleep, turn=replica.turn)
    return order if replica.patience is None else evolve(order, patience=replica.patience)


def _order_to_run(revision: Revision, key: ReplicaKey, need: Need) -> ReplicaOrder:
    spec = revision.spec
    return ReplicaOrder(
        key=key,
        model=spec.model,
        backend=spec.backend,
        source=spec.source_of(key.number),
        settings=spec.settings,
        num_gpus=need.gpus,
        gpu_memory=need.gpu_memory,
        startup_timeout=spec.startup_timeout,
        drain_timeout=spec.drain_timeout,
        env=spec.env,
        secret_env=spec.secret_env,
        document=revision.document,
        fingerprint=revision.fingerprint,
    )

"""What follows from events: to be carried out by the head's actor."""

from __future__ import annotations

from typing import Final

from attrs import define, field

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.journal.kinds import EventKind
from sllm_actors.serving.journal.noted import Noted
from sllm_actors.serving.messages import Order, ServedModel, WorkerAddress
from sllm_actors.serving.store.writes import StoreWrite

from .node import KnownNode
from .replica import KnownReplica


@define(eq=False)
class Effects:
    """What has changed since the effects were taken last. Of one thing that changed twice, the last counts.

    Attributes:
        orders: By worker and replica: its new order, or None where it has none any more.
        routes: By deployment id: what gateways are to know of it, or None.
        addresses: By worker: where gateways reach it, or None.
        writes: For the store, in this order.
        numbers: By uid: replica numbers below this are reserved by ``writes``: to be confirmed by
            ``NumbersReserved`` once these are on disk.
        forgotten: Nodes that are gone for so long that nothing is known of them any more, or were removed.
        removed: Nodes of which a person wants nothing to be known any more, not even whose their ids were.
        documents: Replicas of deployments that the store does not know, each with a worker that runs it: it
            is to be asked for the document.
        journal: What was decided.
    """

    orders: dict[tuple[str, ReplicaKey], Order | None] = field(factory=dict)
    routes: dict[str, ServedModel | None] = field(factory=dict)
    addresses: dict[str, WorkerAddress | None] = field(factory=dict)
    writes: list[StoreWrite] = field(factory=list)
    numbers: dict[str, int] = field(factory=dict)
    forgotten: list[str] = field(factory=list)
    removed: list[str] = field(factory=list)
    documents: list[tuple[str, ReplicaKey]] = field(factory=list)
    journal: list[Noted] = field(factory=list)

    def take(self) -> Effects:
        """Return what there is, and have nothing from now on."""
        taken = Effects(
            self.orders,
            self.routes,
            self.addresses,
            self.writes,
            self.numbers,
            self.forgotten,
            self.removed,
            self.documents,
            self.journal,
        )
        self.orders, self.routes, self.addresses, self.writes = {}, {}, {}, []
        self.numbers, self.forgotten, self.removed, self.documents, self.journal = {}, [], [], [], []
        return taken

    def note(
        self, subject: str, event: EventKind, sentence: str, *, revision: int = 0, node: str = ""
    ) -> None:
        """Add to the journal.

        Args:
            subject: The id of a deployment or node.
            event: What happened; see ``journal.kinds``.
            sentence: What happened and why, for a person.
            revision: The revision that it is about, if it is about one.
            node: The id of the node that it is about, beside the subject.
        """
        self.journal.append(Noted(subject, event, sentence, revision, node=node))

    def note_node(self, node: KnownNode, event: EventKind, doing: str) -> None:
        """Add to the journal what a node does; ``doing`` goes on a sentence that begins with its name."""
        self.note(node.id, event, f"{node.name or node.id} {doing}", node=node.id)

    def note_draining(self, node: KnownNode) -> None:
        """Add to the journal that a worker is to be drained, or no longer."""
        if node.draining:
            doing = f"is to be drained of its {len(node.replicas)} replicas"
            self.note_node(node, "node.draining", doing)
        else:
            self.note_node(node, "node.undrained", "is drained no longer: replicas may be placed there")

    def note_replica(self, replica: KnownReplica, event: EventKind, sentence: str) -> None:
        """Add to the journal what happened to a replica.

        That it stops or sleeps adds nothing to the entry before, if that says what it goes for.
        """
        key = replica.key
        last = self.journal[-1] if self.journal else None
        told = last is not None and last.replica == str(key) and last.kind in _GOES_FOR
        if told and event in ("replica.stopped", "replica.slept"):
            return
        self.journal.append(Noted(key.deployment, event, sentence, key.revision, str(key), replica.node))

    def note_outcome(
        self, replica: KnownReplica, report: ReplicaReport, before: ReplicaReport | None, where: str
    ) -> None:
        """Add to the journal that a replica is ready or has failed, if its report is the first to say so.

        Args:
            replica: It has been ordered.
            report: What its worker says of it now.
            before: What its worker said before, or None.
            where: The name of its worker.
        """
        if report.failures > (0 if before is None else before.failures):
            times = f" ({report.failures} times in a row)" if report.failures > 1 else ""
            sentence = f"{replica.key} failed on {where}{times}: {report.reason or 'it did not say why'}"
            self.note_replica(replica, "replica.failed", sentence)
        elif report.state is ReplicaState.READY and (
            before is None or before.state not in _SERVED or before.starts != report.starts
        ):
            took = f" after {report.started_in:.3g} s" if report.started_in else ""
            self.note_replica(replica, "replica.ready", f"{replica.key} is ready on {where}{took}")


_GOES_FOR: Final[tuple[EventKind, ...]] = ("replica.moved", "replica.evicted", "deployment.swapped")
_SERVED: Final = (ReplicaState.READY, ReplicaState.ASLEEP, ReplicaState.DRAINING)

"""What follows from events: to be carried out by the head's actor."""

from __future__ import annotations

from attrs import define, field

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.serving.messages import Order, ServedModel, WorkerAddress
from sllm_actors.serving.store.records import StoreWrite


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
        forgotten: Nodes that are gone for so long that nothing is known of them any more.
        documents: Replicas of deployments that the store does not know, each with a worker that runs it: it
            is to be asked for the document.
        journal: What was decided: subject (a deployment or node id), event, and a sentence.
    """

    orders: dict[tuple[str, ReplicaKey], Order | None] = field(factory=dict)
    routes: dict[str, ServedModel | None] = field(factory=dict)
    addresses: dict[str, WorkerAddress | None] = field(factory=dict)
    writes: list[StoreWrite] = field(factory=list)
    numbers: dict[str, int] = field(factory=dict)
    forgotten: list[str] = field(factory=list)
    documents: list[tuple[str, ReplicaKey]] = field(factory=list)
    journal: list[tuple[str, str, str]] = field(factory=list)

    def note(self, subject: str, event: str, sentence: str) -> None:
        """Add to the journal."""
        self.journal.append((subject, event, sentence))

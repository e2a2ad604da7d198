"""Asking workers: whether they could run a deployment, and from which document they run a replica."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import anyio
import structlog
from anyio import to_thread

from sllm_actors.actors import ActorRef, ActorSystem, AskError, NodeId
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import InspectSource, SourceInspected

from .deployment.document import may_name_zones, read_zones
from .deployment.spec import DeploymentSpec
from .messages import WORKER, ReadDocument, ReplicaDocument
from .picture.fleet import Fleet

log = structlog.get_logger("sllm_actors.inspection")

INSPECT_TIMEOUT = 5.0
"""Seconds that a worker may take to answer."""

DOCUMENT_TIMEOUT = 5.0
"""Seconds that a worker may take to say from which document it runs a replica."""

ASKED = 3
"""How many workers are asked at most: each refuses for itself later what it cannot run."""


def whom_to_ask(fleet: Fleet) -> tuple[dict[str, int], bool]:
    """Return at most ``ASKED`` linked workers with their numbers of GPUs, and whether there are no others."""
    linked = (node for node in fleet.workers_up.values() if node.inventory is not None)
    some = {node.id: node.gpus for node in islice(linked, ASKED + 1)}
    everybody = len(some) <= ASKED
    return dict(islice(some.items(), ASKED)), everybody


async def ask_workers(
    system: ActorSystem, workers: Mapping[str, int], spec: DeploymentSpec
) -> dict[str, SourceInspected]:
    """Ask workers whether they could run a deployment, all at once: so a mistake is told to its author.

    Args:
        system: The head's actor system.
        workers: How many GPUs each has, by node.
        spec: What they are asked about.

    Returns:
        What each worker has answered that did so in time.
    """
    said: dict[str, SourceInspected] = {}

    async def ask(node: str, gpus: int) -> None:
        question = InspectSource(
            spec.backend, spec.source_of(0), spec.settings, spec.gpus_on(gpus), spec.env, spec.secret_env
        )
        try:
            answer = await system.named(WORKER, NodeId(node)).ask(question, timeout=INSPECT_TIMEOUT)
        except AskError as error:
            log.warning("worker.not_inspected", node=node, deployment=spec.id, error=str(error))
            return
        if isinstance(answer, SourceInspected):
            said[node] = answer

    async with anyio.create_task_group() as asking:
        for node, gpus in workers.items():
            asking.start_soon(ask, node, gpus)
    return said


async def ask_document(worker: ActorRef, key: ReplicaKey) -> str:
    """Return the document that a worker runs a replica by; "" if it does not say so in time.

    Reading it reads no file.
    """
    try:
        said = await worker.ask(ReadDocument(key), timeout=DOCUMENT_TIMEOUT)
    except AskError as error:
        log.warning("worker.no_document", worker=str(worker), replica=str(key), error=str(error))
        return ""
    if not isinstance(said, ReplicaDocument):
        return ""
    if may_name_zones(said.document):
        await to_thread.run_sync(read_zones, said.document)
    return said.document

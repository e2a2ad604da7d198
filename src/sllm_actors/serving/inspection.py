"""Asking workers whether they could run a deployment.

Each answer is "" for yes, or a sentence that says why not; a worker that gives none in time is missing from
the answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import anyio
import structlog
from attrs import evolve, field, frozen

from sllm_actors.actors import ActorSystem, AskError, Incarnation, NodeId
from sllm_actors.engines.messages import InspectSource, SourceInspected
from sllm_actors.serving.decisions.reconcile import Deployment
from sllm_actors.serving.deployment.spec import DeploymentSpec

from .messages import WORKER

log = structlog.get_logger("sllm_actors.inspection")

INSPECT_TIMEOUT = 5.0
"""Seconds that a worker may take to answer."""

AGAIN_AFTER = 1.0
"""Seconds before a worker that did not answer is asked again."""


@frozen
class WorkerLife:
    """One life of a worker. Its answers hold for this life only: it may come back with other files.

    Attributes:
        node: The worker's node id.
        incarnation: Which life it is.
        gpus: How many GPUs the worker has.
    """

    node: str
    incarnation: Incarnation
    gpus: int = field(default=0, eq=False)


@frozen
class Fitness:
    """The answers of one worker on existing deployments.

    Attributes:
        life: The worker.
        answers: By deployment: the revision that was asked about, and the answer.
        complete: Whether the worker answered on all deployments that it was asked about.
    """

    life: WorkerLife
    answers: dict[str, tuple[int, str]]
    complete: bool


async def ask_about_deployments(
    system: ActorSystem, life: WorkerLife, deployments: Iterable[Deployment]
) -> Fitness:
    """Ask one worker about several deployments, one after the other."""
    answers: dict[str, tuple[int, str]] = {}
    complete = True
    for deployment in deployments:
        said = await _ask(system, life, deployment.spec)
        if said is None:
            complete = False
        else:
            answers[deployment.spec.id] = (deployment.revision, said)
    return Fitness(life, answers, complete)


async def ask_workers(
    system: ActorSystem, lives: Iterable[WorkerLife], spec: DeploymentSpec
) -> dict[WorkerLife, str]:
    """Ask several workers, all at once, about a deployment that does not exist yet; return their answers."""
    answers: dict[WorkerLife, str] = {}

    async def ask(life: WorkerLife) -> None:
        said = await _ask(system, life, spec)
        if said is not None:
            answers[life] = said

    async with anyio.create_task_group() as asking:
        for life in lives:
            asking.start_soon(ask, life)
    return answers


def with_answers(deployments: Mapping[str, Deployment], fitness: Fitness) -> dict[str, Deployment]:
    """Return the deployments that a worker answered on, with its answers in ``unfit``.

    An answer on a deployment that is gone, or has another revision by now, is dropped.
    """
    node, learned = fitness.life.node, {}
    for name, (revision, said) in fitness.answers.items():
        deployment = deployments.get(name)
        if deployment is not None and deployment.revision == revision:
            learned[name] = evolve(deployment, unfit={**deployment.unfit, node: said})
    return learned


def without_answers(deployments: Mapping[str, Deployment], node: str) -> dict[str, Deployment]:
    """Return the deployments that a worker answered on, without its answers."""
    return {
        name: evolve(each, unfit={other: said for other, said in each.unfit.items() if other != node})
        for name, each in deployments.items()
        if node in each.unfit
    }


async def _ask(system: ActorSystem, life: WorkerLife, spec: DeploymentSpec) -> str | None:
    gpus = spec.gpus_on(life.gpus)
    question = InspectSource(spec.backend, spec.source_of(0), spec.settings, gpus, spec.env, spec.secret_env)
    try:
        said = await system.named(WORKER, NodeId(life.node)).ask(question, timeout=INSPECT_TIMEOUT)
    except AskError as error:
        log.warning("worker.not_inspected", node=life.node, deployment=spec.id, error=str(error))
        return None
    return said.problem if isinstance(said, SourceInspected) else None

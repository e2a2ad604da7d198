"""Deployments of which a replica has no place: since when, what is missing, and until when that is normal."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from attrs import evolve

from .reconcile import Deployment, Placements, PlacementWait, Worker, used_gpus

SHOWN_WORKERS = 8
"""The most workers that a reason lists; there may be hundreds."""


def with_waits(
    deployments: Mapping[str, Deployment],
    unplaced: Collection[str],
    workers: Mapping[str, Worker],
    placements: Placements,
    now: float,
) -> dict[str, Deployment]:
    """Return all deployments, by id, with their ``wait`` brought up to date.

    Args:
        deployments: All deployments, by id.
        unplaced: The ids of those of which a replica has no place.
        workers: The workers that are linked, by node id.
        placements: Where replicas belong.
        now: Seconds on the clock of the head's actors.
    """
    known = {}
    for name, each in deployments.items():
        wait = None
        if name in unplaced:
            since = now if each.wait is None else each.wait.since
            missing = what_is_missing(each, deployments, workers, placements)
            wait = PlacementWait(since, missing, overdue=now >= since + each.spec.startup_timeout)
        known[name] = each if each.wait == wait else evolve(each, wait=wait)
    return known


def next_due(deployments: Mapping[str, Deployment]) -> float | None:
    """Return when the next wait becomes overdue, on the same clock, or None if none does."""
    waiting = [(each, each.wait) for each in deployments.values() if each.wait is not None]
    return min(
        (wait.since + each.spec.startup_timeout for each, wait in waiting if not wait.overdue), default=None
    )


def why_overdue(deployment: Deployment) -> str:
    """Return as a sentence why a replica was not placed in time; "" if none waits, or not for too long."""
    wait = deployment.wait
    if wait is None or not wait.overdue:
        return ""
    return f"it found no place within {deployment.spec.startup_timeout:g} s: {wait.missing}"


def what_is_missing(
    deployment: Deployment,
    deployments: Mapping[str, Deployment],
    workers: Mapping[str, Worker],
    placements: Placements,
) -> str:
    """Return as a sentence why no worker can take a replica: what each of them lacks."""
    if not workers:
        return "no worker is connected: start one with `sllm worker --head HOST:8000`"
    if any(node not in deployment.unfit for node in workers):
        return "workers are being asked whether they can run it"
    lacks = []
    for node, worker in sorted(workers.items()):
        name, total = worker.inventory.name or node, len(worker.inventory.gpus)
        needs = deployment.spec.gpus_on(total)
        if problem := deployment.unfit[node]:
            lacks.append(problem if f"worker {name}" in problem else f"{name}: {problem}")
        elif total == 0:
            lacks.append(f"{name} has no GPU")
        elif needs > total:
            lacks.append(f"{name} has only {total}")
        else:
            free = max(0, total - used_gpus(node, deployments, workers, placements))
            lacks.append(f"{name} has {free} of {total} free")
    if all(deployment.unfit[node] for node in workers):
        return _listed(lacks)
    gpus = deployment.spec.gpus
    return f"no worker has {gpus} free GPU{'s' if gpus != 1 else ''} for it ({_listed(lacks)})"


def _listed(lacks: list[str]) -> str:
    more = len(lacks) - SHOWN_WORKERS
    return "; ".join(lacks[:SHOWN_WORKERS]) + (f"; and {more} more workers" if more > 0 else "")

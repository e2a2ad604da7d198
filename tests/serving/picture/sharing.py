"""Deployments that share a worker which has no room for all of them."""

from __future__ import annotations

from typing import Any

from sllm_actors.serving.decisions.swapping import RETURN
from sllm_actors.serving.picture.deployment import Deployment

from .world import World


def scaled(least: int | None = 0, **scaling: Any) -> dict[str, Any]:
    more = {} if least is None else {"min_instances": least}
    return {"num_gpus": 1, "auto_scaling_config": {"target": 1, "max_instances": 4, **more, **scaling}}


def shared(world: World, *names: str, gpus: int = 1, **document: Any) -> list[Deployment]:
    """Return deployments of which nothing runs, on one worker."""
    world.worker("a", gpus=gpus)
    return [world.deploy(name, **{**scaled(), **document}) for name in names]


def use(world: World, deployment: Deployment, count: int = 1) -> None:
    """Let requests be answered, one by one: the deployment is loaded for them, if there is room.

    The last one has been answered for long enough then that the deployment is idle.
    """
    world.want(deployment.id, held=1)
    world.ready()
    world.want(deployment.id, in_flight=1, uses=count)
    world.want(deployment.id)
    world.wait(RETURN)


def serve(world: World, deployment: Deployment, in_flight: int = 1) -> None:
    """Let a deployment be loaded for a request, and then have so many under way."""
    world.want(deployment.id, held=1)
    world.ready()
    world.want(deployment.id, in_flight=in_flight)


def runs(world: World, worker: str = "a") -> list[str]:
    """Return which models a worker runs."""
    return sorted(key.deployment.partition(":")[0] for key in world.machines[worker].running)

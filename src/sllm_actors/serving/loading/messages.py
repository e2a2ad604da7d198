"""What people ask of the head about the replicas of a deployment, each answered with ``ControlAnswer``."""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from sllm_actors.actors import Catalog

CATALOG = Catalog()


@CATALOG.message("serving.load_deployment", senders={"gateway"})
@frozen
class LoadDeployment:
    """Have a replica of the deployment with this id ready, though no request waits for it."""

    deployment: str


@CATALOG.message("serving.unload_deployment", senders={"gateway"})
@frozen
class UnloadDeployment:
    """Stop all replicas of a deployment; the next request starts one again.

    Attributes:
        deployment: Its id.
        force: Whether replicas with requests stop, too, when these have ended, or ``drain_timeout`` is over.
    """

    deployment: str
    force: bool = False


@CATALOG.message("serving.sleep_deployment", senders={"gateway"})
@frozen
class SleepDeployment:
    """Put the replicas of a deployment to sleep at a level from 0 to 2; the next request wakes one."""

    deployment: str
    level: int = 1


@CATALOG.message("serving.wake_deployment", senders={"gateway"})
@frozen
class WakeDeployment:
    """Wake the replicas of a deployment that are asleep."""

    deployment: str


LoadingRequest: TypeAlias = LoadDeployment | UnloadDeployment | SleepDeployment | WakeDeployment

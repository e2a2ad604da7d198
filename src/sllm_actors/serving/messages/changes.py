"""From a gateway to the head: a client wants a deployment, a rollout or a node changed.

Each is answered with a ``ControlAnswer``.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from sllm_actors.actors import Catalog

CATALOG = Catalog()


@CATALOG.message("serving.deploy", senders={"gateway"})
@frozen
class Deploy:
    """Deploy a document.

    Attributes:
        document: JSON text as ``read_document`` takes it.
        update: Whether a deployment that exists with other settings is updated to these; else it is refused
            with ``CONFLICT``.
        allow_downtime: As for ``UpdateDeployment``.
    """

    document: str
    update: bool = False
    allow_downtime: bool = False


@CATALOG.message("serving.update", senders={"gateway"})
@frozen
class UpdateDeployment:
    """Change some settings of a deployment.

    Attributes:
        deployment: The deployment's id.
        patch: JSON text as ``read_patch`` takes it: a merge patch (RFC 7396) for the deployment's document.
        allow_downtime: Whether a replica of the old revision may be stopped before one of the new revision is
            ready, where there is no room for both.
    """

    deployment: str
    patch: str
    allow_downtime: bool = False


@CATALOG.message("serving.delete", senders={"gateway"})
@frozen
class DeleteDeployment:
    """Delete the deployment with this id. It is answered at once; replicas then drain and stop."""

    deployment: str


@CATALOG.message("serving.pause_rollout", senders={"gateway"})
@frozen
class PauseRollout:
    """Let a deployment's rollout start and stop no further replicas, until it is resumed."""

    deployment: str


@CATALOG.message("serving.resume_rollout", senders={"gateway"})
@frozen
class ResumeRollout:
    """Go on with a rollout that was paused; ``allow_downtime`` as for ``UpdateDeployment``."""

    deployment: str
    allow_downtime: bool = False


@CATALOG.message("serving.drain_node", senders={"gateway"})
@frozen
class DrainNode:
    """Place no further replicas on a worker, and move those that it has to other workers.

    It may be asked again and again: the answer says how many replicas are left there. See ``find_node`` for
    which node is meant.
    """

    node: str


@CATALOG.message("serving.remove_node", senders={"gateway"})
@frozen
class RemoveNode:
    """Forget a worker or gateway that will not come back, and who it was: its id and name are free again.

    A node that is linked, or was a moment ago, is refused. One that is not known has been removed already.
    """

    node: str


@CATALOG.message("serving.undrain_node", senders={"gateway"})
@frozen
class UndrainNode:
    """Let replicas be placed on a worker again. See ``find_node`` for which node is meant."""

    node: str


ControlChange: TypeAlias = (
    Deploy
    | UpdateDeployment
    | DeleteDeployment
    | PauseRollout
    | ResumeRollout
    | DrainNode
    | UndrainNode
    | RemoveNode
)
"""What somebody wants changed of deployments or nodes."""

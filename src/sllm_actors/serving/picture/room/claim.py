"""Room on a worker that is kept for a deployment while what had it is ending."""

from __future__ import annotations

from attrs import frozen

from sllm_actors.serving.picture.replica import KnownReplica


@frozen(eq=False)
class Claim:
    """Room on one worker that one deployment is to get.

    Attributes:
        uid: The deployment.
        replica: What is to have it: no worker was told of that yet, and it has no number.
        going: What has it still, or has to go for it, and was stopped.
        until: When the claim is given up if that is not gone, in seconds on the head's clock.
    """

    uid: str
    replica: KnownReplica
    going: tuple[KnownReplica, ...]
    until: float

    @property
    def node(self) -> str:
        """The worker."""
        return self.replica.node

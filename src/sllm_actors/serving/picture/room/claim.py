"""Room on a worker that is kept for a deployment while what had it makes way."""

from __future__ import annotations

from attrs import frozen

from sllm_actors.serving.picture.replica import KnownReplica, Told


@frozen(eq=False)
class Demotion:
    """What becomes of a replica that makes way.

    Attributes:
        replica: The replica.
        level: At which level it sleeps; None: it is stopped.
        kept: The bytes of each of its GPUs that it is expected to keep as it sleeps.
    """

    replica: KnownReplica
    level: int | None = None
    kept: int = 0

    @property
    def is_ordered(self) -> bool:
        """Whether the replica was told so, or to make way further."""
        sleeps = self.level is not None and self.replica.sleep is not None
        return sleeps or self.replica.ordered is Told.STOP


@frozen(eq=False)
class Claim:
    """Room on one worker that one deployment is to get.

    Attributes:
        uid: The deployment.
        replica: What is to have it: no worker was told of that yet, and it has no number.
        going: What has it still, or has to make way for it, and was ordered to.
        until: When the claim is given up if that has not made way, in seconds on the head's clock.
        wakes: The replica that is to wake in it; None: a new one starts.
    """

    uid: str
    replica: KnownReplica
    going: tuple[Demotion, ...]
    until: float
    wakes: KnownReplica | None = None

    @property
    def node(self) -> str:
        """The worker."""
        return self.replica.node

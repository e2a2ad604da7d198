"""The identity of a replica and of each of its engine lives; every message about one has it."""

from __future__ import annotations

import re

from attrs import frozen

_TEXT = re.compile(r"(?P<deployment>.+)@(?P<revision>\d+)\.(?P<number>\d+)\.(?P<attempt>\d+)")


@frozen
class ReplicaKey:
    """The identity of a replica: one copy of one revision of a deployment.

    A replica keeps its key when its engine is restarted; each of its engine lives has a ``ReplicaId``.

    Attributes:
        deployment: ``<model>:<backend>``.
        revision: The deployment's revision, from 1.
        number: Given out by the head, rising, never used twice in a deployment.
        uid: The ``uid`` of the deployment: one that is deployed again under the same name is another. It is
            not part of the text that people see.
    """

    deployment: str
    revision: int
    number: int
    uid: str = ""

    def __str__(self) -> str:
        return f"{self.deployment}@{self.revision}.{self.number}"

    def __lt__(self, other: ReplicaKey) -> bool:
        """Compare in the order of the attributes, as attrs would in twelve times the time."""
        mine = (self.deployment, self.revision, self.number, self.uid)
        return mine < (other.deployment, other.revision, other.number, other.uid)

    def attempt(self, attempt: int) -> ReplicaId:
        """Return the identity of the engine life of this replica that has this attempt number."""
        return ReplicaId(self.deployment, self.revision, self.number, attempt, self.uid)


@frozen(order=True)
class ReplicaId:
    """The identity of one engine life. Two lives never share one, so a late message reaches no wrong engine.

    Attributes:
        attempt: A number that rises with each start of any engine of the worker, also over the worker's
            restarts. People see how often the replica was started instead: ``ReplicaReport.instance``.
    """

    deployment: str
    revision: int
    number: int
    attempt: int
    uid: str = ""

    @property
    def key(self) -> ReplicaKey:
        """The replica that this engine life belongs to."""
        return ReplicaKey(self.deployment, self.revision, self.number, self.uid)

    def __str__(self) -> str:
        return f"{self.key}.{self.attempt}"

    @classmethod
    def parse(cls, text: str) -> ReplicaId:
        """Read what ``str`` wrote; the ``uid`` is not in it, and stays empty.

        Raises:
            ValueError: The text is not of the form ``<model>:<backend>@<revision>.<number>.<attempt>``.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is not an instance id (<model>:<backend>@<revision>.<number>.<attempt>)"
            )
        return cls(match["deployment"], int(match["revision"]), int(match["number"]), int(match["attempt"]))

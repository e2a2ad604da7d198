"""Which copy of which model: the whole identity that every message and socket about a replica names."""

from __future__ import annotations

import re

from attrs import frozen

_TEXT = re.compile(r"(?P<deployment>.+)@(?P<revision>\d+)\.(?P<number>\d+)\.(?P<attempt>\d+)")


@frozen(order=True)
class ReplicaKey:
    """A place that should be filled: one copy of one revision of a deployment.

    Attributes:
        deployment: ``<model>:<backend>``.
        revision: The deployment's revision, from 1.
        number: Given out by the head, rising, never used twice in a deployment.
    """

    deployment: str
    revision: int
    number: int

    def __str__(self) -> str:
        return f"{self.deployment}@{self.revision}.{self.number}"

    def attempt(self, attempt: int) -> ReplicaId:
        """Return the identity of the engine life that fills this place for the ``attempt``-th time."""
        return ReplicaId(self.deployment, self.revision, self.number, attempt)


@frozen(order=True)
class ReplicaId:
    """One life of one engine. Two lives never share an id, so a late message cannot reach the wrong one.

    Attributes:
        attempt: Rising on its worker, over all its replicas and the worker's restarts too. People are shown
            how often this replica was started instead, see ``ReplicaReport.instance``.
    """

    deployment: str
    revision: int
    number: int
    attempt: int

    @property
    def key(self) -> ReplicaKey:
        """The place that this life fills."""
        return ReplicaKey(self.deployment, self.revision, self.number)

    def __str__(self) -> str:
        return f"{self.key}.{self.attempt}"

    @classmethod
    def parse(cls, text: str) -> ReplicaId:
        """Read what ``str`` wrote.

        Raises:
            ValueError: The text is not of the form ``<model>:<backend>@<revision>.<number>.<attempt>``.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is not an instance id (<model>:<backend>@<revision>.<number>.<attempt>)"
            )
        return cls(match["deployment"], int(match["revision"]), int(match["number"]), int(match["attempt"]))

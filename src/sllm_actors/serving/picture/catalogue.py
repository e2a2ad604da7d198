"""The deployments of the cluster, found by uid and by id, and the deletions that are remembered."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from sllm_actors.serving.store.records import DeletionRecord, StoredState

from .deployment import Deployment, Revision

REMEMBERED = 90 * 86400.0
"""Seconds that a deletion is remembered at least, unless there are more than ``MAX_DELETIONS``."""

MAX_DELETIONS = 65_536
"""The most deletions that are remembered; of too many, the oldest is forgotten."""


class Catalogue:
    """All deployments. Looking one up, adding and removing one costs no walk over the others.

    Attributes:
        by_uid: Every deployment, by uid.
        by_id: The same, by id.
        ids: Their ids, sorted.
        deletions: By uid: the deletions that are remembered, the oldest first.
        last_revisions: By id: the highest number of a revision that was ever used.
        displaced: Deployments of the store whose id a later one has taken: that one is in their place.
    """

    def __init__(self, state: StoredState) -> None:
        self.by_uid: dict[str, Deployment] = {}
        self.by_id: dict[str, Deployment] = {}
        self.ids: list[str] = []
        self.deletions: dict[str, DeletionRecord] = {each.uid: each for each in state.deletions}
        self.last_revisions = dict(state.last_revisions)
        self.displaced: list[Deployment] = []
        revisions: dict[str, dict[int, Revision]] = {}
        for record in state.revisions:
            revisions.setdefault(record.uid, {})[record.revision] = Revision.of(record)
        for each in sorted(state.deployments, key=lambda each: (each.id, each.created)):
            if (earlier := self.by_id.get(each.id)) is not None:
                self.remove(earlier, each.created)
                self.displaced.append(earlier)
            self.add(Deployment.of(each, revisions.get(each.uid, {})))

    def add(self, deployment: Deployment) -> None:
        """Add a deployment whose id is free."""
        self.by_uid[deployment.uid] = deployment
        self.by_id[deployment.id] = deployment
        insort(self.ids, deployment.id)
        for number in deployment.revisions:
            self.used(deployment.id, number)

    def remove(self, deployment: Deployment, at: float) -> None:
        """Remove a deployment, and remember that it was deleted at ``at``, in seconds since the epoch."""
        del self.by_uid[deployment.uid]
        del self.by_id[deployment.id]
        del self.ids[bisect_left(self.ids, deployment.id)]
        self.deletions[deployment.uid] = DeletionRecord(deployment.uid, deployment.id, at)

    def used(self, name: str, revision: int) -> None:
        """Note that a revision number of an id is taken."""
        self.last_revisions[name] = max(revision, self.last_revisions.get(name, 0))

    def next_revision(self, name: str) -> int:
        """Return the number of the next revision of an id, which was never used by any of that id."""
        return self.last_revisions.get(name, 0) + 1

    def after(self, cursor: str) -> Iterator[Deployment]:
        """Return deployments in the order of their ids, from the first one after ``cursor``."""
        for index in range(bisect_right(self.ids, cursor), len(self.ids)):
            yield self.by_id[self.ids[index]]

    # ---- deletions

    def forget_deletions(self, at: float, reported: float) -> list[str]:
        """Forget deletions, and return their uids: those that are old enough, and those that are too many.

        Args:
            at: The time, in seconds since the epoch.
            reported: When every known worker had told all its replicas, in the same way.
        """
        forgotten = []
        while self.deletions:
            oldest = next(iter(self.deletions.values()))
            if len(self.deletions) <= MAX_DELETIONS and (
                oldest.at + REMEMBERED > at or oldest.at >= reported
            ):
                break
            del self.deletions[oldest.uid]
            forgotten.append(oldest.uid)
        return forgotten

    @property
    def forget_at(self) -> float | None:
        """When a deletion may be forgotten, in seconds since the epoch: at once, if there are too many.

        None while there is no deletion.
        """
        oldest = next(iter(self.deletions.values()), None)
        if oldest is None:
            return None
        return oldest.at if len(self.deletions) > MAX_DELETIONS else oldest.at + REMEMBERED

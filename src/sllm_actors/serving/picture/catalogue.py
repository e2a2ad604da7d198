"""The deployments of the cluster, found by uid and by id, and the deletions that are remembered."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from sllm_actors.serving.store.records import DeletionRecord, StoredState

from .deployment import Deployment, Revision

REMEMBERED = 90 * 86400.0
"""Seconds that a deletion is remembered at least."""


class Catalogue:
    """All deployments. Looking one up, adding and removing one costs no walk over the others."""

    def __init__(self, state: StoredState) -> None:
        self.by_uid: dict[str, Deployment] = {}
        self.by_id: dict[str, Deployment] = {}
        self.ids: list[str] = []
        self.deletions: dict[str, DeletionRecord] = {each.uid: each for each in state.deletions}
        self.last_revisions = dict(state.last_revisions)
        revisions: dict[str, dict[int, Revision]] = {}
        for record in state.revisions:
            revisions.setdefault(record.uid, {})[record.revision] = Revision.of(record)
        for each in sorted(state.deployments, key=lambda each: each.id):
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

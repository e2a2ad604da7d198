"""The deployments of the cluster, found by uid and by id, and the deletions that are remembered."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from sllm_actors.serving.deployment.spec import DeploymentSpec
from sllm_actors.serving.store.records import DeletionRecord, StoredState

from .deployment import Deployment, Revision
from .replica import KnownReplica
from .room.figures import KnownFigures
from .room.peaks import Peaks

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
        peaks: How much memory their engines were seen to have, and how large their files are.
        figures: What their engines take of each GPU.
        displaced: Deployments of the store whose id a later one has taken: that one is in their place.
    """

    def __init__(self, state: StoredState) -> None:
        self.by_uid: dict[str, Deployment] = {}
        self.by_id: dict[str, Deployment] = {}
        self.ids: list[str] = []
        self.deletions: dict[str, DeletionRecord] = {each.uid: each for each in state.deletions}
        self.last_revisions = dict(state.last_revisions)
        self.peaks = Peaks(state.measured)
        self.figures = KnownFigures(state.measured)
        self.displaced: list[Deployment] = []
        self._models: dict[str, set[str]] = {}
        self._aliases: dict[str, set[str]] = {}
        self._names: dict[str, tuple[str, tuple[str, ...]]] = {}
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
        deployment.peaks, deployment.figures = self.peaks, self.figures
        self.by_uid[deployment.uid] = deployment
        self.by_id[deployment.id] = deployment
        insort(self.ids, deployment.id)
        self.named(deployment)
        for number in deployment.revisions:
            self.used(deployment.id, number)

    def remove(self, deployment: Deployment, at: float) -> None:
        """Remove a deployment, and remember that it was deleted at ``at``, in seconds since the epoch."""
        del self.by_uid[deployment.uid]
        del self.by_id[deployment.id]
        del self.ids[bisect_left(self.ids, deployment.id)]
        self._unname(deployment.id)
        self.gone(deployment.uid, deployment.id, at)

    def gone(self, uid: str, name: str, at: float) -> DeletionRecord:
        """Remember that a deployment was deleted at ``at``, in seconds since the epoch; return the record."""
        record = self.deletions[uid] = DeletionRecord(uid, name, at)
        return record

    def named(self, deployment: Deployment) -> None:
        """Take note that a deployment may have other names than before."""
        spec = deployment.spec
        self._unname(deployment.id)
        self._names[deployment.id] = (spec.model, spec.aliases)
        self._models.setdefault(spec.model, set()).add(deployment.id)
        for name in spec.aliases:
            self._aliases.setdefault(name, set()).add(deployment.id)

    def name_taken(self, spec: DeploymentSpec) -> tuple[str, str] | None:
        """Return a name of a specification that another deployment has, and the id of that one; or None.

        Several deployments may have the same model, of different backends; an alias belongs to one.
        """
        for name in (spec.model, spec.id, *spec.aliases):
            others = set(self._aliases.get(name, ()))
            if name in spec.aliases:
                others |= self._models.get(name, set())
                others |= {name} & self.by_id.keys()
            others.discard(spec.id)
            if others:
                return name, min(others)
        return None

    def meant(self, name: str) -> list[str]:
        """Return the ids of the deployments that a name means: an id, or else a model or an alias; sorted."""
        if name in self.by_id:
            return [name]
        return sorted(self._models.get(name, set()) | self._aliases.get(name, set()))

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

    def owner(self, replica: KnownReplica) -> Deployment | None:
        """Return the deployment that a replica counts for, or None: of strangers, rivals and duplicates."""
        deployment = self.by_uid.get(replica.key.uid)
        if deployment is None or deployment.replicas.get(replica.key) is not replica:
            return None
        return deployment

    def _unname(self, deployment: str) -> None:
        model, aliases = self._names.pop(deployment, ("", ()))
        for table, names in ((self._models, (model,)), (self._aliases, aliases)):
            for name in names:
                ids = table.get(name, set())
                ids.discard(deployment)
                if not ids:
                    table.pop(name, None)

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

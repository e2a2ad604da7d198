"""Finding the worker for a replica: some that have room are compared, and not all that there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.decisions.placement import PossiblePlace, choose
from sllm_actors.serving.decisions.start_cost import CostKey, StartCosts, Tier
from sllm_actors.serving.picture.deployment import Deployment, Revision
from sllm_actors.serving.picture.fleet import Fleet
from sllm_actors.serving.picture.node import KnownNode
from sllm_actors.serving.picture.replica import Told

COMPARED: Final = 8
"""How many workers are compared at most of those that leave the best room to others, and how many that have
the model on their disk."""

_UNDER_WAY = (ReplicaState.PENDING, ReplicaState.STARTING)


def find_place(
    fleet: Fleet,
    costs: StartCosts,
    deployment: Deployment,
    revision: Revision,
    same: Mapping[str, int],
    passes: Callable[[str], bool],
) -> KnownNode | None:
    """Return the worker that a new replica goes to, or None if none has room for it; see ``choose``.

    Args:
        fleet: The workers.
        costs: How long starts last.
        deployment: Of which the replica is.
        revision: Its revision.
        same: How many replicas of the deployment are on each worker that has any.
        passes: Whether a worker may have the replica, if it has room.
    """
    need, need_without = deployment.need(revision, 1), deployment.need(revision, 0)
    selector = revision.spec.node_selector
    among = fleet.labels.fewest(selector) if selector else None
    found = fleet.room.candidates(need, need_without, same, passes, COMPARED, among)
    source = revision.spec.source_of(0)
    sizes = fleet.models.sizes(source) if source.startswith("hf:") else {}
    if len(found) >= COMPARED:
        known = set(found)
        have = (node for node in islice(sizes, COMPARED) if node not in known and passes(node))
        found += fleet.room.of(have, need, need_without)
    download = 0 if not source.startswith("hf:") else max(sizes.values(), default=None)
    engine = revision.fingerprint
    usual = costs.expected(CostKey(engine, "", Tier.STOPPED))
    candidates = []
    for node in found:
        here = costs.measured(CostKey(engine, node, Tier.STOPPED))
        start = usual if here is None else here
        queued = usual * _starting(fleet.nodes[node])
        fetched = 0 if node in sizes else download
        candidates.append(PossiblePlace(node, same.get(node, 0), start, fetched, queued))
    best = choose(candidates)
    return None if best is None else fleet.nodes[best]


def _starting(node: KnownNode) -> int:
    """Return how many engines are starting on a worker."""
    return sum(
        each.ordered is Told.RUN and each.need.slots > 0
        for each in node.replicas.values()
        if each.report is None or each.report.state in _UNDER_WAY
    )

"""How many there are of what in the whole cluster, beside each page of it."""

from __future__ import annotations

import json

from sllm_actors.serving.picture.node import Link
from sllm_actors.serving.picture.picture import Picture


def totals_text(picture: Picture) -> str:
    """Return the totals as the text of a JSON object; they are counted as they change."""
    tally = picture.fleet.tally
    nodes = {link.value: sum(tally.nodes[kind] for kind in tally.nodes if kind[1] == link) for link in Link}
    totals = {
        "deployments": len(picture.catalogue.ids),
        "deployment_states": picture.states.by_state(),
        "replicas": tally.replicas,
        "nodes": nodes,
        "gpus": {"total": tally.gpus, "free": tally.free_gpus},
    }
    return json.dumps(totals, separators=(",", ":"))

"""Which node a person means by a name."""

from __future__ import annotations

from collections.abc import Mapping

from .messages import Refusal, RefusalKind

SHOWN_IDS = 8
"""How many ids of nodes of one name are told."""


def find_node(nodes: Mapping[str, str], wanted: str, what: str = "workers") -> str | Refusal:
    """Return the id of the node with the id ``wanted``, or else of the only one with that name.

    Args:
        nodes: The names of the nodes that can be meant, by id.
        wanted: An id or a name.
        what: What they are, for the refusal.
    """
    if wanted in nodes:
        return wanted
    found = sorted(node for node, name in nodes.items() if name == wanted)
    if not found:
        sentence = f"there is no worker {wanted}: `sllm status --nodes` lists them"
        return Refusal(RefusalKind.UNKNOWN, "node_not_found", sentence)
    if len(found) > 1:
        more = f" and {len(found) - SHOWN_IDS} more" if len(found) > SHOWN_IDS else ""
        ids = ", ".join(found[:SHOWN_IDS]) + more
        sentence = f"{len(found)} {what} are called {wanted}: name one by its id, of {ids}"
        return Refusal(RefusalKind.CONFLICT, "node_ambiguous", sentence)
    return found[0]

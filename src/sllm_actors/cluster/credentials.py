"""Who may use which node id, as the head decides it. Pure, apart from the randomness that is handed in.

The cluster secret lets a machine in; it does not say which one it is. So the head gives each node that joins
a credential of its own. It binds from the moment on when the node has said that it is on its disk and the
head's store has its hash: before, an honest crash on either side must not lock anybody out, and the id is as
good as unknown. Once bound, nobody joins under that id without proving it.

=========================================  ==========================================================
what happened                              what follows
=========================================  ==========================================================
the node dies before it has written it     nothing is bound: it joins again and is given one
the head dies before it has stored it      the same; the node overwrites what it has
the node's answer is lost                  the same
the store says no, and has it all the same the same credential is offered again, as long as this head lives
the head's state is lost                   nobody is known: each node joins and is given a new one
the node's file is lost, or not copied     refused; it can only join under a new id
=========================================  ==========================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sllm_actors.transport import ACCEPT, NodeHello, Verdict, credential_hash

CREDENTIAL_SIZE: Final = 32
MAX_NODES: Final = 65_536
"""Ids that are bound; whoever joins beyond that is let in, and its id can be taken by another."""

REMEDY: Final = (
    'put its file "credentials.json" back beside node.json, or move node.json away to join as a new node'
)


class NodeCredentials:
    """What one life of the head knows of its nodes' credentials.

    Args:
        bound: Their hashes, by node id, as stored.
        make: Makes ``CREDENTIAL_SIZE`` random bytes.
    """

    def __init__(self, bound: Mapping[str, bytes], make: Callable[[], bytes]) -> None:
        self._bound = dict(bound)
        self._make = make
        self._offered: dict[str, bytes] = {}

    def judge(self, hello: NodeHello) -> Verdict:
        """Decide whether a peer that has proved the cluster secret is the node that it says it is."""
        kept = self._bound.get(hello.node)
        if kept is None or hello.proves(kept):
            return ACCEPT
        held = "holds another credential than" if hello.has_credential else "does not hold the credential of"
        return Verdict(f"this one {held} the {hello.role} that joined as {hello.node}: {REMEDY}")

    def offer(self, node: str) -> bytes | None:
        """Return the credential to give to a node, or None when it has one, or no more can be kept."""
        if node in self._bound:
            return None
        if node not in self._offered:
            if len(self._bound) + len(self._offered) >= MAX_NODES:
                return None
            self._offered[node] = self._make()
        return self._offered[node]

    def bind(self, node: str) -> None:
        """Let nobody join as that node any more without what it was offered: both sides have it on disk."""
        self._bound[node] = credential_hash(self._offered.pop(node))

"""Who may use which node id, as the head decides it. Pure, apart from the randomness that is handed in.

The cluster secret lets a machine in; it does not say which machine that is. So the head gives each node that
joins a credential of its own. The credential is *bound* once the node has said that it is on its disk and the
head's store has its hash. Before that, anybody may join under the node's id: a crash on either side must not
lock the node out. Once it is bound, nobody joins under that id without proving the credential.

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

CREDENTIAL_SIZE: Final = 32  # bytes
MAX_NODES: Final = 65_536
"""Node ids that get a credential. A node beyond that is let in without one, and another can take its id."""

REMEDY: Final = (
    'put its file "credentials.json" back beside node.json, or move node.json away to join as a new node'
)


class NodeCredentials:
    """The credentials of a cluster's nodes, as the head knows them.

    Args:
        bound: The hashes of the credentials that are bound, by node id, as the head's store has them.
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
        """Return the credential to give to a node; None if one is bound, or ``MAX_NODES`` are known."""
        if node in self._bound:
            return None
        if node not in self._offered:
            if len(self._bound) + len(self._offered) >= MAX_NODES:
                return None
            self._offered[node] = self._make()
        return self._offered[node]

    def bind(self, node: str) -> None:
        """Bind the credential that a node was offered: both sides have it on disk now."""
        self._bound[node] = credential_hash(self._offered.pop(node))

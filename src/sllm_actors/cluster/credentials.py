"""Who may use which node id, as the head decides it. Pure.

The cluster secret lets a machine in; it does not say which machine that is. So each node has a key pair of
its own, made before it first says a word, and the head *binds* a node id to the key and the role that joined
with it first. It then signs the node a credential, which the node shows to all others.

=========================================  ==========================================================
what happened                              what follows
=========================================  ==========================================================
the node loses its credential              it joins with its key, and is given the same one
the node dies before it has kept it        the same
the head dies between binding and giving   the same
the head's store is lost                   each node is bound again, by its credential or as it joins
the node's key is lost, or not copied      refused; it can only join under a new id, or once the old one is
                                           removed (``forget``)
two nodes join under one id                the first is bound, the other is refused
=========================================  ==========================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from sllm_actors.actors import NodeId
from sllm_actors.transport import (
    ACCEPT,
    KEY_REMEDY,
    Credential,
    KeyPair,
    NodeHello,
    Verdict,
    issue_credential,
)

MAX_NODES: Final = 65_536
"""Node ids that can be bound; further nodes are refused."""

Binding: TypeAlias = tuple[str, bytes]
"""The role and the public key that a node id is bound to."""


class NodeCredentials:
    """The nodes of a cluster, as the head knows them.

    Args:
        cluster: The cluster's id.
        head_key: The key pair that signs credentials.
        bound: The bindings by node id, as the head's store has them.
    """

    def __init__(self, cluster: str, head_key: KeyPair, bound: Mapping[str, Binding]) -> None:
        self._cluster = cluster
        self._head_key = head_key
        self._stored = dict(bound)
        # Bound from the moment when a node is let in; the store follows.
        self._bound = dict(bound)

    def judge(self, hello: NodeHello) -> Verdict:
        """Decide whether a peer that has proved its key may use its node id, and bind it if nobody has."""
        binding = (hello.role, hello.public_key)
        if hello.node not in self._bound:
            if len(self._bound) >= MAX_NODES:
                return Verdict(f"it knows {MAX_NODES} nodes already, which is all that a cluster can have")
            self._bound[hello.node] = binding
        role, key = self._bound[hello.node]
        if key != hello.public_key:
            return Verdict(
                f"this one has another key than the {role} that joined as {hello.node}: {KEY_REMEDY}; "
                f"or if the other one is gone for good, forget it with: sllm node remove {hello.node}"
            )
        if role != hello.role:
            return Verdict(f"{hello.node} joined as a {role}, and this one calls itself a {hello.role}")
        return ACCEPT

    def unstored(self, node: str) -> Binding | None:
        """Return the binding of a node that has been let in, if the head's store has not got it yet."""
        return None if node in self._stored else self._bound.get(node)

    def stored(self, node: str) -> None:
        """Take note that the head's store has the binding of a node."""
        self._stored[node] = self._bound[node]

    def __contains__(self, node: object) -> bool:
        """Return whether a node's id is bound."""
        return node in self._bound

    def forget(self, node: str, *, linked: bool) -> None:
        """Take note that a binding is not in the head's store any more: the id is free for another node.

        Args:
            node: The id.
            linked: Whether that very node is linked: then its id stays its own, and is to be stored again.
        """
        self._stored.pop(node, None)
        if not linked:
            self._bound.pop(node, None)

    def issue(self, node: NodeId) -> Credential:
        """Return the credential of a node that is bound; always the same."""
        role, key = self._bound[node]
        return issue_credential(self._head_key, cluster=self._cluster, node=node, role=role, public_key=key)

"""Keys and credentials for nodes of tests: always the same for the same names."""

from __future__ import annotations

import hashlib
from functools import cache

from sllm_actors.actors import NodeId
from sllm_actors.transport import Credential, Identification, KeyPair, issue_credential


@cache
def key_of(name: str) -> KeyPair:
    """Return the key pair of that name: of a node, or of a head."""
    return KeyPair.from_seed(hashlib.sha256(name.encode()).digest())


@cache
def credential_of(cluster: str, node: str, role: str, *, head: str = "head.key") -> Credential:
    """Return the credential of the node whose key pair is ``key_of(node)``.

    Args:
        cluster: The cluster's id.
        node: The node's id.
        role: The node's role.
        head: The name of the key pair that signs it.
    """
    return issue_credential(
        key_of(head), cluster=cluster, node=NodeId(node), role=role, public_key=key_of(node).public_key
    )


def identification_of(cluster: str, node: str, role: str) -> Identification:
    """Return how a node identifies itself that has joined; nodes of all roles may dial each other."""
    credential = credential_of(cluster, node, role)
    return Identification(key_of(node), lambda: credential)

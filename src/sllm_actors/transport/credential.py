"""A credential: the head's signed word on who a node is. Pure.

On the wire and on disk it is msgpack, ``[statement, signature]``. The statement is msgpack too, and is kept
as the bytes that were signed: ``[version, cluster, node, role, public key, head key]``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgpack
from attrs import field, frozen

from sllm_actors.actors.identity import NodeId

from .key_pair import PUBLIC_KEY_SIZE, SIGNATURE_SIZE, KeyPair, is_signed_by

CREDENTIAL_LIMIT: Final = 4096
"""Bytes of an encoded credential."""

TEXT_LIMIT: Final = 255
"""Characters of a cluster's id, a node's id or a role."""

_VERSION: Final = 1
_PURPOSE: Final = b"sllm credential\0"
"""Goes in front of what is signed: a signature made for something else is no credential."""


@frozen
class Credential:
    """Which node has which key, in one cluster.

    Attributes:
        cluster: The id of the cluster.
        node: The node's id.
        role: What the node is there: ``head``, ``worker``, ``gateway``.
        public_key: The node's own public key.
        head_key: The public key of the head of that cluster, which has signed this.
        signature: The signature by ``head_key``; see ``is_genuine``.
    """

    cluster: str
    node: NodeId
    role: str
    public_key: bytes
    head_key: bytes
    signature: bytes = field(default=b"", repr=False)

    def statement(self) -> bytes:
        """Return the bytes that are signed."""
        return bytes(
            msgpack.packb([_VERSION, self.cluster, self.node, self.role, self.public_key, self.head_key])
        )

    def encode(self) -> bytes:
        """Return its bytes, for ``decode_credential``."""
        return bytes(msgpack.packb([self.statement(), self.signature]))

    @property
    def is_genuine(self) -> bool:
        """Whether the owner of ``head_key`` has signed it."""
        return _is_genuine(self)


def issue_credential(
    head: KeyPair, *, cluster: str, node: NodeId, role: str, public_key: bytes
) -> Credential:
    """Return the credential of a node, signed by the head's key; always the same for the same arguments."""
    unsigned = Credential(cluster, node, role, public_key, head.public_key)
    signature = head.sign(_PURPOSE + unsigned.statement())
    return Credential(cluster, node, role, public_key, head.public_key, signature)


def decode_credential(data: bytes) -> Credential:
    """Read a credential; whether it is genuine is another question.

    Raises:
        ValueError: The bytes are none, or not exactly those that ``encode`` gives.
    """
    if len(data) > CREDENTIAL_LIMIT:
        raise ValueError(f"a credential has at most {CREDENTIAL_LIMIT} bytes")
    try:
        statement, signature = msgpack.unpackb(data)
        version, *texts, public_key, head_key = msgpack.unpackb(statement)
        cluster, node, role = (_text(each) for each in texts)
        credential = Credential(
            cluster,
            NodeId(node),
            role,
            _bytes(public_key, PUBLIC_KEY_SIZE),
            _bytes(head_key, PUBLIC_KEY_SIZE),
            _bytes(signature, SIGNATURE_SIZE),
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError("these bytes are no credential") from error
    if version != _VERSION or credential.encode() != data:
        raise ValueError("these bytes are no credential of this version")
    return credential


@lru_cache(maxsize=4096)
def _is_genuine(credential: Credential) -> bool:
    # Asked in each handshake of a peer, of which there are many for one credential (tunnels).
    return is_signed_by(credential.head_key, credential.signature, _PURPOSE + credential.statement())


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_LIMIT or not value.isprintable():
        raise ValueError("not a name")
    return value


def _bytes(value: object, size: int) -> bytes:
    if not isinstance(value, bytes) or len(value) != size:
        raise ValueError("not bytes of that size")
    return value

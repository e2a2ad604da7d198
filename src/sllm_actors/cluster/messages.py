"""The messages between the head and a node that has joined it, about the node's own credential."""

from __future__ import annotations

from attrs import field, frozen

from sllm_actors.actors import Catalog

CATALOG = Catalog()

CREDENTIAL_KEEPER = "credential-keeper"  # the actor's name on each worker and gateway
REGISTRAR = "registrar"  # on the head


@CATALOG.message("cluster.keep_credential", senders={"head"})
@frozen
class KeepCredential:
    """Show this credential, an encoded ``transport.Credential``, in every handshake from now on.

    Answered by ``CredentialKept``.
    """

    credential: bytes = field(repr=False)


@CATALOG.message("cluster.credential_kept", senders=())
@frozen
class CredentialKept:
    """The node has the credential on disk."""

"""The head's actor that gives each node a credential of its own, over the link that the node has made."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import structlog
from anyio import to_thread
from attrs import frozen

from sllm_actors.actors import Actor, AskError, NodeId, UnknownMessage
from sllm_actors.transport import Peer, PeerLost, PeerUp, credential_hash

from .credentials import NodeCredentials
from .home import SetupProblem
from .messages import CREDENTIAL_KEEPER, CredentialKept, KeepCredential

log = structlog.get_logger("sllm_actors.registrar")

ANSWER_TIMEOUT: Final = 10.0
"""Seconds that a node has to write its credential and answer."""

AGAIN_AFTER: Final = 30.0
"""Seconds after which a node that is still linked is offered again what it did not take."""


@frozen
class _Again:
    node: NodeId


class Registrar(Actor):
    """Gives each linked node its credential. Its state is in ``credentials``, which outlives a restart of it.

    Args:
        credentials: Changed by this actor only.
        peers: Returns the nodes that are linked now.
        keep: Stores the hash of a node's credential; blocks, and raises ``SetupProblem`` when it cannot.
        again_after: See ``AGAIN_AFTER``.
    """

    def __init__(
        self,
        credentials: NodeCredentials,
        *,
        peers: Callable[[], tuple[Peer, ...]],
        keep: Callable[[str, bytes], None],
        again_after: float = AGAIN_AFTER,
    ) -> None:
        self._credentials = credentials
        self._peers = peers
        self._keep = keep
        self._again_after = again_after
        self._offering: set[NodeId] = set()

    async def started(self) -> None:
        """Begin with the links that there are."""
        for peer in self._peers():
            self._offer(peer.node)

    async def receive(self, message: Any) -> Any:
        """Take news of links."""
        match message:
            case PeerUp(peer):
                self._offer(peer.node)
            case PeerLost():
                pass
            case _Again(node):
                self._offer(node)
            case _:
                return await super().receive(message)
        return None

    def _offer(self, node: NodeId) -> None:
        """Give a linked node its credential, one offer at a time."""
        if node in self._offering or node not in {peer.node for peer in self._peers()}:
            return
        credential = self._credentials.offer(node)
        if credential is not None:
            self._offering.add(node)
            self.context.start_soon(self._give, node, credential)

    async def _give(self, node: NodeId, credential: bytes) -> None:
        again = True
        try:
            member = self.context.system.named(CREDENTIAL_KEEPER, node)
            answer = await member.ask(KeepCredential(credential), timeout=ANSWER_TIMEOUT)
            if isinstance(answer, CredentialKept):
                await to_thread.run_sync(partial(self._keep, node, credential_hash(credential)))
                self._credentials.bind(node)
                log.info("credential.issued", peer=node)
                again = False
        except UnknownMessage:
            again = False  # an older version: its id stays as free as it was
            log.info("credential.not_issued", peer=node, reason="it does not know of credentials")
        except (AskError, SetupProblem) as error:
            log.warning("credential.not_issued", peer=node, reason=str(error))
        finally:
            self._offering.discard(node)
        if again:
            self.context.after(self._again_after, _Again(node))

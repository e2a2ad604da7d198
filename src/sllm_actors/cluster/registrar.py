"""The head's actor that gives each node its credential, over the link that the node has made."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import structlog
from anyio import to_thread
from attrs import frozen

from sllm_actors.actors import Actor, AskError, NodeId
from sllm_actors.transport import Peer, PeerLost, PeerUp

from .credentials import Binding, NodeCredentials
from .home import SetupProblem
from .messages import CREDENTIAL_KEEPER, CredentialKept, KeepCredential

log = structlog.get_logger("sllm_actors.registrar")

ANSWER_TIMEOUT: Final = 10.0
"""Seconds that a node has to write its credential and answer."""

AGAIN_AFTER: Final = 30.0
"""Seconds after which what failed (the store, the node's disk) is tried again with a node still linked."""


@frozen
class _Again:
    node: NodeId


class Registrar(Actor):
    """Stores who each linked node is, and then gives it its credential, if it came without one.

    Its state is in ``credentials``, which outlives a restart of it.

    Args:
        credentials: Changed by this actor, and by the judgement of who is let in.
        peers: Returns the nodes that are linked now.
        bind: Stores the binding of a node; blocks, and raises ``SetupProblem`` when it cannot.
        again_after: See ``AGAIN_AFTER``.
    """

    def __init__(
        self,
        credentials: NodeCredentials,
        *,
        peers: Callable[[], tuple[Peer, ...]],
        bind: Callable[[str, Binding], None],
        again_after: float = AGAIN_AFTER,
    ) -> None:
        self._credentials = credentials
        self._peers = peers
        self._bind = bind
        self._again_after = again_after
        self._busy: set[NodeId] = set()
        self._given: set[Peer] = set()

    async def started(self) -> None:
        """Begin with the links that there are."""
        for peer in self._peers():
            self._welcome(peer.node)

    async def receive(self, message: Any) -> Any:
        """Take news of links."""
        match message:
            case PeerUp(peer):
                self._welcome(peer.node)
            case PeerLost(peer):
                self._given.discard(peer)
            case _Again(node):
                self._welcome(node)
            case _:
                return await super().receive(message)
        return None

    def _welcome(self, node: NodeId) -> None:
        """Do for a linked node what is still to be done, unless that is under way."""
        peer = self._linked(node)
        if peer is None or node in self._busy:
            return
        gives = not peer.has_credential and peer not in self._given
        if gives or self._credentials.unstored(node) is not None:
            self._busy.add(node)
            self.context.start_soon(self._settle, peer, gives)

    async def _settle(self, peer: Peer, gives: bool) -> None:
        done = False
        try:
            done = await self._store(peer.node) and (not gives or await self._give(peer))
        finally:
            self._busy.discard(peer.node)
        if done or self._linked(peer.node) != peer:
            self._welcome(peer.node)  # a later life of the node may have come meanwhile
        else:
            self.context.after(self._again_after, _Again(peer.node))

    def _linked(self, node: NodeId) -> Peer | None:
        return next((peer for peer in self._peers() if peer.node == node), None)

    async def _store(self, node: NodeId) -> bool:
        binding = self._credentials.unstored(node)
        if binding is None:
            return True
        try:
            await to_thread.run_sync(partial(self._bind, node, binding))
        except SetupProblem as problem:
            log.warning("node.not_bound", peer=node, reason=str(problem))
            return False
        self._credentials.stored(node)
        return True

    async def _give(self, peer: Peer) -> bool:
        member = self.context.system.named(CREDENTIAL_KEEPER, peer.node)
        credential = self._credentials.issue(peer.node)
        try:
            answer = await member.ask(KeepCredential(credential.encode()), timeout=ANSWER_TIMEOUT)
        except AskError as error:
            log.warning("credential.not_given", peer=peer.node, reason=str(error))
            return False
        if not isinstance(answer, CredentialKept):
            return False
        self._given.add(peer)
        log.info("credential.given", peer=peer.node)
        return True

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
"""Seconds between two looks at who is linked: what failed (the store, a node's disk) is tried again, and a
node of which the news was lost in a full mailbox is noticed."""


@frozen
class _Look:
    """Look at who is linked."""


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
        self._look()

    async def receive(self, message: Any) -> Any:
        """Take news of links."""
        match message:
            case PeerUp(peer):
                self._welcome(peer)
            case PeerLost(peer):
                self._given.discard(peer)
            case _Look():
                self._look()
            case _:
                return await super().receive(message)
        return None

    def _look(self) -> None:
        self.context.after(self._again_after, _Look())
        linked = self._peers()
        self._given.intersection_update(linked)
        for peer in linked:
            self._welcome(peer)

    def _welcome(self, peer: Peer) -> None:
        """Do for a linked node what is still to be done, unless that is under way."""
        if peer.node in self._busy:
            return
        gives = not peer.has_credential and peer not in self._given
        if gives or self._credentials.unstored(peer.node) is not None:
            self._busy.add(peer.node)
            self.context.start_soon(self._settle, peer, gives)

    async def _settle(self, peer: Peer, gives: bool) -> None:
        done = False
        try:
            done = await self._store(peer.node) and (not gives or await self._give(peer))
        finally:
            self._busy.discard(peer.node)
        later = next((each for each in self._peers() if each.node == peer.node), None)
        if later is not None and (done or later != peer):
            self._welcome(later)  # a later life of the node may have come meanwhile

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

"""What every node has: an actor system, and a transport that is joined to it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

import anyio
from anyio import to_thread
from attrs import frozen

from sllm_actors import descriptors
from sllm_actors.actors import ActorRef, ActorSystem, Catalog, ChildSpec, Incarnation
from sllm_actors.cluster.credential_keeper import CredentialKeeper
from sllm_actors.cluster.home import NodeHome
from sllm_actors.cluster.messages import CATALOG as CLUSTER_MESSAGES
from sllm_actors.cluster.messages import CREDENTIAL_KEEPER
from sllm_actors.cluster.roles import may_dial
from sllm_actors.cluster.tls import make_tls_contexts, renew_forever
from sllm_actors.engines.messages import CATALOG as ENGINE_MESSAGES
from sllm_actors.serving.loading.messages import CATALOG as LOADING
from sllm_actors.serving.messages import CONTROLLER
from sllm_actors.serving.pulls.messages import CATALOG as PULLS
from sllm_actors.serving.streams import CATALOG as SERVING_MESSAGES
from sllm_actors.serving.views.messages import CATALOG as QUESTIONS
from sllm_actors.transport import (
    Credential,
    Identification,
    NodeHello,
    NodeIdentity,
    NoLink,
    Peer,
    PeerDoubted,
    PeerLost,
    PeerTrusted,
    PeerUp,
    Target,
    Transport,
    TransportSettings,
    Verdict,
)

from .refusals import REFUSALS, RefusalTeller
from .settings import NodeSettings

MESSAGES = Catalog(CLUSTER_MESSAGES, ENGINE_MESSAGES, SERVING_MESSAGES, QUESTIONS, PULLS, LOADING)
"""All messages that nodes may send each other."""


@frozen(eq=False)
class Node:
    """A running node.

    Attributes:
        system: Its actor system.
        transport: Its links to other nodes.
        incarnation: The life in which this process began; a later one may have followed in the cluster.
    """

    system: ActorSystem
    transport: Transport
    incarnation: Incarnation


@asynccontextmanager
async def open_node(
    settings: NodeSettings,
    home: NodeHome,
    *,
    role: str,
    cluster: str,
    secret: bytes,
    news: Callable[[ActorSystem, PeerUp | PeerLost], None],
    own_credential: Credential | None = None,
    accept: Callable[[NodeHello], Verdict] | None = None,
    on_tunnel: Callable[[Peer, object], Awaitable[Target]] | None = None,
    on_doubt: Callable[[ActorSystem, PeerDoubted | PeerTrusted], None] | None = None,
    on_no_link: Callable[[NoLink], None] | None = None,
) -> AsyncIterator[Node]:
    """Open a node's actor system and transport; leaving stops the actors first, then says goodbye to peers.

    Args:
        settings: The node's settings; if they name a listener for the transport, connections to it are
            served.
        home: The node's open directory.
        role: The role that peers see: ``head``, ``worker`` or ``gateway``.
        cluster: The cluster's id.
        secret: The cluster's secret.
        news: Called when a peer comes up and when it is lost, but not once the actors are stopped; see
            ``tell_news``. Must not block or raise.
        own_credential: The credential that the head has signed for itself. Without it, the node uses what
            the head gives it, and keeps that in ``home``.
        accept: See ``Transport``.
        on_tunnel: See ``Transport``.
        on_doubt: Called when a peer is doubted and when it is back, as ``news``; see ``Transport``.
        on_no_link: See ``Transport``.

    Raises:
        TlsProblem: The files for TLS cannot be used.
    """
    tls = None if settings.tls is None else await to_thread.run_sync(make_tls_contexts, settings.tls)
    incarnation = await to_thread.run_sync(home.next_incarnation)
    share = descriptors.transport_share(descriptors.limit())

    async with ActorSystem(node=home.node, incarnation=incarnation) as system:
        stopped = False

        def tell_peer(event: PeerUp | PeerLost) -> None:
            if not stopped:
                news(system, event)

        def tell_doubt(event: PeerDoubted | PeerTrusted) -> None:
            if not stopped and on_doubt is not None:
                on_doubt(system, event)

        def next_life() -> Incarnation:
            system.incarnation = home.next_incarnation()
            return system.incarnation

        transport = Transport(
            NodeIdentity(home.node, role, incarnation, cluster),
            secret=secret,
            identification=Identification(
                home.key, lambda: own_credential or home.credential(cluster), may_dial
            ),
            catalog=MESSAGES,
            inbound=system,
            on_peer=tell_peer,
            next_incarnation=next_life,
            accept=accept,
            on_tunnel=on_tunnel,
            on_doubt=tell_doubt,
            on_no_link=on_no_link,
            tls=tls,
            settings=TransportSettings(max_connections=share.connections, max_tunnels=share.tunnels),
        )
        system.attach(transport)
        if own_credential is None:
            await system.start(
                ChildSpec(
                    CREDENTIAL_KEEPER,
                    lambda: CredentialKeeper(partial(home.keep_credential, cluster)),
                    name=CREDENTIAL_KEEPER,
                )
            )
        async with transport, anyio.create_task_group() as serving:
            if "transport" in settings.listeners:
                serving.start_soon(transport.serve, [inherited(settings, "transport")])
            if tls is not None and settings.tls is not None:
                serving.start_soon(renew_forever, tls, settings.tls)
            try:
                yield Node(system, transport, incarnation)
            finally:
                # The actors stop first, while they can still tell other nodes what becomes of their replicas.
                # Each has a time limit to stop; the shield lets it use that in a cancelled node too.
                with anyio.CancelScope(shield=True):
                    await system.stop()
                stopped = True
                serving.cancel_scope.cancel()


def refusal_teller(node: Node, *counts: Callable[[], Mapping[str, int]]) -> ChildSpec:
    """Return the actor that tells each linked head what a node has refused: connections, and ``counts``."""

    def heads() -> list[ActorRef]:
        linked = [peer.node for peer in node.transport.peers() if peer.role == "head"]
        return [node.system.named(CONTROLLER, head) for head in linked]

    teller = partial(RefusalTeller, node.transport.refusals, *counts, heads=heads)
    return ChildSpec(REFUSALS, teller, name=REFUSALS)


def tell_news(*names: str) -> Callable[[ActorSystem, object], None]:
    """Return a ``news`` or ``on_doubt`` for ``open_node`` that sends each event to actors of these names."""

    def tell(system: ActorSystem, event: object) -> None:
        for name in names:
            system.named(name).tell(event)

    return tell


def inherited(settings: NodeSettings, purpose: str) -> socket.socket:
    """Return the listening socket that the launcher bound for a purpose (a key of ``settings.listeners``)."""
    listener = socket.socket(fileno=settings.listeners[purpose])
    listener.setblocking(False)
    return listener

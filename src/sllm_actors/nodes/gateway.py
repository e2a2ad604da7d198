"""The process of a gateway: an HTTP server, and links to the head and to every worker."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
from anyio import to_thread

from sllm_actors import descriptors
from sllm_actors.cluster.home import NodeHome
from sllm_actors.cluster.public_tls import PublicTls
from sllm_actors.cluster.secret import admin_key, find_secret
from sllm_actors.engines.host import machine_id
from sllm_actors.gateway import Gateway, GatewaySettings, open_gateway
from sllm_actors.gateway.cors import Cors
from sllm_actors.gateway.errors import gateway_stopping
from sllm_actors.http_server import Seats, serve_asgi
from sllm_actors.observe.terminal import announce
from sllm_actors.serving.messages import GATEWAY
from sllm_actors.transport import NoLink

from .gateway_links import GatewayLinks
from .health import answering
from .membership import Membership, find_membership, watched
from .node import inherited, open_node, refusal_teller, tell_news
from .settings import GatewayNodeSettings

GRACE = 3.0
"""Seconds that answers under way get when the gateway stops; then they end with an error."""

JOIN_FIRST = 2.0
"""Seconds that a gateway waits until the head has told it of all deployments; then it serves anyway."""


async def run_gateway(settings: GatewayNodeSettings, stopping: anyio.Event) -> None:
    """Run a gateway until ``stopping`` is set.

    Raises:
        SetupProblem: The gateway cannot run as it is set up: ``HomeProblem``, ``SecretProblem``,
            ``NotAHead``, ``TlsProblem`` or ``JoinRefused``.
        FileProblem: A damaged file can neither be used nor be renamed.
        HeadMoved: The gateway has to be started again.
    """
    with answering(settings.health):
        await _run(settings, stopping)


async def _run(settings: GatewayNodeSettings, stopping: anyio.Event) -> None:
    home = await to_thread.run_sync(NodeHome.open, settings.home, "gateway")
    try:
        secret = await to_thread.run_sync(find_secret, settings.data_dir, settings.secret_file)
        membership = await find_membership(settings, home, stopping)
        if membership is None:
            return
        files = settings.public_tls
        public_tls = None if files is None else await to_thread.run_sync(PublicTls, files)
        links = GatewayLinks(membership.on_joined, membership.head.host)
        async with (
            watched(membership),
            open_node(
                settings,
                home,
                role="gateway",
                cluster=membership.info.cluster,
                secret=secret,
                news=links.news,
                on_doubt=tell_news(GATEWAY),
                on_no_link=partial(_on_no_link, membership, links),
            ) as node,
        ):
            share = descriptors.gateway_share(descriptors.limit())
            gateway = open_gateway(
                node.system,
                settings=GatewaySettings(
                    snapshot_path=home.path / "routing.json",
                    machine=machine_id(),
                    name=f"{settings.name}@{socket.gethostname()}",
                    advertise=settings.advertise,
                    loopback=settings.loopback,
                    admin_key=None if settings.loopback else admin_key(settings.data_dir),
                    requests=share.requests,
                    cors=Cors.of(settings.cors_origins),
                ),
                open_stream=node.transport.open_stream,
                dial_workers=partial(links.dial_workers, node.transport.dial),
                head_node=lambda: links.head,
                peers=node.transport.peers,
                doubted=node.transport.doubted,
                unreached=links.unreached,
                is_stopping=stopping.is_set,
            )
            await node.system.start(gateway.child_spec)
            await node.system.start(refusal_teller(node, gateway.refusals))
            membership.dial_head(node.transport.dial)
            # Who reads that it serves may deploy at once. The head has just answered: it will be there.
            with anyio.move_on_after(JOIN_FIRST):
                await membership.wait_to_join(JOIN_FIRST)
                await gateway.complete.wait()
            announce(f"{settings.name}: serves the OpenAI API on port {settings.ports['gateway']}")
            seats = None if settings.seats is None else Seats(settings.seats, settings.seat)
            async with gateway.running(), _server(gateway, public_tls) as serve:
                await serve(
                    inherited(settings, "gateway"),
                    shutdown=stopping,
                    grace=GRACE,
                    connections=share.connections,
                    seats=seats,
                )
    finally:
        home.close()


def _on_no_link(membership: Membership, links: GatewayLinks, no_link: NoLink) -> None:
    membership.on_no_link(no_link)
    links.on_no_link(no_link)


@asynccontextmanager
async def _server(
    gateway: Gateway, public: PublicTls | None
) -> AsyncIterator[Callable[..., Awaitable[None]]]:
    """Give what serves the public port: cleartext by the hot path, TLS by hypercorn's protocols."""
    if public is None:
        yield gateway.serve
        return
    async with anyio.create_task_group() as renewing:
        renewing.start_soon(public.renew_forever)
        yield partial(
            serve_asgi,
            gateway.app,
            give_up=gateway.give_up,
            last_word=gateway_stopping(),
            tls=lambda: public.context,
        )
        renewing.cancel_scope.cancel()

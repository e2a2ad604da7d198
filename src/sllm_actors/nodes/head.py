"""The process of the head: the controller, the store, and the cluster HTTP."""

from __future__ import annotations

import secrets
import time
from functools import partial

import anyio
from anyio import to_thread
from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart

from sllm_actors.actors import ChildSpec
from sllm_actors.cluster.credentials import CREDENTIAL_SIZE, NodeCredentials
from sllm_actors.cluster.home import NodeHome
from sllm_actors.cluster.join import ClusterInfo
from sllm_actors.cluster.messages import REGISTRAR
from sllm_actors.cluster.registrar import Registrar
from sllm_actors.cluster.secret import make_credentials
from sllm_actors.observe.terminal import announce
from sllm_actors.serving.cluster_api import cluster_app
from sllm_actors.serving.controller import Controller
from sllm_actors.serving.controller_store import ControllerStore
from sllm_actors.serving.messages import CONTROLLER
from sllm_actors.serving.store.behind import write_behind
from sllm_actors.serving.store.database import sqlite_url
from sllm_actors.serving.store.store import Store

from .node import Node, open_node, tell_news
from .settings import HeadNodeSettings


async def run_head(settings: HeadNodeSettings, stopping: anyio.Event) -> None:
    """Run a head until ``stopping`` is set.

    Raises:
        SetupProblem: The head cannot run as it is set up: ``HomeProblem``, ``SecretProblem``,
            ``StoreProblem`` or ``TlsProblem``.
    """
    credentials = make_credentials(settings.data_dir, settings.secret_file)
    home = NodeHome.open(settings.home, "head")
    try:
        url = settings.database_url or sqlite_url(settings.data_dir / "state.db")
        opened = await to_thread.run_sync(partial(Store.open, url, beside=settings.data_dir))
        store = ControllerStore(opened)
        try:
            known = NodeCredentials(
                await to_thread.run_sync(store.credentials), partial(secrets.token_bytes, CREDENTIAL_SIZE)
            )
            async with open_node(
                settings,
                home,
                role="head",
                cluster=credentials.cluster,
                secret=credentials.secret,
                news=tell_news(CONTROLLER, REGISTRAR),
                accept=known.judge,
            ) as node:
                await node.system.start(_registrar(node, store, known))
                await node.system.start(_controller(node, opened))
                app = cluster_app(
                    ClusterInfo(credentials.cluster, settings.ports["transport"]),
                    node.system,
                    admin_key=None if settings.loopback else credentials.admin_key,
                )
                announce(f"head: ready; cluster HTTP on port {settings.ports['cluster']}")
                async with anyio.create_task_group() as beside:
                    beside.start_soon(write_behind, opened)
                    # In a task of its own: hypercorn cancels and uncancels the task that it runs in.
                    async with anyio.create_task_group() as serving:
                        serving.start_soon(_serve, app, settings.listeners["cluster"], stopping)
                    beside.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(opened.close)
    finally:
        home.close()


def _controller(node: Node, store: Store) -> ChildSpec:
    return ChildSpec(
        id=CONTROLLER, name=CONTROLLER, factory=partial(Controller, store, peers=node.transport.peers)
    )


def _registrar(node: Node, store: ControllerStore, known: NodeCredentials) -> ChildSpec:
    def keep(peer: str, hashed: bytes) -> None:
        store.keep_credential(peer, hashed, time.time())

    return ChildSpec(
        id=REGISTRAR, name=REGISTRAR, factory=partial(Registrar, known, peers=node.transport.peers, keep=keep)
    )


async def _serve(app: Quart, descriptor: int, stopping: anyio.Event) -> None:
    config = Config()
    config.bind = [f"fd://{descriptor}"]
    config.accesslog = None
    config.errorlog = None
    config.graceful_timeout = 1.0
    config.include_server_header = False
    await serve(app, config, shutdown_trigger=stopping.wait)

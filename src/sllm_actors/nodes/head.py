"""The process of the head: the controller, the store, and the cluster HTTP."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import cast

import anyio
from anyio import to_thread

from sllm_actors.actors import ActorRef, ChildSpec
from sllm_actors.cluster.credentials import Binding, NodeCredentials
from sllm_actors.cluster.home import NodeHome
from sllm_actors.cluster.join import ClusterInfo
from sllm_actors.cluster.messages import REGISTRAR
from sllm_actors.cluster.registrar import Registrar
from sllm_actors.cluster.secret import HEAD_KEY_FILE, head_key, make_credentials
from sllm_actors.http_server import ASGI, serve_asgi
from sllm_actors.observe.terminal import announce
from sllm_actors.serving.cluster_api import cluster_app
from sllm_actors.serving.controller import Controller
from sllm_actors.serving.keys.secret import digest_of
from sllm_actors.serving.messages import CONTROLLER
from sllm_actors.serving.store.behind import write_behind
from sllm_actors.serving.store.database import sqlite_url
from sllm_actors.serving.store.store import Store
from sllm_actors.transport import Credential, issue_credential

from .node import Node, inherited, open_node, tell_news
from .refusals import REFUSALS, RefusalTeller
from .settings import HeadNodeSettings

GRACE = 1.0
"""Seconds that questions under way get when the head stops."""

NEW_KEY_MEANS = "nodes that joined before refuse it until they are started once with --trust-new-head"


async def run_head(settings: HeadNodeSettings, stopping: anyio.Event) -> None:
    """Run a head until ``stopping`` is set.

    Raises:
        SetupProblem: The head cannot run as it is set up: ``HomeProblem``, ``SecretProblem``,
            ``StoreProblem`` or ``TlsProblem``.
    """
    credentials = await to_thread.run_sync(make_credentials, settings.data_dir, settings.secret_file)
    home = await to_thread.run_sync(NodeHome.open, settings.home, "head")
    try:
        url = settings.database_url or sqlite_url(settings.data_dir / "state.db")
        store = await to_thread.run_sync(partial(Store.open, url, beside=settings.data_dir))
        try:
            known, own = await to_thread.run_sync(
                _identities, settings.data_dir, home, credentials.cluster, store
            )
            async with open_node(
                settings,
                home,
                role="head",
                cluster=credentials.cluster,
                secret=credentials.secret,
                news=tell_news(CONTROLLER, REGISTRAR),
                on_doubt=tell_news(CONTROLLER),
                own_credential=own,
                accept=known.judge,
            ) as node:
                await node.system.start(_registrar(node, store, known))
                await node.system.start(_controller(node, store, known, credentials.admin_key))
                refused: Counter[str] = Counter()
                await node.system.start(_refusal_teller(node, refused))
                app = cluster_app(
                    ClusterInfo(credentials.cluster, settings.ports["transport"], settings.advertise),
                    node.system,
                    admin_key=None if settings.loopback else credentials.admin_key,
                    refused=refused,
                )
                announce(f"head: ready; cluster HTTP on port {settings.ports['cluster']}")
                async with anyio.create_task_group() as beside:
                    beside.start_soon(write_behind, store)
                    await serve_asgi(
                        cast("ASGI", app), inherited(settings, "cluster"), shutdown=stopping, grace=GRACE
                    )
                    beside.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(store.close)
    finally:
        home.close()


def _identities(
    data_dir: Path, home: NodeHome, cluster: str, store: Store
) -> tuple[NodeCredentials, Credential]:
    """Return whom the head knows, and its own credential. Blocks."""
    key, is_new = head_key(data_dir)
    bound = {node: (each.role, each.public_key) for node, each in store.node_keys().items()}
    if is_new and bound:
        announce(f"head: made a new {HEAD_KEY_FILE}, because there was none; {NEW_KEY_MEANS}")
    own = issue_credential(key, cluster=cluster, node=home.node, role="head", public_key=home.key.public_key)
    return NodeCredentials(cluster, key, bound), own


def _controller(node: Node, store: Store, known: NodeCredentials, admin_key: str) -> ChildSpec:
    links = node.transport
    make = partial(
        Controller,
        store,
        peers=links.peers,
        doubted=links.doubted,
        identities=known,
        admin_digest=digest_of(admin_key.encode()),
    )
    return ChildSpec(id=CONTROLLER, name=CONTROLLER, factory=make)


def _refusal_teller(node: Node, refused: Counter[str]) -> ChildSpec:
    def here() -> list[ActorRef]:
        return [node.system.named(CONTROLLER)]

    teller = partial(RefusalTeller, node.transport.refusals, lambda: refused, heads=here)
    return ChildSpec(REFUSALS, teller, name=REFUSALS)


def _registrar(node: Node, store: Store, known: NodeCredentials) -> ChildSpec:
    def bind(peer: str, binding: Binding) -> None:
        store.bind_key(peer, *binding, time.time())

    return ChildSpec(
        id=REGISTRAR, name=REGISTRAR, factory=partial(Registrar, known, peers=node.transport.peers, bind=bind)
    )

"""A head and members in this process, over real sockets, with real directories and a real store, for tests of
who may be whom."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from attrs import define, field

from sllm_actors.actors import ActorSystem, ChildSpec
from sllm_actors.cluster.credentials import Binding, NodeCredentials
from sllm_actors.cluster.home import NodeHome
from sllm_actors.cluster.messages import REGISTRAR
from sllm_actors.cluster.registrar import Registrar
from sllm_actors.cluster.secret import head_key
from sllm_actors.cluster.tls_files import TlsFiles
from sllm_actors.nodes.node import Node, open_node
from sllm_actors.nodes.settings import GatewayNodeSettings, HeadNodeSettings, WorkerNodeSettings
from sllm_actors.serving.store.database import sqlite_url
from sllm_actors.serving.store.store import Store
from sllm_actors.transport import NoLink, PeerLost, PeerUp, issue_credential

CLUSTER = "cluster-1"
SECRET = b"a secret of the test's cluster"


@define
class Opened:
    """A running node, and what its transport told it."""

    home: NodeHome
    port: int
    node: Node = field(init=False)
    ups: list[PeerUp] = field(factory=list)
    no_links: list[NoLink] = field(factory=list)

    def news(self, system: ActorSystem, event: PeerUp | PeerLost) -> None:
        if isinstance(event, PeerUp):
            self.ups.append(event)

    @property
    def sentence(self) -> str:
        """Why the address that it dialled gives no link, less the address; "" while nothing was said."""
        return self.no_links[-1].reason if self.no_links else ""


@define
class OpenedHead(Opened):
    """A running head."""

    known: NodeCredentials = field(kw_only=True)
    store: Store = field(kw_only=True)


@asynccontextmanager
async def head(
    folder: Path,
    *,
    bind: Callable[[Store, str, Binding], None] | None = None,
    again_after: float = 0.1,
    gives: bool = True,
    hears: bool = True,
    tls: TlsFiles | None = None,
    port: int = 0,
) -> AsyncIterator[OpenedHead]:
    """Run a head that has what ``run_head`` gives it for knowing who is who.

    Without ``gives`` it has no registrar; without ``hears`` that is told no news of links.
    """
    home = await to_thread.run_sync(NodeHome.open, folder / "head", "head")
    store = await to_thread.run_sync(Store.open, sqlite_url(folder / "state.db"))
    key, _ = await to_thread.run_sync(head_key, folder)
    bound = await to_thread.run_sync(store.node_keys)
    known = NodeCredentials(
        CLUSTER, key, {name: (each.role, each.public_key) for name, each in bound.items()}
    )
    raw = socket.create_server(("127.0.0.1", port))
    opened = OpenedHead(home, raw.getsockname()[1], known=known, store=store)

    def news(system: ActorSystem, event: PeerUp | PeerLost) -> None:
        opened.news(system, event)
        if gives and hears:
            system.named(REGISTRAR).tell(event)

    def keep(node: str, binding: Binding) -> None:
        store.bind_key(node, *binding, time.time()) if bind is None else bind(store, node, binding)

    try:
        settings = HeadNodeSettings(
            name="head", data_dir=folder, listeners={"transport": raw.detach()}, tls=tls
        )
        own = issue_credential(
            key, cluster=CLUSTER, node=home.node, role="head", public_key=home.key.public_key
        )
        async with open_node(
            settings,
            home,
            role="head",
            cluster=CLUSTER,
            secret=SECRET,
            news=news,
            own_credential=own,
            accept=known.judge,
        ) as node:
            opened.node = node
            if gives:
                registrar = partial(
                    Registrar, known, peers=node.transport.peers, bind=keep, again_after=again_after
                )
                await node.system.start(ChildSpec(REGISTRAR, registrar, name=REGISTRAR))
            yield opened
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(store.close)
        home.close()


@asynccontextmanager
async def member(
    folder: Path,
    role: str = "worker",
    *,
    dials: int | None = None,
    secret: bytes = SECRET,
    tls: TlsFiles | None = None,
) -> AsyncIterator[Opened]:
    """Run a worker's or gateway's transport; ``dials`` is the port of a head."""
    home = await to_thread.run_sync(NodeHome.open, folder, role)
    more: dict[str, Any] = {
        "name": role,
        "data_dir": folder,
        "head_host": "127.0.0.1",
        "head_port": 1,
        "tls": tls,
    }
    raw = socket.create_server(("127.0.0.1", 0))
    opened = Opened(home, raw.getsockname()[1])
    settings: WorkerNodeSettings | GatewayNodeSettings
    if role == "worker":
        settings = WorkerNodeSettings(listeners={"transport": raw.detach()}, **more)
    else:
        raw.close()
        settings = GatewayNodeSettings(**more)
    try:
        async with open_node(
            settings,
            home,
            role=role,
            cluster=CLUSTER,
            secret=secret,
            news=opened.news,
            on_no_link=opened.no_links.append,
        ) as node:
            opened.node = node
            if dials is not None:
                node.transport.dial("127.0.0.1", dials, "head")
            yield opened
    finally:
        home.close()


async def until(condition: Callable[[], Any], within: float = 60.0) -> None:
    """Wait until a condition holds."""
    with anyio.fail_after(within):
        while not condition():  # noqa: ASYNC110 - conditions of any kind
            await anyio.sleep(0.005)


async def joined(opened: Opened) -> None:
    """Wait until a member has the credential of the head."""
    await until(lambda: opened.home.credential(CLUSTER))

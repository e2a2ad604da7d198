"""The servers under which one application behaves the same: tests of HTTP behaviour run on all of them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import Any

import anyio
import httpx2
import trustme
from attrs import field, frozen

from sllm_actors.gateway.path.server import HttpServer
from sllm_actors.http_server import serve_asgi


@cache
def authority() -> trustme.CA:
    return trustme.CA()


@cache
def server_context(*protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("127.0.0.1", "localhost").configure_cert(context)
    context.set_alpn_protocols(list(protocols))
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


@frozen
class Shell:
    """One way to serve an application.

    Attributes:
        name: For the ids of tests.
        protocols: What ALPN offers; empty for cleartext.
        hypercorn: Whether it is ``serve_asgi``; else the server of the hot path.
    """

    name: str
    protocols: tuple[str, ...] = ()
    hypercorn: bool = True

    @property
    def version(self) -> str:
        return "HTTP/2" if "h2" in self.protocols else "HTTP/1.1"

    @property
    def serve(self) -> Callable[..., Any]:
        """A function that takes the same arguments as ``serve_asgi``."""
        if not self.hypercorn:
            return _serve_by_hot_path
        if not self.protocols:
            return serve_asgi
        context = server_context(*self.protocols)
        return partial(serve_asgi, tls=lambda: context)

    def url(self, listener: socket.socket) -> str:
        return f"http{'s' if self.protocols else ''}://127.0.0.1:{listener.getsockname()[1]}"

    def client(self, url: str = "", **more: Any) -> httpx2.AsyncClient:
        """Return a client that speaks as this server does."""
        options: dict[str, Any] = {"trust_env": False, "timeout": 60, "base_url": url} | more
        if self.protocols:
            options |= {"verify": client_context(), "http2": "h2" in self.protocols}
        return httpx2.AsyncClient(**options)


async def _serve_by_hot_path(app: Any, listener: socket.socket, **more: Any) -> None:
    bound = {"connections": more.pop("connections")} if "connections" in more else {}
    await HttpServer(app, **bound).serve(listener, **more)


CLEARTEXT = Shell("cleartext", hypercorn=False)
HYPERCORN = Shell("hypercorn")
TLS = Shell("tls", ("http/1.1",))
HTTP2 = Shell("http2", ("h2", "http/1.1"))
SHELLS = (CLEARTEXT, HYPERCORN, TLS, HTTP2)


@frozen
class Served:
    """An application that is being served.

    Attributes:
        url: Where.
        address: The same, for a socket.
        shutdown: Set to stop.
        stopped: Set when the server has ended.
    """

    url: str
    address: tuple[str, int]
    shell: Shell
    shutdown: anyio.Event = field(factory=anyio.Event)
    stopped: anyio.Event = field(factory=anyio.Event)

    def client(self, **more: Any) -> httpx2.AsyncClient:
        return self.shell.client(self.url, **more)


@asynccontextmanager
async def serving(shell: Shell, app: Any, *, grace: float = 10.0, **more: Any) -> AsyncIterator[Served]:
    """Serve an application on a free port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    served = Served(shell.url(listener), listener.getsockname(), shell)

    async def serve() -> None:
        await shell.serve(app, listener, shutdown=served.shutdown, grace=grace, **more)
        served.stopped.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        try:
            yield served
        finally:
            served.shutdown.set()

"""Connects to a replica's engine: by its socket on this machine, a tunnel to its worker, or a URL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream
from attrs import field, frozen

from sllm_actors.actors import ActorError, NodeId
from sllm_actors.descriptors import is_out_of_descriptors
from sllm_actors.engines.external import ClientContexts, KeyProblem, Keys, ServerAccess, why_unreachable
from sllm_actors.engines.messages import OpenEngine
from sllm_actors.gateway import errors
from sllm_actors.gateway.headers import Headers
from sllm_actors.gateway.routing.route import Upstream
from sllm_actors.transport import NodeFull, TransportError

from .exchange import EngineBroke, NoRoom
from .unix_stream import connect_unix

OpenTunnel = Callable[[NodeId, OpenEngine], Awaitable[ByteStream]]
"""Opens a byte stream to an engine through the worker that is named first."""


@frozen
class EngineConnection:
    """A connection to one engine.

    Attributes:
        stream: The connection; whoever has it closes it.
        host: The value of the header ``Host``.
        prefix: The path of an external server's address, which goes before the path of a request.
        headers: Sent with the request, in place of the client's of the same names; they may be secret.
    """

    stream: ByteStream
    host: str = "engine"
    prefix: str = ""
    headers: Headers = field(factory=list, repr=False)


@frozen
class Connector:
    """Opens connections to engines, one for each request.

    External servers are connected to directly: proxies of the environment are not used.

    Attributes:
        machine: This machine and boot, as workers report it.
        open_tunnel: Opens a tunnel to an engine through its worker.
        timeout: Seconds that opening a connection may take; external servers have their own
            ``connect_timeout``.
    """

    machine: str
    open_tunnel: OpenTunnel
    timeout: float
    _keys: Keys = field(factory=lambda: Keys("this gateway"), init=False)
    _contexts: ClientContexts = field(factory=ClientContexts, init=False)

    async def connect(self, upstream: Upstream) -> EngineConnection:
        """Open a connection to an engine; the caller closes it.

        Raises:
            EngineBroke: The connection could not be opened, or not in time.
            NoRoom: This node or the worker's has no room for one more connection.
            ApiError: This process has no file descriptors left (503).
        """
        if upstream.server is not None:
            return await self._reach(upstream.address, upstream.server)
        try:
            with anyio.fail_after(self.timeout):
                return await self._open(upstream)
        except TimeoutError:
            raise EngineBroke(f"no connection within {self.timeout:g} s") from None
        except NodeFull as full:
            if is_out_of_descriptors(full):
                raise errors.out_of_descriptors("this gateway has no file descriptors left") from full
            raise NoRoom(str(full)) from full
        except (OSError, TransportError, ActorError, anyio.BrokenResourceError) as error:
            if is_out_of_descriptors(error):
                raise errors.out_of_descriptors("this gateway has no file descriptors left") from error
            raise EngineBroke(f"no connection ({error})") from error
        except (anyio.EndOfStream, anyio.ClosedResourceError) as error:
            raise EngineBroke(f"no connection ({type(error).__name__})") from error

    async def _open(self, upstream: Upstream) -> EngineConnection:
        kind, _, place = upstream.address.partition(":")
        if kind not in ("unix", "loopback"):
            # An external server; a worker of an older version reports nothing but its address.
            return await self._open_address(upstream.address, ServerAccess())
        if upstream.machine and upstream.machine == self.machine:
            if kind == "loopback":
                return EngineConnection(await anyio.connect_tcp("127.0.0.1", int(place)))
            try:
                return EngineConnection(await connect_unix(place))
            except (FileNotFoundError, PermissionError):
                pass  # the worker is in another container of this machine: only a tunnel leads to the socket
        return EngineConnection(await self.open_tunnel(NodeId(upstream.node), OpenEngine(upstream.id)))

    async def _reach(self, address: str, server: ServerAccess) -> EngineConnection:
        """Connect to an external server."""
        try:
            with anyio.fail_after(server.connect_timeout):
                return await self._open_address(address, server)
        except TimeoutError:
            why = f"no connection within {server.connect_timeout:g} s"
        except KeyProblem as problem:
            why = str(problem)
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
            if is_out_of_descriptors(error):
                raise errors.out_of_descriptors("this gateway has no file descriptors left") from error
            why = why_unreachable(error)
        raise EngineBroke(f"{address} cannot be reached from this gateway: {why}", unreached=True)

    async def _open_address(self, address: str, server: ServerAccess) -> EngineConnection:
        url = urlsplit(address)
        host, secure = url.hostname or "", url.scheme == "https"
        key = await self._keys.of(server)
        headers = [(name.lower().encode(), value.encode()) for name, value in server.headers.items()]
        if key:
            headers.append((b"authorization", f"Bearer {key}".encode()))
        stream: ByteStream
        if secure:
            context = await self._contexts.of(server.ca_file)
            port = url.port or 443
            stream = await anyio.connect_tcp(host, port, ssl_context=context, tls_standard_compatible=False)
        else:
            stream = await anyio.connect_tcp(host, url.port or 80)
        return EngineConnection(stream, url.netloc, url.path.rstrip("/"), headers)

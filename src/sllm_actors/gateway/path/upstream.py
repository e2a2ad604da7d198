"""The way to a replica's engine: its own socket on this machine, a tunnel to its worker, or an address."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream
from attrs import frozen

from sllm_actors.actors import ActorError, NodeId
from sllm_actors.descriptors import is_out_of_descriptors
from sllm_actors.engines.messages import OpenEngine
from sllm_actors.gateway import errors
from sllm_actors.gateway.routing.route import Upstream
from sllm_actors.transport import NodeFull, TransportError

from .exchange import EngineBroke, NoRoom
from .unix_stream import connect_unix

OpenTunnel = Callable[[NodeId, OpenEngine], Awaitable[ByteStream]]


@frozen
class EngineConnection:
    """A connection to one engine.

    Attributes:
        host: For the Host header.
        prefix: What paths begin with there.
    """

    stream: ByteStream
    host: str = "engine"
    prefix: str = ""


@frozen
class Connector:
    """Opens connections. Each is used for one request: engines of ours are a unix socket away.

    Attributes:
        machine: This machine and boot.
        timeout: Seconds that opening may take.
    """

    machine: str
    open_tunnel: OpenTunnel
    timeout: float

    async def connect(self, upstream: Upstream) -> EngineConnection:
        """Open a connection; closing it is the caller's.

        Raises:
            EngineBroke: It could not be opened in time.
            NoRoom: This node or the worker's has no room for one more.
            ApiError: This process has no file descriptors left.
        """
        try:
            with anyio.fail_after(self.timeout):
                return await self._open(upstream)
        except TimeoutError:
            raise EngineBroke(f"no connection within {self.timeout:g} s") from None
        except NodeFull as full:
            if is_out_of_descriptors(full):
                raise errors.out_of_descriptors("this gateway has no file descriptors left") from full
            raise NoRoom(str(full)) from full
        except (OSError, ssl.SSLError, TransportError, ActorError, anyio.BrokenResourceError) as error:
            if is_out_of_descriptors(error):
                raise errors.out_of_descriptors("this gateway has no file descriptors left") from error
            raise EngineBroke(f"no connection ({error})") from error
        except (anyio.EndOfStream, anyio.ClosedResourceError) as error:
            raise EngineBroke(f"no connection ({type(error).__name__})") from error

    async def _open(self, upstream: Upstream) -> EngineConnection:
        kind, _, place = upstream.address.partition(":")
        if kind not in ("unix", "loopback"):
            return await self._open_address(upstream.address)
        if upstream.machine and upstream.machine == self.machine:
            if kind == "loopback":
                return EngineConnection(await anyio.connect_tcp("127.0.0.1", int(place)))
            try:
                return EngineConnection(await connect_unix(place))
            except (FileNotFoundError, PermissionError):
                pass  # the same machine in another container: the worker can reach it
        return EngineConnection(await self.open_tunnel(NodeId(upstream.node), OpenEngine(upstream.id)))

    async def _open_address(self, address: str) -> EngineConnection:
        url = urlsplit(address)
        secure = url.scheme == "https"
        if url.scheme not in ("http", "https") or not url.hostname:
            raise EngineBroke(f"{address!r} is not an address")
        port = url.port or (443 if secure else 80)
        stream: ByteStream
        if secure:
            stream = await anyio.connect_tcp(url.hostname, port, tls=True, tls_standard_compatible=False)
        else:
            stream = await anyio.connect_tcp(url.hostname, port)
        return EngineConnection(stream, url.netloc.rpartition("@")[2], url.path.rstrip("/"))

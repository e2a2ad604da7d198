"""How a node finds its cluster: it asks the head's cluster HTTP where the transport listens."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import h11
from anyio.abc import ByteStream
from attrs import field, frozen
from attrs.validators import and_, ge, le, matches_re
from cattrs import Converter

from sllm_actors.host_port import HostPort, parse_host
from sllm_actors.transport import connect, why_unreachable

from .home import SetupProblem
from .loopback import is_loopback

_MAX_WAIT = 1.0
_MAX_ANSWER = 64 * 1024
_ANSWER_TIMEOUT = 5.0
_HTTP = b"HTTP/1."


class NotAHead(SetupProblem):
    """Something answers at the head's address, but it is not an sllm head; one sentence says so."""


def _optional_host(_instance: object, _attribute: object, value: str) -> None:
    """Check, for attrs, that a value is a name or an address, or "".

    Raises:
        ValueError: It is neither.
    """
    if value:
        parse_host(value)


@frozen
class ClusterInfo:
    """A cluster, as its head answers ``GET /cluster``.

    Attributes:
        cluster: The cluster's id.
        transport_port: Where the head's transport listens.
        host: The address at which other machines reach the head; "" for the one that was asked.
    """

    cluster: str = field(validator=matches_re(r"[\w.-]{1,128}"))
    transport_port: int = field(validator=and_(ge(1), le(65535)))
    host: str = field(default="", validator=_optional_host)

    def host_seen_from(self, asked: str) -> str:
        """Return where the head's transport is for a node that has asked at this address.

        A node that has asked at a loopback address is on the head's machine, and stays there.
        """
        return asked if not self.host or is_loopback(asked) else self.host


_converter = Converter()


async def find_cluster(host: str, port: int, *, tell: Callable[[str], None]) -> ClusterInfo:
    """Ask until a head answers: for ever, with pauses that grow to a second.

    Args:
        host: Where the head's cluster HTTP is: a name or an address.
        port: Its port.
        tell: Takes one sentence for a person, whenever the obstacle has changed.

    Raises:
        NotAHead: What answers there is no head.
    """
    last = ""
    wait = 0.05
    while True:
        try:
            async with await _connected(host, port) as stream:
                with anyio.fail_after(_ANSWER_TIMEOUT):
                    status, body = await _get(stream, HostPort(host, port))
            if status < 500:
                return read_cluster(json.loads(body))
            obstacle = f"it answers with status {status}"
        except (_NoHttp, ValueError, RecursionError):
            raise NotAHead(
                f"{HostPort(host, port)} answers, but it is not an sllm head: "
                "--head names the head's cluster port (8000)"
            ) from None
        except anyio.EndOfStream:
            # So ends a head that is killed, and so answers a port that is not for HTTP.
            obstacle = "it closes the connection: is this the head's cluster port (8000)?"
        except TimeoutError:
            obstacle = f"it took the connection and has said nothing for {_ANSWER_TIMEOUT:g} s"
        except OSError as error:
            obstacle = why_unreachable(error)
        except anyio.BrokenResourceError:
            obstacle = "the connection broke"
        if obstacle != last:
            tell(f"waiting for the head at {HostPort(host, port)}: {obstacle}")
            last = obstacle
        await anyio.sleep(wait)
        wait = min(_MAX_WAIT, wait * 2)


def read_cluster(document: Any) -> ClusterInfo:
    """Read the JSON value that ``GET /cluster`` answers.

    Raises:
        ValueError: The value is no such document.
    """
    try:
        return _converter.structure(document, ClusterInfo)
    except Exception as error:
        raise ValueError("not a cluster document") from error


class _NoHttp(Exception):
    """What came is not an answer in HTTP, or more than a head would say."""


async def _connected(host: str, port: int) -> ByteStream:
    """Connect, in time.

    Raises:
        OSError: Nobody answers there.
    """
    try:
        with anyio.fail_after(_ANSWER_TIMEOUT):
            return await connect(host, port)
    except TimeoutError as silence:
        raise OSError("no address answered") from silence


async def _get(stream: ByteStream, head: HostPort) -> tuple[int, bytes]:
    """Return status and body of ``GET /cluster``.

    An HTTP client would wait for the end of a line that is none of HTTP; here the first bytes that cannot
    begin an answer tell a stranger from a head that is slow.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_ANSWER)
    request = h11.Request(
        method="GET",
        target="/cluster",
        headers=[("Host", head.authority), ("Connection", "close")],
    )
    status, body, begin = 0, b"", b""
    await stream.send((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
    try:
        while len(body) <= _MAX_ANSWER:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return status, body
            elif event is h11.NEED_DATA:
                data = await stream.receive()
                begin = (begin + data)[: len(_HTTP)]
                if not _HTTP.startswith(begin):
                    raise _NoHttp
                connection.receive_data(data)
    except h11.RemoteProtocolError:
        raise _NoHttp from None
    raise _NoHttp

"""How a node finds its cluster: it asks the head's cluster HTTP where the transport listens."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import httpx2
from attrs import frozen
from cattrs import Converter

from .home import SetupProblem

_MAX_WAIT = 1.0
_MAX_ANSWER = 64 * 1024
_ANSWER_TIMEOUT = 5.0


class NotAHead(SetupProblem):
    """Something answers at the head's address, but it is not an sllm head; one sentence says so."""


@frozen
class ClusterInfo:
    """What ``GET /cluster`` says.

    Attributes:
        cluster: The cluster's id.
        transport_port: Where the head's transport listens, on the host that was asked.
    """

    cluster: str
    transport_port: int


_converter = Converter()


async def find_cluster(host: str, port: int, *, tell: Callable[[str], None]) -> ClusterInfo:
    """Ask until a head answers, at most a second apart; ``tell`` gets one sentence per new obstacle.

    Raises:
        NotAHead: What answers is no head.
    """
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/cluster"
    last = ""
    wait = 0.05
    async with httpx2.AsyncClient(timeout=_ANSWER_TIMEOUT, trust_env=False, follow_redirects=False) as client:
        while True:
            try:
                with anyio.fail_after(_ANSWER_TIMEOUT):
                    status, body = await _get(client, url)
                if status < 500:
                    return _read(body, f"{host}:{port}")
                obstacle = f"it answers with status {status}"
            except httpx2.RemoteProtocolError as error:
                # A head that is killed, or a port that is not for HTTP, just closes the connection.
                if "without sending a response" not in str(error):
                    raise _not_a_head(f"{host}:{port}") from None
                obstacle = "it closes the connection: is this the head's cluster port (8000)?"
            except TimeoutError:
                obstacle = "it does not answer in time"
            except httpx2.TransportError as error:
                obstacle = str(error) or type(error).__name__
            if obstacle != last:
                tell(f"waiting for the head at {host}:{port} ({obstacle})")
                last = obstacle
            await anyio.sleep(wait)
            wait = min(_MAX_WAIT, wait * 2)


def read_cluster(document: Any) -> ClusterInfo:
    """Read the document.

    Raises:
        ValueError: It is something else.
    """
    try:
        info = _converter.structure(document, ClusterInfo)
    except Exception as error:
        raise ValueError("not a cluster document") from error
    if not (info.cluster and 0 < info.transport_port < 65536):
        raise ValueError("not a cluster document")
    return info


async def _get(client: httpx2.AsyncClient, url: str) -> tuple[int, bytes]:
    """Return status and body, of which no more is read than a head's answer can have."""
    body = b""
    async with client.stream("GET", url) as response:
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > _MAX_ANSWER:
                break
    return response.status_code, body


def _read(body: bytes, where: str) -> ClusterInfo:
    try:
        return read_cluster(json.loads(body))
    except (ValueError, RecursionError):
        raise _not_a_head(where) from None


def _not_a_head(where: str) -> NotAHead:
    return NotAHead(
        f"{where} answers, but it is not an sllm head: --head names the head's cluster port (8000)"
    )

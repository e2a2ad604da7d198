"""How a node finds its cluster: it asks the head's cluster HTTP where the transport listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import httpx2
from attrs import frozen
from cattrs import Converter

from .home import SetupProblem

_MAX_WAIT = 1.0


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
    async with httpx2.AsyncClient(timeout=5.0, trust_env=False, follow_redirects=False) as client:
        while True:
            try:
                response = await client.get(url)
                if response.status_code < 500:
                    return _read(response, f"{host}:{port}")
                obstacle = f"it answers with status {response.status_code}"
            except httpx2.RemoteProtocolError:
                raise _not_a_head(f"{host}:{port}") from None
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
        return _converter.structure(document, ClusterInfo)
    except Exception as error:
        raise ValueError("not a cluster document") from error


def _read(response: httpx2.Response, where: str) -> ClusterInfo:
    try:
        return read_cluster(response.json())
    except ValueError:
        raise _not_a_head(where) from None


def _not_a_head(where: str) -> NotAHead:
    return NotAHead(
        f"{where} answers, but it is not an sllm head: --head names the head's cluster port (8000)"
    )

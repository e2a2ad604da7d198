"""How a node finds its cluster: it asks the head's cluster HTTP where the transport listens."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import httpx2
from attrs import frozen
from cattrs import Converter

_MAX_WAIT = 1.0


@frozen
class ClusterInfo:
    """What ``GET /cluster`` says.

    Attributes:
        cluster: The cluster's id.
        transport_port: Where the head's transport listens, on the host that was asked.
        protocol: The newest version of the wire that the head speaks.
    """

    cluster: str
    transport_port: int
    protocol: int = 1


_converter = Converter()


async def find_cluster(host: str, port: int, *, tell: Callable[[str], None]) -> ClusterInfo:
    """Ask until an answer comes, at most a second apart; ``tell`` gets one sentence per new obstacle."""
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/cluster"
    last = ""
    wait = 0.05
    async with httpx2.AsyncClient(timeout=5.0, trust_env=False) as client:
        while True:
            try:
                response = await client.get(url)
                response.raise_for_status()
                return _converter.structure(response.json(), ClusterInfo)
            except httpx2.TransportError as error:
                obstacle = f"waiting for the head at {host}:{port}: {error or type(error).__name__}"
            except Exception as error:  # noqa: BLE001 - whatever answers there may say anything
                obstacle = (
                    f"{host}:{port} answered, but it is not an sllm head ({type(error).__name__}): see --head"
                )
            if obstacle != last:
                tell(obstacle)
                last = obstacle
            await anyio.sleep(wait)
            wait = min(_MAX_WAIT, wait * 2)

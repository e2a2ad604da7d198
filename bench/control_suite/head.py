"""``python -m bench.control_suite.head SOCKET FOLDER LIFE``: the head's process, joined to a fleet.

It runs the head's actor, as a head does, on the store in ``FOLDER``, until the fleet hangs up.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import anyio

from sllm_actors.actors import ActorSystem, Incarnation, NodeId
from sllm_actors.observe.logs import configure_logs
from sllm_actors.serving.messages import CONTROLLER
from sllm_actors.transport import PeerLost, PeerUp

from .adapter import MESSAGES
from .meter import Meter
from .network import FleetNetwork
from .timed_head import run_head_actor
from .wire import Kind, Lane

HEAD = NodeId("head")


async def run(path: str, folder: Path, life: int) -> None:
    """Run the head until the fleet is gone."""
    async with ActorSystem(node=HEAD, incarnation=Incarnation(life, 0)) as system:
        meter = Meter()

        def news(event: PeerUp | PeerLost) -> None:
            system.named(CONTROLLER).tell(event)

        network = FleetNetwork(system, MESSAGES, meter, news)
        loop = asyncio.get_running_loop()
        _, network.lane = await loop.create_unix_connection(
            lambda: Lane(network.take, network.closed.set), path
        )
        system.attach(network)
        async with run_head_actor(system, network.peers, folder, meter.step):
            network.lane.send(Kind.READY, HEAD)
            await network.closed.wait()
            await system.stop()


def main(path: str, folder: str, life: str) -> None:
    """Run the process; its log is beside the store, as a head's is."""
    configure_logs(Path(folder) / "head.log", node="head")
    anyio.run(run, path, Path(folder), int(life), backend="asyncio", backend_options={"use_uvloop": True})


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What goes wrong in a run. Each seed has a few kinds of faults, and of those a few, nasty ones."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import anyio
import trio
from anyio.abc import TaskGroup

from sllm_actors.actors import NodeId
from sllm_actors.testing.sim_net import DialOutcome
from sllm_actors.testing.sim_stream import SimStream

from .nodes import PORT, SimNode
from .world import World

RESET_GRACE = 1.0


class Faults:
    """Breaks things, and mends each of them after a while.

    Args:
        world: The run.
        tasks: Where the processes and the mending run.
    """

    def __init__(self, world: World, tasks: TaskGroup) -> None:
        self._world = world
        self._tasks = tasks
        self._rng = random.Random(f"{world.seed}/faults")
        self._broken: set[str] = set()
        self._processes = 0
        self.open = 0
        kinds: list[Callable[[], Awaitable[None]]] = [
            self.stall,
            self.stall_one_way,
            self.isolate,
            self.cut,
            self.cut_all,
            self.cut_one_end,
            self.cut_clogged,
            self.forget,
            self.half_close,
            self.kill,
            self.power,
            self.restart,
            self.pause,
            self.bad_port,
            self.slow,
            self.massacre,
        ]
        self._kinds = self._rng.sample(kinds, self._rng.randint(1, 4))
        if world.seed % 10 == 0:
            self._kinds = []  # a quiet run

    async def run(self, seconds: float) -> None:
        """Break things for so long."""
        until = trio.current_time() + seconds
        while True:
            pause = self._rng.expovariate(1 / 0.4)
            if not self._kinds or trio.current_time() + pause > until:
                await anyio.sleep_until(until)
                return
            await anyio.sleep(pause)
            fault = self._rng.choice(self._kinds)
            if self.open < 3:
                self._tasks.start_soon(self._one, fault)

    async def _one(self, fault: Callable[[], Awaitable[None]]) -> None:
        self.open += 1
        self._world.breaks = True
        name = getattr(fault, "__name__", "")
        self._world.ledger.counts[f"fault {name}"] += 1
        self._world.ledger.trace("fault", name)
        await fault()
        self._world.ledger.trace("mended", name)
        self.open -= 1

    async def start(self, name: str) -> None:
        """Start a process of that node."""
        self._processes += 1
        node = SimNode(self._world, name, self._processes)
        await self._tasks.start(node.live)
        self._world.nodes[name] = node

    # -- the network ---------------------------------------------------------------------------

    def _some(self) -> float:
        """Return for how long: below, around or above what a link survives."""
        budget = self._world.settings.budget
        return self._rng.choice([0.2, 0.5, 0.9, 1.1, 2.0, 3.0]) * budget * (0.8 + 0.4 * self._rng.random())

    def _pair(self) -> tuple[str, str]:
        one, other = self._rng.sample(self._world.names, 2)
        return one, other

    def _connection(self) -> SimStream | None:
        streams = list(self._world.net.streams.values())
        return self._rng.choice(streams) if streams else None

    async def stall(self) -> None:
        one, other = self._pair()
        with self._world.net.stalled((one, other), (other, one)):
            await anyio.sleep(self._some())

    async def stall_one_way(self) -> None:
        with self._world.net.stalled(self._pair()):
            await anyio.sleep(self._some())

    async def isolate(self) -> None:
        one = self._rng.choice(self._world.names)
        ways = [way for other in self._world.names if other != one for way in ((one, other), (other, one))]
        with self._world.net.stalled(*ways):
            await anyio.sleep(self._some())

    async def cut(self) -> None:
        stream = self._connection()
        if stream is not None:
            self._world.net.cut(stream)

    async def cut_all(self) -> None:
        for stream in self._world.net.between(*self._pair()):
            self._world.net.cut(stream)

    async def cut_one_end(self) -> None:
        stream = self._connection()
        if stream is not None:
            self._world.net.cut(stream, both=False)

    async def cut_clogged(self) -> None:
        """Make a way slow until a down signal waits behind messages there, and cut it."""
        one, other = self._pair()
        path = self._world.net.path(one, other)
        bandwidth, path.bandwidth = path.bandwidth, 5e3
        with anyio.move_on_after(4 * self._world.settings.budget):
            while not self._clogged(one, other):  # noqa: ASYNC110 - virtual time is free
                await anyio.sleep(0.01)
        for stream in self._world.net.between(one, other):
            self._world.net.cut(stream)
        path.bandwidth = max(bandwidth, path.bandwidth)

    def _clogged(self, one: str, other: str) -> bool:
        node = self._world.nodes.get(one)
        link = node.transport._peer_table.links.get(NodeId(other)) if node is not None else None
        return link is not None and link.open_lane is not None and bool(link.open_lane.outbox._fences)

    async def forget(self) -> None:
        stream = self._connection()
        if stream is not None:
            self._world.net.forget(stream)
            await anyio.sleep(2 * self._world.settings.budget)

    async def half_close(self) -> None:
        stream = self._connection()
        if stream is not None:
            stream.half_close()

    async def slow(self) -> None:
        path = self._world.net.path(*self._pair())
        bandwidth, path.bandwidth = path.bandwidth, self._rng.choice([2e4, 2e5])
        await anyio.sleep(self._some())
        path.bandwidth = max(bandwidth, path.bandwidth)

    async def bad_port(self) -> None:
        name = self._rng.choice(self._world.names)
        listener = self._world.net.listener(name, PORT)
        if listener is not None:
            listener.answer = self._rng.choice([DialOutcome.REFUSE, DialOutcome.HANG, DialOutcome.SILENCE])
            for other in self._world.names:
                for stream in self._world.net.between(name, other)[: self._rng.randint(0, 2)]:
                    self._world.net.cut(stream)
            await anyio.sleep(self._some())
            listener.answer = DialOutcome.ACCEPT

    # -- nodes ---------------------------------------------------------------------------------

    def _take_node(self) -> SimNode | None:
        """Choose a node that runs, and keep other faults of nodes away from it."""
        names = [name for name in self._world.nodes if name not in self._broken]
        if len(names) < 2:
            return None
        name = self._rng.choice(names)
        self._broken.add(name)
        return self._world.nodes[name]

    async def kill(self) -> None:
        """SIGKILL: the kernel closes what the process had open."""
        node = self._take_node()
        if node is not None:
            node.kill()
            self._world.net.process_died(node.name, (PORT,))
            del self._world.nodes[node.name]
            await anyio.sleep(self._rng.choice([0.0, 0.05, self._some()]))
            await self._again(node)

    async def power(self) -> None:
        """The machine is off: nobody is told."""
        node = self._take_node()
        if node is not None:
            node.kill()
            others = tuple(name for name in self._world.names if name != node.name)
            self._world.net.power_lost(node.name, (PORT,), others)
            del self._world.nodes[node.name]
            await anyio.sleep(self._rng.choice([0.1, self._some()]))
            self._world.net.power_back(node.name, others)
            await self._again(node)

    async def restart(self) -> None:
        """SIGTERM, and a new process."""
        node = self._take_node()
        if node is not None:
            del self._world.nodes[node.name]
            node.stop.set()
            await node.ended.wait()
            await anyio.sleep(self._rng.choice([0.0, self._some()]))
            await self._again(node)

    async def _again(self, node: SimNode) -> None:
        await self.start(node.name)
        self._broken.discard(node.name)

    async def pause(self) -> None:
        """SIGSTOP and SIGCONT."""
        node = self._take_node()
        if node is None:
            return
        world, name = self._world, node.name
        world.freezer.freeze(name)
        world.ledger.frozen_since[name] = began = trio.current_time()
        await anyio.sleep(self._some())
        world.freezer.thaw(name)
        del world.ledger.frozen_since[name]
        world.ledger.paused[name] += trio.current_time() - began
        self._broken.discard(name)

    async def massacre(self) -> None:
        """Many actors of one node are killed at once."""
        node = self._rng.choice(list(self._world.nodes.values()))
        cells = [cell for cell in node.system._cells.values() if cell.number > 3]
        for cell in self._rng.sample(cells, min(len(cells), self._rng.randint(1, 20))):
            cell.kill()

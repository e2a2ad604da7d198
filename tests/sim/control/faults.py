"""What goes wrong in a run. Each seed has a few kinds of faults, and of those a few, nasty ones."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import cast

import anyio
import trio
from anyio.abc import TaskGroup

from sllm_actors.actors.actor_cell import ActorCell
from sllm_actors.testing.sim_stream import SimStream
from sllm_actors.transport.byte_streams import RestStream
from sllm_actors.transport.data_lane import DataLane

from .cluster import Cluster
from .nodes import HEAD, PORT, SPARE, Gateway, Node
from .stored import MemoryStore

FULL = 10**6
"""Messages by which the room of a mailbox is made smaller: there is none then."""


class Faults:
    """Breaks things, and mends each of them after a while.

    Args:
        cluster: The run.
        tasks: Where the processes and the mending run.
    """

    def __init__(self, cluster: Cluster, tasks: TaskGroup) -> None:
        self._cluster = cluster
        self._tasks = tasks
        self._dice = random.Random(f"{cluster.seed}/faults")
        self._broken: set[str] = set()
        self.open = 0
        kinds: list[Callable[[], Awaitable[None]]] = [
            self.kill,
            self.kill_head,
            self.kill_head_that_answered,
            self.restart,
            self.pause,
            self.isolate,
            self.stall,
            self.cut,
            self.lose_lane,
            self.slow,
            self.restart_actor,
            self.fill_mailbox,
            self.lose_messages,
            self.store_away,
            self.lose_store,
            self.engines_die,
            self.refuse,
        ]
        self._kinds = self._dice.sample(kinds, self._dice.randint(2, 6))
        self._pause = self._dice.choice([1.0, 3.0, 6.0])
        if cluster.has_spare:
            self._kinds.append(self.fail_over)
        elif cluster.seed % 10 == 0:
            self._kinds = []  # a quiet run

    async def run(self, seconds: float) -> None:
        """Break things for so long."""
        until = trio.current_time() + seconds
        await anyio.sleep(self._dice.choice([1.0, 4.0, 8.0]))
        while True:
            pause = self._dice.expovariate(1 / self._pause)
            if not self._kinds or trio.current_time() + pause > until:
                await anyio.sleep_until(until)
                return
            await anyio.sleep(pause)
            fault = self._dice.choice(self._kinds)
            if self.open < 2:
                self._tasks.start_soon(self._one, fault)

    async def _one(self, fault: Callable[[], Awaitable[None]]) -> None:
        self.open += 1
        name = getattr(fault, "__name__", "")
        self._cluster.ledger.counts[f"fault {name}"] += 1
        self._cluster.ledger.trace("fault", name)
        await fault()
        self._cluster.ledger.trace("mended", name)
        self.open -= 1

    async def start(self, name: str) -> None:
        """Start a process of that node."""
        node = self._cluster.make(name)
        await self._tasks.start(node.live)
        self._cluster.nodes[name] = node

    def _some(self) -> float:
        """Return for how long: below, around or above what a link or a worker's grace survives."""
        return self._dice.choice([0.5, 2.0, 3.5, 6.0, 12.0, 20.0]) * (0.8 + 0.4 * self._dice.random())

    # -- nodes ---------------------------------------------------------------------------------

    def _take(self, names: list[str]) -> Node | None:
        """Choose a node that runs, and keep other faults of nodes away from it."""
        names = [name for name in names if name in self._cluster.nodes and name not in self._broken]
        if not names:
            return None
        name = self._dice.choice(names)
        self._broken.add(name)
        return self._cluster.nodes[name]

    async def kill(self) -> None:
        """SIGKILL."""
        await self._kill(self._take(self._cluster.names))

    async def kill_head(self) -> None:
        """SIGKILL of the head."""
        await self._kill(self._take([self._cluster.head_name]))

    async def kill_head_that_answered(self) -> None:
        """SIGKILL of the head just when somebody hears that something is done."""
        with anyio.move_on_after(5.0):
            await self._cluster.people.answered.wait()
        await self._kill(self._take([self._cluster.head_name]))

    async def lose_store(self) -> None:
        """The head's machine is replaced: an empty store."""
        head = self._take([self._cluster.head_name])
        if head is not None:
            self._cluster.people.store_lost()
            self._cluster.stores[head.name] = MemoryStore()
            await self._kill(head)

    async def _kill(self, node: Node | None) -> None:
        if node is not None:
            self._cluster.ledger.trace("kill", node.name)
            node.kill()
            self._cluster.net.process_died(node.name, (PORT,))
            del self._cluster.nodes[node.name]
            await node.ended.wait()
            await anyio.sleep(self._dice.choice([0.0, 0.05, self._some()]))
            await self._again(node)

    async def fail_over(self) -> None:
        """The head is cut off, another takes its place with its store, and the old one comes back."""
        cluster, old = self._cluster, self._take([HEAD])
        if old is None or cluster.head_name != HEAD:
            return
        others = [name for name in [*cluster.names, SPARE] if name != HEAD]
        with cluster.net.stalled(*(way for other in others for way in ((HEAD, other), (other, HEAD)))):
            await anyio.sleep(cluster.settings.budget)
            cluster.stores[SPARE] = cluster.stores[HEAD].copy()
            cluster.head_name = SPARE
            await self.start(SPARE)
            for node in cluster.nodes.values():
                if isinstance(node, Gateway):
                    node.find_head()
            await anyio.sleep(self._some())
        await anyio.sleep(self._some())
        cluster.ledger.trace("kill", HEAD)
        old.kill()
        cluster.net.process_died(HEAD, (PORT,))
        del cluster.nodes[HEAD]
        cluster.names[0] = SPARE

    async def restart(self) -> None:
        """SIGTERM, and a new process."""
        node = self._take(self._cluster.names)
        if node is not None:
            self._cluster.ledger.trace("restart", node.name)
            del self._cluster.nodes[node.name]
            node.stop.set()
            await node.ended.wait()
            await anyio.sleep(self._dice.choice([0.0, self._some()]))
            await self._again(node)

    async def _again(self, node: Node) -> None:
        await self.start(node.name)
        self._broken.discard(node.name)

    async def pause(self) -> None:
        """SIGSTOP and SIGCONT."""
        node = self._take(self._cluster.names)
        if node is not None:
            self._cluster.freezer.freeze(node.name)
            await anyio.sleep(self._some())
            self._cluster.freezer.thaw(node.name)
            self._broken.discard(node.name)

    async def restart_actor(self) -> None:
        """The actor of one node's role fails, and nothing else."""
        cell = self._cell()
        if cell is not None:
            self._cluster.ledger.trace("kill", cell)
            cell.kill()

    async def fill_mailbox(self) -> None:
        """The mailbox of one actor is full."""
        cell = self._cell()
        if cell is not None:
            self._cluster.ledger.trace("full", cell)
            cell.mailbox.room -= FULL
            await anyio.sleep(self._dice.choice([0.1, 1.0, 4.0]))
            if not cell.dead:
                cell.mailbox.room += FULL

    def _cell(self) -> ActorCell | None:
        node = self._dice.choice(list(self._cluster.nodes.values()))
        cell = node.system._names.get(node.actor)
        return cell if isinstance(cell, ActorCell) and not cell.dead else None

    # -- the network ---------------------------------------------------------------------------

    def _pair(self) -> tuple[str, str]:
        one, other = self._dice.sample(self._cluster.names, 2)
        return one, other

    async def isolate(self) -> None:
        """One node is cut off from some of the others, or from all."""
        names = self._cluster.names
        one = self._dice.choice(names)
        others = [name for name in names if name != one]
        others = others if self._dice.random() < 0.5 else self._dice.sample(others, (len(others) + 1) // 2)
        with self._cluster.net.stalled(*(way for other in others for way in ((one, other), (other, one)))):
            await anyio.sleep(self._some())

    async def stall(self) -> None:
        """Nothing gets from one node to another; perhaps the other way too."""
        one, other = self._pair()
        ways = [(one, other), (other, one)]
        with self._cluster.net.stalled(*ways[: self._dice.randint(1, 2)]):
            await anyio.sleep(self._some())

    async def cut(self) -> None:
        """The connections between two nodes break."""
        for stream in self._cluster.net.between(*self._pair()):
            self._cluster.net.cut(stream, both=self._dice.random() < 0.7)

    async def lose_lane(self) -> None:
        """A data lane breaks under a link that stands."""
        lanes = [
            link.lane
            for node in self._cluster.nodes.values()
            for link in node.transport._peer_table.links.values()
            if link.lane is not None
        ]
        if lanes:
            self._break(self._dice.choice(lanes))

    def _break(self, lane: DataLane) -> None:
        stream = cast("SimStream", cast("RestStream", lane.connection._stream)._stream)
        if id(stream) in self._cluster.net.streams:
            self._cluster.net.cut(stream)

    async def slow(self) -> None:
        """A host has a slow network."""
        name = self._dice.choice(self._cluster.names)
        more = self._dice.uniform(0.1, 0.8)
        for path in self._cluster.net.paths_of(name):
            path.latency += more
        await anyio.sleep(self._some())
        for path in self._cluster.net.paths_of(name):
            path.latency -= more

    async def lose_messages(self) -> None:
        """Single messages are lost, of links that stand."""
        self._cluster.loses = self._dice.choice([0.02, 0.2, 0.7])
        await anyio.sleep(self._some())
        self._cluster.loses = 0.0

    # -- disks and engines ---------------------------------------------------------------------

    async def store_away(self) -> None:
        """The disk of the head's store does not take anything."""
        store = self._cluster.stores[self._cluster.head_name]
        store.away = True
        await anyio.sleep(self._some())
        store.away = False

    async def engines_die(self) -> None:
        """Engines of one machine fail."""
        machine = self._cluster.machines[self._dice.choice(self._cluster.workers)]
        machine.dies = self._dice.choice([0.3, 1.0])
        await anyio.sleep(self._some())
        machine.dies = 0.0

    async def refuse(self) -> None:
        """A machine cannot run some of what is deployed."""
        machine = self._cluster.machines[self._dice.choice(self._cluster.workers)]
        versions = [wish.version for wish in self._cluster.people.wishes.values() if wish.version]
        if versions:
            version = self._dice.choice(versions)
            machine.refused[version] = f"{machine.name} has no file for {version}"
            await anyio.sleep(self._some())
            machine.refused.pop(version, None)

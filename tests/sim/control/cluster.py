"""What all nodes of one run share: the dice, the network, the disks, and what was promised to whom."""

from __future__ import annotations

import random
from collections import Counter

from tests.sim.ledger import Ledger

from sllm_actors.actors import Incarnation
from sllm_actors.gateway.routing.memory.snapshot_file import Snapshot
from sllm_actors.testing.sim_net import SimNet
from sllm_actors.testing.sim_run import Freezer
from sllm_actors.transport import TransportSettings

from .clients import Clients
from .machine import Machine
from .nodes import HEAD, SPARE, Gateway, Head, Node, Worker
from .people import People
from .promises import Promises
from .stored import MemoryStore


class Cluster:
    """The setting of one run; everything in it follows from the seed.

    Attributes:
        nodes: The present process of each node, by name; a node that is switched off is not in it.
        counters: The persisted counter of each node.
        machines: The machines of workers, by name.
        stores: What each head keeps, by name.
        snapshots: What each gateway keeps, by name.
        head_name: The node that is the head now.
        loses: How probable it is that a message between two nodes is lost.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = dice = random.Random(f"{seed}/cluster")
        self.ledger = Ledger()
        self.freezer = Freezer()
        self.nodes: dict[str, Node] = {}
        self.counters: Counter[str] = Counter()
        self.loses = 0.0
        self.workers = [f"w{number}" for number in range(dice.choice([2, 3, 3, 4, 5]))]
        self.gateways = [f"g{number}" for number in range(dice.choice([1, 1, 2]))]
        self.names = [HEAD, *self.workers, *self.gateways]
        self.head_name = HEAD
        self.has_spare = dice.random() < 0.2
        self.promises = Promises(self)
        self.machines = {name: Machine(self, name, dice.choice([1, 2, 2, 4])) for name in self.workers}
        self.stores = {HEAD: MemoryStore()}
        self.snapshots: dict[str, list[Snapshot]] = {name: [] for name in self.gateways}
        self.people = People(self)
        self.clients = Clients(self)
        self.settings = TransportSettings(goodbye_timeout=0.1)
        self.net = SimNet(random.Random(f"{seed}/net"), user_timeout=self.settings.budget)
        self.latency = dice.choice([0.0002, 0.002, 0.02])
        for one in [*self.names, SPARE]:
            for other in [*self.names, SPARE]:
                path = self.net.path(one, other)
                path.latency, path.jitter = self.latency * (0.5 + dice.random()), self.latency / 2

    @property
    def gpus(self) -> int:
        """How many GPUs there are."""
        return sum(machine.gpus for machine in self.machines.values())

    def head(self) -> Head | None:
        """Return the head, if its process runs."""
        head = self.nodes.get(self.head_name)
        return head if isinstance(head, Head) else None

    def serving_gateways(self) -> list[Gateway]:
        """Return the gateways whose processes run."""
        return [
            node
            for node in self.nodes.values()
            if isinstance(node, Gateway) and not node.dead and not node.stop.is_set()
        ]

    def make(self, name: str) -> Node:
        """Make a process of that node."""
        kind = Worker if name in self.machines else Gateway if name in self.snapshots else Head
        return kind(self, name)

    def next_incarnation(self, node: Node) -> Incarnation:
        """Take the next number of a node's counter, which outlives its processes."""
        self.counters[node.name] += 1
        return Incarnation(self.counters[node.name], node.rng.getrandbits(63))

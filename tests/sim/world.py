"""What all nodes of one run share: the dice, the network, the ledger, and who lives where."""

from __future__ import annotations

import random
from collections import Counter

from sllm_actors.actors import AT_ONCE, ActorRef, Address, Backoff, Incarnation, Restart
from sllm_actors.actors.system import ActorSystem
from sllm_actors.testing.sim_net import SimNet
from sllm_actors.testing.sim_run import Freezer
from sllm_actors.transport import TransportSettings

from .clients import Client
from .engine import Echo
from .ledger import Ledger, Uid, Watch
from .nodes import SimNode

BEAT = 0.1


class World:
    """The setting of one run; everything in it follows from the seed.

    Attributes:
        nodes: The present process of each node, by name; a node that is switched off is not in it.
        dials: Whom each node dials.
        counters: The persisted counter of each node.
        processes: Which process each life of a node belongs to.
        directory: Refs of all actors that ever started, in order.
        breaks: Something has been broken.
        watchers: Who began to watch an actor.
        engines: The far ends of tunnels, by the number of their request.
        left_engines: Those whose client has left.
        clients: Everybody who has opened a stream.
        quiet: Nobody does anything of his own any more.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.immediate = seed % 2 == 1  # whether data lanes write past their writer, as on a plain socket
        dice = random.Random(f"{seed}/world")
        self.rng = random.Random(f"{seed}/people")
        self.ledger = Ledger()
        self.freezer = Freezer()
        self.nodes: dict[str, SimNode] = {}
        self.counters: Counter[str] = Counter()
        self.processes: dict[tuple[str, Incarnation], int] = {}
        self.directory: list[ActorRef] = []
        self.watchers: dict[Uid, list[Address]] = {}
        self.engines: dict[int, Echo] = {}
        self.left_engines: set[int] = set()
        self.clients: list[Client] = []
        self.breaks = False
        self.quiet = False
        self.names = [f"n{number}" for number in range(dice.choice([3, 3, 3, 4, 4, 5]))]
        self.dials: dict[str, list[str]] = {name: [] for name in self.names}
        for place, name in enumerate(self.names):
            for other in self.names[:place]:
                match dice.randrange(4):
                    case 0:
                        self.dials[other].append(name)
                    case 1:  # both at the same time
                        self.dials[other].append(name)
                        self.dials[name].append(other)
                    case _:
                        self.dials[name].append(other)
        self.settings = TransportSettings(
            heartbeat=BEAT,
            missed=6,
            handshake_timeout=1.0,
            reconnect_first=0.02,
            reconnect_cap=0.2,
            goodbye_timeout=0.1,
            max_message=512 * 1024,
            queue_bytes=dice.choice([128, 512, 16 * 1024]) * 1024,
            queue_messages=dice.choice([50, 65_536]),
            receiver_queue_bytes=dice.choice([64, 256]) * 1024,
            control_messages=dice.choice([40, 65_536, 65_536]),
        )
        self.bulk = dice.choice([20_000, 150_000, 400_000])
        self.pace = dice.choice([0.05, 0.1, 0.2]) * len(self.names)
        self.backoff = dice.choice([AT_ONCE, Backoff(first=0.02, cap=0.3)])
        self.kinds = [Restart.PERMANENT, Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY]
        buffer = dice.choice([4, 16, 64, 256]) * 1024
        self.net = SimNet(
            random.Random(f"{seed}/net"),
            send_buffer=buffer,
            receive_buffer=dice.choice([4, 64]) * 1024,
            user_timeout=self.settings.budget,
        )
        latency = dice.choice([0.0002, 0.002, 0.015])
        for one in self.names:
            for other in self.names:
                if one != other:
                    path = self.net.path(one, other)
                    path.latency = latency * (0.5 + dice.random())
                    path.jitter = latency / 2
                    path.bandwidth = dice.choice([1e6, 1e8])
        self.dice = dice

    def somebody(self, node: SimNode) -> ActorRef | None:
        """Choose an actor to talk to, as ``node`` would address it; it may be gone already."""
        rng = self.rng
        system: ActorSystem = node.system
        if rng.random() < 0.15:
            other = rng.choice(self.names)
            return system.named(f"person-{rng.randrange(3)}-{rng.randrange(4)}", system.node.__class__(other))
        recent = self.directory[-200:] if rng.random() < 0.8 else self.directory
        if not recent:
            return None
        for _ in range(3):
            ref = rng.choice(recent)
            if ref.address.node != node.name or rng.random() < 0.1:
                break
        return system.ref(ref.address)

    def uid_of(self, address: Address) -> Uid | None:
        """Return which actor an address means, unless it is by name."""
        if isinstance(address.key, str) or address.incarnation is None:
            return None
        return Uid(address.node, self.processes[address.node, address.incarnation], address.key)

    def lives(self, watch: Watch) -> bool:
        """Tell whether the actor that is watched lives, for this watcher.

        To those who are elsewhere an actor is gone when its node begins a later life; to those beside it not
        (unless they hold an address of an earlier life).
        """
        address = watch.target
        node = self.nodes.get(address.node)
        if node is None or node.dead:
            return False
        if address.node != watch.watcher.node or address.incarnation is None:
            return node.system.find(address) is not None
        return (
            address.incarnation == watch.life
            and self.processes[address.node, address.incarnation] == node.process
            and address.key in node.system._cells
        )

"""People who deploy, change and delete, through any gateway; and what they were promised."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import anyio
import trio
from attrs import define

from sllm_actors.actors import AskError, NodeId
from sllm_actors.serving.messages import (
    CONTROLLER,
    ControlAnswer,
    DeleteDeployment,
    Deploy,
    Done,
    DrainNode,
    PauseRollout,
    ResumeRollout,
    UndrainNode,
    UpdateDeployment,
)

from .machine import BROKEN

if TYPE_CHECKING:
    from .cluster import Cluster

PATIENCE = 8.0
"""Seconds that a person waits for an answer."""

CLEAR = 15.0
"""Seconds for which a head may act by what people wanted before."""

RECOVERED = 60.0
"""Seconds after which a head that has lost its store has taken back what runs."""

PROMPT = 2.0
"""Seconds in which a head answers that does not stand still."""


@define(eq=False)
class Wish:
    """What people know of one deployment id.

    Attributes:
        exists: Whether it is deployed; None where nobody knows.
        replicas: How many replicas are wanted, while it exists.
        version: The ``VERSION`` that was asked for last.
        lowest: The fewest replicas that may be wanted now.
        counted: Whether it is known how many replicas are wanted.
        updated: Whether it is known that ``version`` was asked for last.
        doubt: When somebody gave up waiting for an answer about it: until a later answer came at once, that
            request may still take effect. None where there is no such request.
        updated_at: When an update of the engine was asked last.
    """

    exists: bool | None = False
    replicas: int = 0
    version: str = ""
    lowest: int = 0
    counted: bool = True
    updated: bool = True
    doubt: float | None = None
    updated_at: float = -1e9
    busy: bool = False


@define(eq=False)
class Drain:
    """What people know of one worker: ``None`` where nobody knows."""

    draining: bool | None = False
    since: float = -1e9
    busy: bool = False


class People:
    """See above."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._dice = random.Random(f"{cluster.seed}/people")
        self.wishes = {f"m{number}:llamacpp": Wish() for number in range(self._dice.choice([3, 6, 9]))}
        self.nodes = {name: Drain() for name in cluster.workers}
        self.deleted: set[str] = set()
        self.answered = anyio.Event()
        self._lost_at = -1e9
        self._known: dict[str, str] = {}
        self._versions = 0
        others = [self.update, self.scale, self.delete, self.pause, self.resume, self.drain, self.undrain]
        self._kinds = [self.deploy, self.undrain, *self._dice.choices(others, k=4)]
        self._pause = self._dice.choice([0.5, 1.0, 3.0])

    # ---- what others ask

    def deletes(self, uid: str) -> bool:
        """Whether anybody has asked for the deletion of a deployment."""
        return uid in self.deleted

    def drains(self, node: str) -> bool:
        """Whether a worker may be draining, or has just been."""
        drain = self.nodes[node]
        return drain.draining is not False or drain.since > trio.current_time() - CLEAR

    def rolls(self, uid: str) -> bool:
        """Whether an update of the engine may be under way."""
        wish = self._wish_of(uid)
        return wish is not None and wish.updated_at > trio.current_time() - CLEAR

    def fewest(self, uid: str, wanted: int) -> int:
        """Return how many replicas are wanted at least; ``wanted`` is what the head says."""
        wish = self._wish_of(uid)
        return wanted if wish is None or wish.exists is not True else min(wish.lowest, wish.replicas)

    def store_lost(self) -> None:
        """What was acknowledged may be gone, but for what runs."""
        self._lost_at = trio.current_time()
        self._ids()
        for wish in self.wishes.values():
            wish.exists = None
        for drain in self.nodes.values():
            drain.draining = False

    def _wish_of(self, uid: str) -> Wish | None:
        name = self._ids().get(uid)
        return None if name is None else self.wishes[name]

    def _ids(self) -> dict[str, str]:
        """Return the id of each deployment that there ever was, by uid."""
        for store in self._cluster.stores.values():
            self._known.update(store.ids)
        return self._known

    # ---- living

    async def live(self, seconds: float) -> None:
        """Ask for this and that for so long."""
        until = trio.current_time() + seconds
        await anyio.sleep(1.5)  # links are up
        async with anyio.create_task_group() as tasks:
            for name in self.wishes:
                if self._dice.random() < 0.9:
                    tasks.start_soon(self.deploy, name)
            while trio.current_time() < until:
                await anyio.sleep(self._dice.expovariate(1 / self._pause))
                tasks.start_soon(self._dice.choice(self._kinds), self._dice.choice(list(self.wishes)))

    def _document(self, name: str, wish: Wish) -> dict[str, Any]:
        return {
            "model": name.partition(":")[0],
            "backend": "llamacpp",
            "source": "/m.gguf",
            "num_gpus": self._dice.choice([0, 1, 1, 2]),
            "env": {"VERSION": wish.version},
            "auto_scaling_config": {
                "min_instances": wish.replicas,
                "max_instances": 4,
                "scale_down_delay": 5,
                "keep_alive": 2,
            },
            "drain_timeout": 2,
            "startup_timeout": 20,
        }

    def _version(self) -> str:
        self._versions += 1
        return f"{BROKEN if self._dice.random() < 0.2 else ''}{self._versions}"

    # ---- asking

    async def deploy(self, name: str) -> None:
        wish = self.wishes[name]
        if wish.busy or wish.exists:
            return
        known = wish.exists
        wish.version, replicas = self._version(), self._dice.choice([0, 1, 1, 2, 3])
        wish.replicas = wish.lowest = replicas
        answer = await self._ask(wish, Deploy(json.dumps(self._document(name, wish))))
        if isinstance(answer, Done):
            wish.exists, wish.lowest, wish.counted, wish.updated = True, replicas, True, True
            self._promised("deployed", name)
        elif answer is None:
            wish.exists = None
        elif answer.code == "deployment_exists" and known is False and wish.doubt is None:
            self._broken(name, f"is deployed, and was deleted: {answer.message}")

    async def update(self, name: str) -> None:
        wish = self.wishes[name]
        if wish.busy or not wish.exists:
            return
        version = self._version()
        wish.updated_at = trio.current_time()
        more = self._dice.random() < 0.3
        patch = json.dumps({"env": {"VERSION": version}})
        answer = await self._ask(wish, UpdateDeployment(name, patch, allow_downtime=more))
        wish.updated_at = trio.current_time()
        if isinstance(answer, Done):
            wish.version, wish.updated = version, True
            self._promised("updated", name)
        elif answer is None:
            wish.updated = False
        self._judge(name, wish, answer)

    async def scale(self, name: str) -> None:
        wish = self.wishes[name]
        if wish.busy or not wish.exists:
            return
        replicas = self._dice.choice([0, 1, 2, 3])
        wish.lowest = min(wish.lowest, replicas)
        patch = json.dumps({"auto_scaling_config": {"min_instances": replicas}})
        answer = await self._ask(wish, UpdateDeployment(name, patch))
        if isinstance(answer, Done):
            wish.replicas = wish.lowest = replicas
            wish.counted = True
            self._promised("scaled", name)
        elif answer is None:
            wish.counted = False
        self._judge(name, wish, answer)

    async def delete(self, name: str) -> None:
        wish = self.wishes[name]
        if wish.busy or wish.exists is False:
            return
        uids = {uid for uid, each in self._ids().items() if each == name} - self.deleted
        self.deleted |= uids
        answer = await self._ask(wish, DeleteDeployment(name))
        self._judge(name, wish, answer)
        if answer is None:
            wish.exists = None
        elif isinstance(answer, Done):
            wish.exists = False
        elif answer.code == "deployment_not_found":  # after a loss, it may be taken back yet
            wish.exists = False if trio.current_time() > self._lost_at + RECOVERED else None
            self._promised("deleted", name)
        elif wish.exists and wish.doubt is None:
            self.deleted.difference_update(uids)  # it was not written

    async def pause(self, name: str) -> None:
        wish = self.wishes[name]
        if not wish.busy and wish.exists:
            self._judge(name, wish, await self._ask(wish, PauseRollout(name)), may=("no_rollout",))

    async def resume(self, name: str) -> None:
        wish = self.wishes[name]
        if not wish.busy and wish.exists:
            self._judge(name, wish, await self._ask(wish, ResumeRollout(name)), may=("no_rollout",))

    async def drain(self, _: str) -> None:
        await self._drain(self._dice.choice(self._cluster.workers), draining=True)

    async def undrain(self, _: str) -> None:
        await self._drain(self._dice.choice(self._cluster.workers), draining=False)

    async def _drain(self, node: str, *, draining: bool) -> None:
        drain = self.nodes[node]
        if drain.busy:
            return
        drain.draining, drain.since = None, trio.current_time()
        answer = await self._ask(drain, DrainNode(node) if draining else UndrainNode(node))
        drain.since = trio.current_time()
        if isinstance(answer, Done):
            drain.draining = draining
            self._promised("drained" if draining else "undrained", node)

    async def _ask(self, about: Wish | Drain, request: Any) -> ControlAnswer | None:
        """Return the answer; None where none came, or the head has lost its store since it was asked."""
        gateways = [
            node
            for name, node in self._cluster.nodes.items()
            if name in self._cluster.snapshots and not node.dead
        ]
        about.busy = True
        answer: ControlAnswer | None = None
        began = trio.current_time()
        ledger = self._cluster.ledger
        if gateways:
            ledger.trace("asks", request)
            ref = self._dice.choice(gateways).system.named(CONTROLLER, NodeId(self._cluster.head_name))
            try:
                with anyio.move_on_after(PATIENCE + 1):
                    answer = await ref.ask(request, timeout=PATIENCE)
            except AskError as error:
                ledger.trace("gets nothing", error)
        if began <= self._lost_at:
            answer = None
        if isinstance(about, Wish):
            now = trio.current_time()
            if answer is None:
                about.doubt = now
            elif about.doubt is not None and about.doubt + PROMPT < began and now < began + PROMPT:
                about.doubt = None
        ledger.counts["answered" if answer is not None else "not answered"] += 1
        ledger.trace("gets", answer)
        about.busy = False
        return answer

    # ---- P4

    def _judge(self, name: str, wish: Wish, answer: ControlAnswer | None, may: tuple[str, ...] = ()) -> None:
        """Look at the answer about a deployment that exists as far as people know."""
        if answer is None or isinstance(answer, Done):
            return
        if answer.code == "deployment_not_found" and wish.exists:
            self._broken(name, f"was deployed, and is not known any more: {answer.message}")

    def _promised(self, what: str, name: str) -> None:
        self._cluster.ledger.counts[what] += 1
        self.answered.set()
        self.answered = anyio.Event()

    def _broken(self, name: str, text: str) -> None:
        self._cluster.promises.violated("P4", f"{name} {text}")

"""What the machine has, and what has changed there: the head is told of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import structlog
from anyio import to_thread
from attrs import frozen

from sllm_actors.actors import Context
from sllm_actors.engines.messages import InspectSource
from sllm_actors.serving.messages import Inventory, WorkerInventory

from .declined import LOOK_INTERVAL, Declined, pause_after
from .heads import Heads
from .replicas import Replicas
from .runtime import WorkerRuntime
from .stock import Engines, has_more_engines, is_news

log = structlog.get_logger("sllm_actors.worker")

INVENTORY_INTERVAL: Final = 5.0
"""Seconds between two looks at what the machine has."""

REPEAT: Final = 30.0
"""Seconds after which an inventory is told again that has not changed: it may have been lost."""


@frozen
class LookAtMachine:
    """Time to read the inventory."""


@frozen
class LookAtDeclined:
    """Time to see whether something can run now that could not."""


class MachineWatch:
    """Reads the inventory, asks again what was refused, and tells the heads. For the worker's actor.

    Args:
        context: The actor's; it gets ``LookAtMachine`` and ``LookAtDeclined``, and calls ``look`` for them.
        runtime: The worker's.
        replicas: Numbers the inventories.
        heads: Whom to tell.
        lifted: Called with a question that was refused, and no longer would be.
    """

    def __init__(
        self,
        context: Context,
        runtime: WorkerRuntime,
        replicas: Replicas,
        heads: Heads,
        lifted: Callable[[InspectSource], None],
    ) -> None:
        self._context = context
        self._runtime = runtime
        self._replicas = replicas
        self._heads = heads
        self._lifted = lifted
        self._declined = Declined()
        self._inventory = self._told = Inventory()
        self._engines: Engines = {}
        self._changes = 0
        self._told_at = context.now()

    async def start(self, life: int) -> None:
        """Read the inventory, and begin to watch.

        Args:
            life: That of the actor: a worker that was restarted may accept what it refused before.
        """
        self._changes = life
        self._inventory = self._told = await to_thread.run_sync(self._runtime.inventory)
        self._engines = await to_thread.run_sync(self._runtime.engines)
        self._context.after(INVENTORY_INTERVAL, LookAtMachine())
        self._context.after(LOOK_INTERVAL, LookAtDeclined())

    def tell(self, nodes: Iterable[str] | None = None) -> None:
        """Tell all heads, or the named ones, what this worker has."""
        if nodes is None:
            self._told_at = self._context.now()
        said = WorkerInventory(
            self._context.system.node,
            self._replicas.next_sequence(),
            self._inventory,
            self._changes,
            self._runtime.epoch.value,
        )
        self._heads.tell(said, nodes)

    def refused(self, question: InspectSource) -> None:
        """Remember what could not run, to ask it again."""
        self._declined.add(question, self._context.now())

    def welcome(self) -> None:
        """Say that the worker may accept now what it refused before."""
        self._changes += 1
        log.info("worker.changed", changes=self._changes)
        self.tell()

    def look(self, at: LookAtMachine | LookAtDeclined) -> None:
        """Look, beside the actor's turns, and again after a while."""
        look = self._look_at_machine if isinstance(at, LookAtMachine) else self._look_at_declined
        self._context.start_soon(look)

    async def _look_at_machine(self) -> None:
        try:
            self._inventory = await to_thread.run_sync(self._runtime.inventory, abandon_on_cancel=True)
        except OSError as error:
            log.warning("worker.no_inventory", error=str(error))
        late = self._context.now() >= self._told_at + REPEAT
        if late or is_news(self._told, self._inventory):
            self._told = self._inventory
            self.tell()
        await self._runtime.epoch.keep()
        self._context.after(INVENTORY_INTERVAL, LookAtMachine())

    async def _look_at_declined(self) -> None:
        began = self._context.now()
        try:
            engines = await to_thread.run_sync(self._runtime.engines, abandon_on_cancel=True)
        except OSError as error:
            log.warning("worker.engines_not_seen", error=str(error))
        else:
            if has_more_engines(self._engines, engines):
                self.welcome()
            self._engines = engines
        for question in self._declined.current(began):
            await self._ask_again(question)
        self._context.after(pause_after(self._context.now() - began), LookAtDeclined())

    async def _ask_again(self, question: InspectSource) -> None:
        try:
            answer = await self._runtime.inspect(question)
        except Exception as error:  # noqa: BLE001 - it stays refused
            log.warning("worker.not_asked_again", error=f"{type(error).__name__}: {error}"[:300])
            return
        if not answer.problem and self._declined.remove(question):
            self._lifted(question)
            self.welcome()

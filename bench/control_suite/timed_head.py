"""The head's process: the real actor on a real store, with a picture that tells how long its steps take."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from sllm_actors.actors import ActorSystem, ChildSpec
from sllm_actors.nodes.garbage import keep_collections_short
from sllm_actors.serving.controller import Controller
from sllm_actors.serving.messages import CONTROLLER
from sllm_actors.serving.picture.events import DemandReported, DeploymentAdded, Event, ReplicasReported
from sllm_actors.serving.picture.picture import BATCH, Picture
from sllm_actors.serving.store.behind import write_behind
from sllm_actors.serving.store.database import sqlite_url
from sllm_actors.serving.store.records import StoredState
from sllm_actors.serving.store.store import Store
from sllm_actors.transport import Peer

REPORT, DEMAND, PLACE = "report", "demand", "place"
"""The steps that are timed: a report of one replica; a change of the demand for one deployment; and one that
gives replicas a place."""

Step = Callable[[str, int, int], None]
"""Takes what was timed: the kind of step, nanoseconds by the clock, and nanoseconds of the processor."""


@asynccontextmanager
async def run_head_actor(
    system: ActorSystem, peers: Callable[[], tuple[Peer, ...]], folder: Path, step: Step
) -> AsyncIterator[None]:
    """Run the head's actor on the store in a folder, as a head does, telling ``step`` of its steps."""
    url = sqlite_url(folder / "state.db")
    async with anyio.create_task_group() as beside:
        beside.start_soon(keep_collections_short)
        store = await to_thread.run_sync(partial(Store.open, url, beside=folder))
        try:
            beside.start_soon(write_behind, store)
            make = partial(_TimedController, step, store, peers)
            await system.start(ChildSpec(CONTROLLER, make, name=CONTROLLER))
            yield
            beside.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(store.close)


class _TimedController(Controller):
    def __init__(self, step: Step, store: Store, peers: Callable[[], tuple[Peer, ...]]) -> None:
        super().__init__(store, peers=peers, picture=partial(_TimedPicture, step))


class _TimedPicture(Picture):
    """A step is what was taken of one deployment, and the planning of that one.

    Of a report of several replicas each has its share.
    """

    def __init__(self, step: Step, state: StoredState, **options: Any) -> None:
        super().__init__(state, **options)
        self._step = step
        self._taken: dict[str, list[tuple[str, int, int]]] = {}

    def take(self, event: Event, now: float) -> None:
        """See ``Picture``."""
        cpu, began = time.thread_time_ns(), time.perf_counter_ns()  # the first costs up to 5 µs: not counted
        super().take(event, now)
        took, cpu = time.perf_counter_ns() - began, time.thread_time_ns() - cpu
        match event:
            case ReplicasReported(_, put, removed):
                kind, uids = REPORT, [*(report.id.uid for report in put), *(key.uid for key in removed)]
            case DeploymentAdded(record):
                kind, uids = REPORT, [record.uid]
            case DemandReported(_, put, removed):
                known = self.catalogue.by_id
                names = [*(demand.deployment for demand in put), *removed]
                kind, uids = DEMAND, [known[name].uid for name in names if name in known]
            case _:
                return
        for uid in uids:
            deployment = self.catalogue.by_uid.get(uid)
            if deployment is not None and not self.queue.is_planned(deployment):
                self._taken.setdefault(uid, []).append((kind, took // len(uids), cpu // len(uids)))
            else:
                self._step(kind, took // len(uids), cpu // len(uids))

    def plan(self, now: float, limit: int = BATCH) -> None:
        """See ``Picture``."""
        while self.more and limit > 0:
            limit -= 1
            uid = self.queue.first
            numbers = self._numbers(uid)
            cpu, began = time.thread_time_ns(), time.perf_counter_ns()
            super().plan(now, 1)
            took, cpu = time.perf_counter_ns() - began, time.thread_time_ns() - cpu
            taken = self._taken.pop(uid, [])
            if self._numbers(uid) > numbers:
                before, cpu_before = sum(each for _, each, _ in taken), sum(each for *_, each in taken)
                self._step(PLACE, took + before, cpu + cpu_before)
            else:
                for kind, before, cpu_before in taken:
                    self._step(kind, before + took, cpu_before + cpu)

    def _numbers(self, uid: str) -> int:
        deployment = self.catalogue.by_uid.get(uid)
        return 0 if deployment is None else deployment.next_number

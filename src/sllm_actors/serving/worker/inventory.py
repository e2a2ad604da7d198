"""Reading a worker's inventory for the head: hardware, fork servers, and the models on its disk."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import anyio
import structlog
from anyio import to_thread

from sllm_actors.cluster.inventory import inspect_machine
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.machine.log_quota import drop_old_logs
from sllm_actors.models.eviction import CachedModel
from sllm_actors.models.quota import cached_models
from sllm_actors.serving.messages import Gpu, Inventory

from .replicas import Replicas

log = structlog.get_logger("sllm_actors.worker")

LISTED = 60.0
"""Seconds that the disk may take to list the models."""

LOOK_AT_DISK = 15.0
"""Seconds between two looks at the models and logs on the disk, which may be a slow one."""


class InventoryReader:
    """A callable that returns the worker's inventory; it blocks for a moment: call it in a thread.

    The models in it are those that ``watch_disk`` saw last.

    Args:
        host: What the worker's engines share.
        replicas: The replicas that the worker runs, whose logs are kept.
        name: The worker's name.
        address: Host and port at which gateways reach it.
        gpus: See ``inspect_machine``.
        labels: The worker's labels, by name.
        slots: The most engines that may run at a time, or None for no limit.
        memory_budget: Bytes of memory that engines may have together, or None for no limit.
    """

    def __init__(
        self,
        host: EngineHost,
        replicas: Replicas,
        *,
        name: str,
        address: tuple[str, int],
        gpus: int | None,
        labels: Mapping[str, str],
        slots: int | None = None,
        memory_budget: int | None = None,
    ) -> None:
        self._host = host
        self._replicas = replicas
        self._name = name
        self._address = address
        self._gpus = gpus
        self._labels = dict(labels)
        self._slots = slots
        self._memory_budget = memory_budget
        self._models: tuple[CachedModel, ...] = ()
        self._silent = False

    def __call__(self) -> Inventory:
        """Return the inventory."""
        machine = inspect_machine(self._gpus)
        stuck = self._host.leases.occupied
        host, port = self._address
        return Inventory(
            name=self._name,
            host=host,
            port=port,
            gpus=tuple(
                Gpu(gpu.uuid, gpu.name, gpu.memory_total, gpu.memory_free, gpu.uuid in stuck)
                for gpu in machine.gpus
            ),
            cpus=machine.cpus,
            memory_total=machine.memory_total,
            memory_free=machine.memory_free,
            labels=self._labels,
            fork_servers=self._host.fork_servers.reports(),
            models=self._models,
            slots=self._slots,
            memory_budget=self._memory_budget or 0,
        )

    async def watch_disk(self) -> None:
        """List the models and remove old logs every ``LOOK_AT_DISK`` seconds, until cancelled.

        While a disk does not answer, the inventory keeps the models that were listed last.
        """
        while True:
            await self.look_at_disk()
            await anyio.sleep(LOOK_AT_DISK)

    async def look_at_disk(self) -> None:
        """List the models and remove old logs, once."""
        folder = self._host.models.folder
        try:
            await to_thread.run_sync(drop_old_logs, self._host.folders.logs, self._present_logs)
            look = partial(cached_models, folder)
            # Not under the folder's own name: a slow list must not make other looks at the folder give up.
            self._models = await self._host.disk.run(f"the list of models in {folder}", look, patience=LISTED)
            self._silent = False
        except OSError as error:
            if not self._silent:
                log.warning("worker.models_not_listed", reason=error.strerror or str(error))
            self._silent = True

    def _present_logs(self) -> set[Path]:
        return {self._host.folders.log_of(report.id.key) for report in self._replicas.all()}

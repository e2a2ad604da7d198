"""What a worker has, as it tells the head: hardware, fork servers, and the models on its disk."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from sllm_actors.cluster.inventory import inspect_machine
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.machine.log_quota import drop_old_logs
from sllm_actors.models.eviction import CachedModel
from sllm_actors.models.quota import cached_models

from .messages import Gpu, Inventory
from .replicas import Replicas

LOOK_AT_DISK = 15.0
"""Seconds between two looks at the models and logs on the disk, which may be a slow one."""


class InventoryReader:
    """Returns the worker's inventory when it is called. Blocks.

    What is on the disk is looked at only every ``LOOK_AT_DISK`` seconds; old logs are removed then.

    Args:
        host: What its engines live on.
        replicas: What it runs: the logs of those are kept.
        name: What people call the worker.
        address: Host and port at which gateways reach it.
        gpus: See ``inspect_machine``.
        labels: What placement can ask for.
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
    ) -> None:
        self._host = host
        self._replicas = replicas
        self._name = name
        self._address = address
        self._gpus = gpus
        self._labels = dict(labels)
        self._models: tuple[CachedModel, ...] = ()
        self._looked = -LOOK_AT_DISK

    def __call__(self) -> Inventory:
        """See the class."""
        machine = inspect_machine(self._gpus)
        stuck = self._host.leases.occupied
        if time.monotonic() - self._looked >= LOOK_AT_DISK:
            drop_old_logs(self._host.folders.logs, self._present_logs)
            self._models = cached_models(self._host.models.folder)
            self._looked = time.monotonic()
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
        )

    def _present_logs(self) -> set[Path]:
        return {self._host.folders.log_of(report.id.key) for report in self._replicas.all()}

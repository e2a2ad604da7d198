"""What all engines of one worker share: folders, hardware, installations, models, records, policy."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from sllm_actors.disk import Disk
from sllm_actors.models.hub import Hub
from sllm_actors.models.store import ModelStore

from .folders import EngineFolders, make_private, open_folders, short_hash
from .installs.images import image_engines
from .installs.interpreters import Interpreters
from .machine.gpus import GpuPool
from .machine.hardware import Hardware
from .own_variables import read_variables
from .ownership.attempts import Attempts
from .ownership.leases import Leases
from .ownership.running import RunningEngines
from .policy import EnginePolicy
from .warm.fork_servers import ForkServers


@frozen
class EngineHost:
    """Everything of a worker that its engines share.

    Attributes:
        machine: See ``machine_id``.
        folders: Where sockets, temporary files and logs are.
        hardware: The GPUs and CPU cores.
        models: The model files of this worker.
        disk: Reads paths that people name; a path that does not answer is given up.
        leases: The records on disk of the engines that run.
        running: The engines that run, so that all can be hurried when the worker stops.
        next_attempt: Returns numbers that rise, also over restarts of the worker. It may block on the disk:
            call it in a thread.
        interpreters: Which Python each backend's engines run under.
        fork_servers: The fork servers, for backends whose engines can be forked.
        policy: The choices of whoever started the worker.
        name: The worker's name; "" if it has none.
    """

    machine: str
    folders: EngineFolders
    hardware: Hardware
    models: ModelStore
    leases: Leases
    next_attempt: Callable[[], int] = field(repr=False)
    interpreters: Interpreters = field(factory=Interpreters)
    disk: Disk = field(factory=Disk)
    fork_servers: ForkServers = field(factory=ForkServers)
    running: RunningEngines = field(factory=RunningEngines)
    policy: EnginePolicy = field(factory=EnginePolicy)
    name: str = ""

    def own_variables(self, env: Mapping[str, str], secret_env: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that a deployment sets for its engines here. See ``read_variables``."""
        return read_variables(
            env,
            secret_env,
            ours=self.policy.environment,
            own_folder=self.policy.own_folder,
            any_code=self.policy.allow_command,
        )


def open_host(
    data_dir: Path,
    *,
    interpreters: Mapping[str, str] | None = None,
    engines_dir: Path | None = None,
    policy: EnginePolicy | None = None,
    gpus: Sequence[str] | None = None,
    gpu_sizes: Mapping[str, int] | None = None,
    gpu_locks: Path | None = None,
    models: Path | None = None,
    quota: int | None = None,
    name: str = "",
) -> EngineHost:
    """Open a worker's data directory: make its folders, and go on with its attempt numbers. Blocks.

    Engines that an earlier worker of this directory left running, and their leashes, are ended first: see
    ``Leases.sweep``, which takes up to 18 s. So two workers must never use one directory at the same time.

    Args:
        data_dir: The worker's folder for logs, leases, the attempt counter and, by default, models.
        interpreters: Paths of Python by backend, as ``--engine-python`` gives them.
        engines_dir: Where ``sllm engines install`` makes environments.
        policy: By default ``EnginePolicy()``.
        gpus: UUIDs of the GPUs that engines may use, in the machine's order; None where that is not known.
        gpu_sizes: The bytes of memory that GPUs have, by UUID, where that is known.
        gpu_locks: The folder of the GPUs' lock files, one for all workers of this user on the machine; by
            default one under the system's folder for temporary files.
        models: Where model files are kept; other workers may use it too. By default in the data directory.
        quota: The most bytes that model files may take; None for no limit but the disk.
        name: The worker's name.

    Raises:
        OSError: A folder cannot be made, or belongs to another user.
        FileProblem: A record is damaged, and cannot be put aside.
    """
    data_dir = data_dir.absolute()
    folders = open_folders(data_dir)
    leases = Leases(data_dir / "leases")
    locks = gpu_locks or Path(tempfile.gettempdir()) / f"sllm-{os.getuid()}-gpus"
    for folder in (leases.folder, locks):
        make_private(folder)
    pool = GpuPool(None if gpus is None else tuple(gpus), locks, lambda: leases.occupied, gpu_sizes or {})
    for stuck in leases.sweep():
        held = [pool.open(gpu) for gpu in stuck.gpus]
        for lock in held:
            lock.take()
        leases.keep(stuck, [lock.descriptor for lock in held])
    disk = Disk()
    return EngineHost(
        machine=machine_id(),
        folders=folders,
        hardware=Hardware(pool),
        models=ModelStore(models or data_dir / "models", Hub(dict(os.environ)), quota, disk=disk),
        disk=disk,
        leases=leases,
        next_attempt=Attempts(data_dir / "attempts").next,
        interpreters=Interpreters(interpreters or {}, engines_dir, image_engines()),
        policy=policy or EnginePolicy(),
        name=name,
    )


def machine_id() -> str:
    """Return an id of this boot of the kernel, of the mount and network namespaces, the root and the user.

    Two processes with the same id can use the same unix sockets. Without /proc, the id is random.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        spaces = [str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in ("mnt", "net")]
        root = Path("/").stat()
    except OSError:
        return secrets.token_hex(8)
    return short_hash(" ".join((boot, *spaces, str(root.st_dev), str(root.st_ino), str(os.getuid()))))

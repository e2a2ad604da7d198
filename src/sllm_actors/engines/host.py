"""The machine that engines run on, as far as they need to know it."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from sllm_actors.engines.installs.interpreters import interpreter_of
from sllm_actors.engines.machine.cores import CorePool
from sllm_actors.engines.machine.cpu_dtype import cpu_dtype
from sllm_actors.engines.machine.gpus import GpuPool
from sllm_actors.engines.ownership.attempts import Attempts
from sllm_actors.engines.ownership.leases import Leases
from sllm_actors.engines.warm.fork_servers import WarmServers
from sllm_actors.models.hub import Hub
from sllm_actors.models.store import ModelStore

from .health_policy import HealthPolicy
from .identity import ReplicaId, ReplicaKey
from .plan import EnginePaths

LONGEST_SOCKET_PATH = 107
"""Bytes of a unix socket's path, as Linux has it."""

BELOW_RUNTIME_DIR = len("/t/0123456789abcdef/00000000-0000-0000-0000-000000000000")
"""What the longest socket's path has behind that folder: vLLM names its own in its TMPDIR by UUIDs."""


@frozen
class EngineHost:
    """Where the engines of a worker live.

    Attributes:
        runtime_dir: Sockets; short, mode 0700.
        log_dir: One folder for each replica.
        tmp_dir: Private TMPDIRs; short, mode 0700.
        machine: See ``machine_id``.
        next_attempt: Gives rising numbers, over restarts too; may block, so it is called in a thread.
        interpreters: Python by backend, as a person named it.
        engines_dir: Where ``sllm engines install`` makes environments.
        stop_budget: Seconds between SIGTERM and SIGKILL when an engine is ended.
        health: How engines are watched.
        environment: What engines inherit, once secrets are taken out.
        cores: The CPU cores that engines may use.
        cpu_dtype: In which type they compute on a CPU, where nobody has said.
        leases: The records of engines that run.
        gpus: The GPUs that engines may use.
        models: The model files of this worker.
        warm: What engines are forked from, where it can be done.
        allow_command: Whether deployments may name the program that is run.
        nvidia_smi: The program that tells how much GPU memory is in use; "" for none.
    """

    runtime_dir: Path
    log_dir: Path
    tmp_dir: Path
    machine: str
    next_attempt: Callable[[], int] = field(repr=False)
    leases: Leases
    gpus: GpuPool
    models: ModelStore
    warm: WarmServers = field(factory=WarmServers)
    allow_command: bool = False
    nvidia_smi: str = field(factory=lambda: shutil.which("nvidia-smi") or "")
    interpreters: Mapping[str, str] = field(factory=dict)
    engines_dir: Path | None = None
    stop_budget: float = 10.0
    health: HealthPolicy = field(factory=HealthPolicy)
    environment: Mapping[str, str] = field(factory=lambda: dict(os.environ), repr=False)
    cores: CorePool = field(factory=CorePool)
    cpu_dtype: str = field(factory=cpu_dtype)

    def interpreter(self, backend: str) -> str:
        """Return the Python that a backend's engines run under. Blocks: see ``interpreter_of``."""
        return interpreter_of(backend, self.interpreters, self.engines_dir)

    def gpu_memory(self, gpus: Sequence[str]) -> tuple[str, ...]:
        """Return the program that prints how many MiB of these GPUs are in use; () where there is none."""
        if not gpus or not self.nvidia_smi:
            return ()
        query = ("--query-gpu=memory.used", "--format=csv,noheader,nounits")
        return (self.nvidia_smi, *query, f"--id={','.join(gpus)}")

    def log_of(self, key: ReplicaKey) -> Path:
        """Return the folder of a replica's log: the same over its lives, and over those of the worker."""
        return self.log_dir / _hash(str(key))

    def paths_for(self, replica: ReplicaId) -> EnginePaths:
        """Return fresh names for one engine life."""
        name = _hash(f"{replica} {secrets.token_hex(8)}")
        return EnginePaths(self.runtime_dir / f"{name}.sock", self.tmp_dir / name, self.log_of(replica.key))


def open_host(
    data_dir: Path,
    *,
    interpreters: Mapping[str, str] | None = None,
    engines_dir: Path | None = None,
    stop_budget: float = 10.0,
    health: HealthPolicy | None = None,
    gpus: Sequence[str] | None = None,
    gpu_locks: Path | None = None,
    models: Path | None = None,
    quota: int | None = None,
    allow_command: bool = False,
) -> EngineHost:
    """Make the folders of a worker under its data directory, and count on from its last attempt. Blocks.

    Engines that outlived the last worker of this directory, and their leashes too, are ended first (see
    ``Leases.sweep``): a directory is one worker's alone.

    Sockets and TMPDIRs go to ``<data_dir>/run`` or, if that is too long for a socket's path, to a folder of
    our user under the system's folder for temporary files.

    Args:
        data_dir: Where this worker, and no other process, keeps things.
        interpreters: See ``EngineHost``.
        engines_dir: See ``EngineHost``.
        stop_budget: See ``EngineHost``.
        health: See ``EngineHost``.
        gpus: UUIDs of the GPUs that engines may use, in the machine's order; None where that is not known.
        allow_command: See ``EngineHost``.
        gpu_locks: The folder of their lock files, one for all workers of this user on the machine; by default
            one under the system's folder for temporary files.
        models: Where model files are kept; other workers may use it too. By default in the data directory.
        quota: Bytes that they may have together; None for what the disk has.

    Raises:
        OSError: A folder cannot be made, or is somebody else's.
    """
    data_dir = data_dir.absolute()
    runtime_dir = data_dir / "run"
    if len(os.fsencode(runtime_dir)) + BELOW_RUNTIME_DIR > LONGEST_SOCKET_PATH:
        runtime_dir = Path(tempfile.gettempdir()) / f"sllm-{os.getuid()}-{_hash(str(data_dir))[:8]}"
    log_dir = data_dir / "logs"
    tmp_dir = runtime_dir / "t"
    leases = Leases(data_dir / "leases")
    locks = gpu_locks or Path(tempfile.gettempdir()) / f"sllm-{os.getuid()}-gpus"
    for folder in (runtime_dir, tmp_dir, log_dir, leases.folder, locks):
        _make_private(folder)
    pool = GpuPool(None if gpus is None else tuple(gpus), locks, lambda: leases.occupied)
    for stuck in leases.sweep():
        held = [pool.lock(gpu) for gpu in stuck.gpus]
        leases.keep(stuck, [lock for lock in held if lock is not None])
    return EngineHost(
        runtime_dir=runtime_dir,
        log_dir=log_dir,
        tmp_dir=tmp_dir,
        machine=machine_id(),
        next_attempt=Attempts(data_dir / "attempts").next,
        leases=leases,
        gpus=pool,
        models=ModelStore(models or data_dir / "models", Hub(dict(os.environ)), quota),
        allow_command=allow_command,
        interpreters=interpreters or {},
        engines_dir=engines_dir,
        stop_budget=stop_budget,
        health=health or HealthPolicy(),
    )


def machine_id() -> str:
    """Name this boot of this kernel together with the files, network and user that a process sees here.

    Two processes with the same id can use the same unix sockets. Where it cannot be told, the id is unique.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        spaces = [str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in ("mnt", "net")]
        root = Path("/").stat()
    except OSError:
        return secrets.token_hex(8)
    return _hash(" ".join((boot, *spaces, str(root.st_dev), str(root.st_ino), str(os.getuid()))))


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else: give another data directory")
    folder.chmod(0o700)

"""Records on disk of the engines that run: for the case that worker and leash are killed together.

A record (lease) is written before an engine starts, completed when its process is known, and removed when
nothing of the engine is left. Records that a worker finds at its start are of engines that outlived the last
worker; it ends them before it starts any other. Everything here blocks on the disk: call it in a thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import structlog
from attrs import field, frozen

from sllm_actors.engines.plan import EnginePaths
from sllm_actors.files import DRAFT, FileProblem, put_aside, read_record, write_record

from .orphans import kill_once, remove_files
from .procfs import SharedMemory, start_time

log = structlog.get_logger("sllm_actors.engines")

LEASH_BUDGET = 8.0
"""Seconds that a leash whose worker was killed gets to end its engine by itself."""

KILL_BUDGET = 10.0
"""Seconds after which a process that cannot be killed (it waits in a driver) is given up."""

PAUSE = 0.05  # seconds between two rounds of kills
LONGEST_RECORD = 65536
RECORD = ".json"


@frozen
class Lease:
    """The record of one engine life: all that the next worker needs to end it and to remove its files.

    Attributes:
        marker: The value of ``SLLM_ENGINE`` in the engine's environment.
        boot: See ``boot_name``: the process numbers mean nothing under another one.
        since: When the engine life began, in seconds since the epoch.
        socket: See ``EnginePaths``; "" where it is not known.
        tmpdir: See ``EnginePaths``; "" where it is not known.
        log: See ``EnginePaths``; "" where it is not known.
        gpus: UUIDs of the GPUs that it occupies until all its processes are gone.
        leash: The leash's process; 0 while not known.
        leash_began: When the leash started, in clock ticks since boot; 0 while not known.
        pid: The engine's process, leader of a process group and a session; 0 while not known.
        began: When the engine's process started, in clock ticks since boot; 0 while not known.
    """

    marker: str
    boot: str
    since: float
    socket: str = ""
    tmpdir: str = ""
    log: str = ""
    gpus: tuple[str, ...] = ()
    leash: int = 0
    leash_began: int = 0
    pid: int = 0
    began: int = 0

    @property
    def paths(self) -> EnginePaths:
        """The paths of the engine life."""
        return EnginePaths(Path(self.socket), Path(self.tmpdir), Path(self.log))

    @property
    def has_own_paths(self) -> bool:
        """Whether socket and TMPDIR look like an engine's, and so may be removed: absolute, named alike."""
        socket, tmpdir = self.paths.socket, self.paths.tmpdir
        return socket.is_absolute() and tmpdir.is_absolute() and socket.stem == tmpdir.stem != ""


@frozen
class _Stuck:
    lease: Lease
    memory: SharedMemory
    locks: Sequence[int]


@frozen
class Leases:
    """The records of one worker, in a folder that no other worker uses.

    Attributes:
        folder: Has the records; it exists.
        boot: The ``boot_name`` of this process.
    """

    folder: Path
    boot: str = field(factory=lambda: boot_name())
    _stuck: dict[str, _Stuck] = field(factory=dict, init=False, repr=False)

    @property
    def stuck(self) -> tuple[Lease, ...]:
        """The engines that could not be killed: they wait in a driver, and still hold their GPUs."""
        return tuple(each.lease for each in list(self._stuck.values()))

    @property
    def occupied(self) -> frozenset[str]:
        """The UUIDs of the GPUs of engines that could not be killed."""
        return frozenset(gpu for lease in self.stuck for gpu in lease.gpus)

    def keep(self, lease: Lease, locks: Sequence[int] = ()) -> None:
        """Keep the record of an engine that could not be killed, until ``look_again`` finds that it is gone.

        Args:
            lease: The engine's record.
            locks: Descriptors of the lock files of its GPUs; this object closes them when the engine is gone.
        """
        self._stuck[lease.marker] = _Stuck(lease, _memory_of(lease), locks)

    def look_again(self) -> None:
        """Try again to kill the engines that could not be killed; free the GPUs of those that are gone."""
        for each in list(self._stuck.values()):
            if self._end(each.lease, each.memory):
                del self._stuck[each.lease.marker]
                for lock in each.locks:
                    os.close(lock)

    def write(self, lease: Lease) -> None:
        """Write or replace the record of an engine; not synced, since no engine survives a machine's crash.

        Raises:
            OSError: The record cannot be written: the engine must not be started.
        """
        write_record(self._path(lease.marker), lease, durable=False)

    def remove(self, marker: str) -> None:
        """Remove the record of an engine of which nothing is left."""
        self._path(marker).unlink(missing_ok=True)

    def sweep(self) -> tuple[Lease, ...]:
        """End every engine that is on record, remove its files, then its record.

        A leash that still lives gets up to ``LEASH_BUDGET`` seconds to do that; all together takes at most
        ``LEASH_BUDGET + KILL_BUDGET``. Of a record of another boot no process can be left: it is removed with
        the files that it names. A damaged record is put aside with a warning: the marker, which is the file's
        name, still tells which processes to end, but the engine's files stay.

        Returns:
            The engines that could not be killed, whose records stay: hand them to ``keep``.

        Raises:
            FileProblem: A record is damaged, and cannot be put aside.
        """
        left = []
        for path in sorted(self.folder.iterdir()):
            if path.suffix == DRAFT:  # of a worker that was killed as it wrote
                path.unlink(missing_ok=True)
            if path.suffix != RECORD:
                continue
            lease = self._read(path)
            if lease.boot == self.boot:
                left.append(lease)
            else:
                log.info("lease.dropped", record=path.name)
                remove_files(lease.paths)
                path.unlink(missing_ok=True)
        return self._end_all(left)

    def _read(self, path: Path) -> Lease:
        try:
            lease = read_record(path, Lease, LONGEST_RECORD)
            if lease is not None and lease.marker == path.stem and lease.has_own_paths:
                return lease
            problem = FileProblem(path, "names what is not this engine's")
        except FileProblem as found:
            problem = found
        put_aside(problem, f"processes of the engine {path.stem} are ended, what else it left stays")
        return Lease(path.stem, self.boot, time.time())

    def _end_all(self, leases: Iterable[Lease]) -> tuple[Lease, ...]:
        left = list(leases)
        memory = {lease.marker: _memory_of(lease) for lease in left}
        began = time.monotonic()
        while left and time.monotonic() - began < LEASH_BUDGET + KILL_BUDGET:
            patient = time.monotonic() - began < LEASH_BUDGET
            for lease in list(left):
                if _leash_lives(lease):
                    if patient:
                        continue
                    with suppress(OSError):
                        kill_once(lease.leash, lease.leash_began, lease.marker, memory[lease.marker])
                if self._end(lease, memory[lease.marker]):
                    left.remove(lease)
            if left:
                time.sleep(PAUSE)
        for lease in left:
            log.error("lease.not_swept", engine=lease.marker, pid=lease.pid, gpus=lease.gpus)
        return tuple(left)

    def _end(self, lease: Lease, memory: SharedMemory) -> bool:
        """Kill what is left of an engine; say whether that was nothing, and then forget it."""
        if kill_once(lease.pid, lease.began, lease.marker, memory):
            return False
        if lease.tmpdir:  # else its record was damaged
            remove_files(lease.paths, memory)
        self.remove(lease.marker)
        log.warning("lease.swept", engine=lease.marker, pid=lease.pid)
        return True

    def _path(self, marker: str) -> Path:
        return self.folder / f"{marker}{RECORD}"


def _memory_of(lease: Lease) -> SharedMemory:
    """Return what is known of the shared memory of an engine."""
    return SharedMemory(lease.since, lease.tmpdir)


def _leash_lives(lease: Lease) -> bool:
    return lease.leash > 0 and start_time(lease.leash) == lease.leash_began


def boot_name() -> str:
    """Return a name of this boot of the kernel and of this process's PID namespace; "" without /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""

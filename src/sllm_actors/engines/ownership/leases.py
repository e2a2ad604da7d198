"""Records on disk of the engines that run: for the case that worker and leash are killed together.

A record is written before an engine starts, completed when its process is known, and removed when nothing of
it is left. What a worker finds at its start is what outlived both; it is swept before anything else starts.
Everything here blocks on the disk: call it in a thread.
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
"""Seconds that a leash whose worker has gone gets to end its engine by itself."""

KILL_BUDGET = 10.0
"""Seconds after which a process that cannot be killed (it waits in a driver) is given up."""

PAUSE = 0.05
LONGEST_RECORD = 65536
RECORD = ".json"


@frozen
class Lease:
    """One engine life, as the next worker needs to know it.

    Attributes:
        marker: The value of ``SLLM_ENGINE`` in its environment.
        boot: See ``boot_name``: process numbers mean nothing under another one.
        since: When it began, seconds since the epoch.
        leash: Its leash's process, and when that started in clock ticks since boot; 0 while not known.
        socket: See ``EnginePaths``; it and ``tmpdir`` are "" where they are not known.
        pid: The engine's process, leader of a group and a session of its own; 0 while not known.
        gpus: What it occupies as long as it is not gone.
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
        """Its files."""
        return EnginePaths(Path(self.socket), Path(self.tmpdir), Path(self.log))

    @property
    def has_own_paths(self) -> bool:
        """Whether socket and TMPDIR can be an engine's: absolute, and named alike."""
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
        folder: Where; it exists.
        boot: The boot and process namespace that we run in.
    """

    folder: Path
    boot: str = field(factory=lambda: boot_name())
    _stuck: dict[str, _Stuck] = field(factory=dict, init=False, repr=False)

    @property
    def stuck(self) -> tuple[Lease, ...]:
        """What could not be killed: it waits in a driver, and has its GPUs."""
        return tuple(each.lease for each in list(self._stuck.values()))

    @property
    def occupied(self) -> frozenset[str]:
        """The GPUs of what could not be killed."""
        return frozenset(gpu for lease in self.stuck for gpu in lease.gpus)

    def keep(self, lease: Lease, locks: Sequence[int] = ()) -> None:
        """Keep the record of what could not be killed, until ``look_again`` finds that it is gone.

        Args:
            lease: What it is.
            locks: Descriptors of the lock files of its GPUs, ours from now on: closed when it is gone.
        """
        self._stuck[lease.marker] = _Stuck(lease, _memory_of(lease), locks)

    def look_again(self) -> None:
        """Kill again what could not be killed, and let go of what is gone now."""
        for each in list(self._stuck.values()):
            if self._end(each.lease, each.memory):
                del self._stuck[each.lease.marker]
                for lock in each.locks:
                    os.close(lock)

    def write(self, lease: Lease) -> None:
        """Write or replace the record of an engine. It need not survive a crash of the whole machine.

        Raises:
            OSError: It cannot be written: the engine must not be started.
        """
        write_record(self._path(lease.marker), lease, durable=False)

    def remove(self, marker: str) -> None:
        """Remove a record: nothing is left of its engine."""
        self._path(marker).unlink(missing_ok=True)

    def sweep(self) -> tuple[Lease, ...]:
        """End every engine that is on record, remove its files, then its record.

        A leash that still lives is left to its work for up to ``LEASH_BUDGET``. A record of another boot
        names no process; it is dropped, and with it the files that it names. A damaged record is put aside
        with a warning; its name is left: processes with that mark are ended, their files stay.

        Returns:
            What could not be killed: hand it to ``keep``. Its record stays.

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
    """Name this boot of the kernel and the namespace of process numbers that we are in."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""

"""What /proc tells of processes, and finding the shared memory that an engine's processes leave behind.

``leash.py`` loads this file by path, so it imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Callable, Iterable

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the place where POSIX shared memory is, not a scratch folder
LEFT_BEHIND = re.compile(r"psm_\w+|sem\.mp-\w+|nccl-\w+")
"""The names of files that killed engines leave there: Python's shared memory and semaphores, and NCCL's."""

RECORD = "shared-memory"
"""The file in an engine's TMPDIR that lists the inodes of its files in /dev/shm, one a line."""

LONGEST_RECORD = 65536


def processes() -> list[tuple[int, int]]:
    """Return all processes that /proc shows, as pairs of the process's number and its parent's."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                found.append((int(name), int(stat_fields(int(name))[1])))
    return found


def name_process(name: str, title: str) -> None:
    """Set the name of this process in ``top`` (at most 15 bytes) and its title in ``ps``.

    The title overwrites the memory of the arguments that this process, or the one it was forked from, was
    started with; it is cut to their length. The environment, which comes next in memory, is not touched.
    """
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(name)
    with contextlib.suppress(OSError, ValueError, IndexError):
        begin, end = map(int, stat_fields(os.getpid())[45:47])
        room = end - begin
        if begin and room > 1:
            data = title.encode(errors="replace")[: room - 1].ljust(room, b"\0")
            ctypes.memmove(begin, data, room)


def children() -> list[int]:
    """Return the children of this process, zombies included."""
    us = os.getpid()
    return [pid for pid, parent in processes() if parent == us]


def descendants(of: int = 0) -> list[int]:
    """Return the children of a process (by default of this one), their children, and so on."""
    everybody, found = processes(), [of or os.getpid()]
    for one in found:
        found += [pid for pid, parent in everybody if parent == one]
    return found[1:]


def stat_fields(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` from the third on: the second, the name, may contain blanks."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        return file.read().rpartition(")")[2].split()


def start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot, or 0 if it is gone.

    Together with its number that identifies a process, although numbers are used again.
    """
    try:
        return int(stat_fields(pid)[19])
    except (OSError, ValueError, IndexError):
        return 0


class SharedMemory:
    """The files in /dev/shm that belong to one engine; those that it leaves are removed.

    The kernel does not tell who made such a file, and its users may be invisible, in another container. So a
    file counts as the engine's only if it is younger than the engine and one of the engine's processes was
    seen to have it open or mapped. The inodes are also recorded in the engine's TMPDIR: if the leash is
    killed, the worker removes the files, perhaps when no process has them open any more.

    Args:
        began: When the engine started, in seconds since the epoch.
        tmpdir: The engine's TMPDIR; nothing is recorded while it does not exist.
    """

    def __init__(self, began: float, tmpdir: str) -> None:
        self._began = began
        self._record = os.path.join(tmpdir, RECORD)  # noqa: PTH118
        self._looked_at: set[int] = set()
        self._ours: set[int] = set()

    def look(self, family: Callable[[], Iterable[int]]) -> None:
        """Find out which of the files that are new since the last look belong to the engine.

        A process has the file that it makes open or mapped from the first moment on, so one look is enough.

        Args:
            family: Returns the engine's processes; called only if there is a new file.
        """
        fresh = set(self._young()) - self._looked_at
        if fresh:
            self._looked_at |= fresh
            found = {inode for pid in family() for inode in fresh & in_use(pid)}
            self._ours |= found
            self._write_down(found)

    def remove(self) -> None:
        """Remove the engine's files that no visible process uses. Call it before the TMPDIR is removed."""
        ours = self._ours | self._written_down()
        left = {inode: path for inode, path in self._young().items() if inode in ours}
        for pid, _ in processes() if left else ():
            for used in in_use(pid):
                left.pop(used, None)
        for path in left.values():
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108

    def _write_down(self, inodes: set[int]) -> None:
        lines = "".join(f"{inode}\n" for inode in sorted(inodes)).encode()
        with contextlib.suppress(OSError):  # full, or there is no TMPDIR
            fd = os.open(self._record, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, lines)
            finally:
                os.close(fd)

    def _written_down(self) -> set[int]:
        with contextlib.suppress(OSError), open(self._record, "rb") as file:  # noqa: PTH123
            return {int(line) for line in file.read(LONGEST_RECORD).split() if line.isdigit()}
        return set()

    def _young(self) -> dict[int, str]:
        found = {}
        with contextlib.suppress(OSError):
            for entry in os.scandir(SHARED_MEMORY):
                with contextlib.suppress(OSError):
                    stat = entry.stat(follow_symlinks=False) if LEFT_BEHIND.fullmatch(entry.name) else None
                    if stat and stat.st_uid == os.getuid() and stat.st_mtime >= self._began - 1:
                        found[stat.st_ino] = entry.path
        return found


def in_use(pid: int) -> set[int]:
    """Return the inodes of the files in /dev/shm that a process has mapped or open, as far as /proc shows.

    Names would not do: a semaphore is mapped under a temporary name that exists no more.
    """
    used = set()
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            used = {int(line.split(maxsplit=5)[4]) for line in file if SHARED_MEMORY in line}
        for fd in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(fd.path).startswith(SHARED_MEMORY):  # noqa: PTH115
                    used.add(os.stat(fd.path).st_ino)  # noqa: PTH116
    return used

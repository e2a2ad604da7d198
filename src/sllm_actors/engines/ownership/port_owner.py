"""Whether it is the engine that listens on its port, and not a program that took the port before it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import psutil
from attrs import define, field

from sllm_actors.descriptors import is_out_of_descriptors

from .listeners import answering_sockets

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")

MOST_LISTENERS = 65536
"""The most lines of each table that are read: there are no more ports."""

NOBODY = "not listening yet"


class PortTaken(Exception):
    """Another program listens on the engine's port. The text is a sentence that names both."""


@define
class PortOwner:
    """Finds out who listens on one engine's port of 127.0.0.1.

    A look reads the kernel's table of listening sockets. Only if that has a socket which is not known yet,
    the open files of the engine's processes (all descendants of its leash) are searched for it.

    Attributes:
        port: The engine's port.
        leash: The process number of the engine's leash.
    """

    port: int
    leash: int
    _own: frozenset[int] = field(default=frozenset(), init=False)

    def look(self) -> str:
        """Return "" when all connections to the port reach the engine, else why not. Reads /proc: blocks.

        Raises:
            OSError: This process has no file descriptors left to look with.
            PortTaken: A connection might reach another program. A single look may be wrong about a process
                whose parent ends in that moment; two in a row are right.
        """
        listening = _listening(self.port)
        if not listening:
            return NOBODY
        if not listening <= self._own:
            self._own, hidden = _sockets_of(self.leash, listening)
            if not listening <= self._own:
                self._own = frozenset()
                if hidden:
                    return f"who listens on port {self.port} is hidden, as are the files of process {hidden}"
                name = _stranger(self.port, self.leash)
                raise PortTaken(f"another program listens on port {self.port}{name}")
        return ""


def _listening(port: int) -> frozenset[int]:
    return answering_sockets(_lines(TABLES[0]), _lines(TABLES[1]), port)


def _lines(table: str) -> Iterator[str]:
    with suppress(FileNotFoundError), Path(table).open(encoding="ascii") as file:  # it may have no IPv6
        yield from islice(file, MOST_LISTENERS + 1)


def _sockets_of(leash: int, wanted: frozenset[int]) -> tuple[frozenset[int], int]:
    """Return which of these sockets the engine has, and a process of it that we may not look into, or 0."""
    links = {f"socket:[{inode}]": inode for inode in wanted}
    found: set[int] = set()
    hidden = 0
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(leash).children(recursive=True):
            folder = f"/proc/{process.pid}/fd"
            try:
                names = os.listdir(folder)  # noqa: PTH208 - thousands of them
            except PermissionError:
                hidden = process.pid
                continue
            except OSError as error:
                if is_out_of_descriptors(error):
                    raise
                continue  # it has just ended
            for name in names:
                with suppress(OSError):
                    inode = links.get(os.readlink(f"{folder}/{name}"))  # noqa: PTH115
                    if inode is not None:
                        found.add(inode)
            if found == wanted:
                break
    return frozenset(found), hidden


def _stranger(port: int, leash: int) -> str:
    """Return the name of another program that listens there, as the end of a sentence; "" if it is hidden."""
    with suppress(psutil.Error, OSError):
        family = {process.pid for process in psutil.Process(leash).children(recursive=True)}
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
            if listens and connection.pid and connection.pid not in family:
                return f": {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""

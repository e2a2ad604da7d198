"""The file with what the head said last: a gateway that starts while the head is away begins with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Lock

import cattrs
from attrs import frozen

from sllm_actors.files import FileProblem, put_aside, read_record, write_whole
from sllm_actors.serving.keys.messages import KnownKey
from sllm_actors.serving.messages import ServedModel, WorkerAddress

LARGEST = 64 * 2**20
"""Bytes that the file may have when it is read."""

VERSION = 2
"""The version of the file's format that is written, and the only one that is read."""


@frozen
class Snapshot:
    """What the head has said.

    Attributes:
        models: What is deployed.
        workers: Where workers are reached.
        keys: The keys that open the gateway.
        version: Of the file's format.
    """

    models: tuple[ServedModel, ...] = ()
    workers: tuple[WorkerAddress, ...] = ()
    keys: tuple[KnownKey, ...] = ()
    version: int = VERSION


class SnapshotFile:
    """Reads and writes the file. Both block: call them in threads, at most one of them at a time in each.

    Args:
        path: The file, in a folder that exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._newest = 0

    def save(self, number: int, snapshot: Snapshot) -> None:
        """Write a snapshot to the file, whole or not at all, durably, readable by its owner only.

        Args:
            number: Rises from call to call: where a thread was overtaken, because the disk kept it waiting,
                its older snapshot does not replace the newer one.
            snapshot: What to write.

        Raises:
            OSError: The file could not be written; the old one is as it was.
        """
        with self._lock:
            if number > self._newest:
                write_whole(self.path, _pieces(snapshot), durable=True)
                self._newest = number

    def load(self) -> Snapshot | None:
        """Return the snapshot in the file, or None if there is none.

        A file that is damaged, or of another version, counts as none: it is renamed, with a warning in the
        log.

        Raises:
            FileProblem: Such a file could not be renamed.
        """
        try:
            snapshot = read_record(self.path, Snapshot, LARGEST)
            if snapshot is None or snapshot.version == VERSION:
                return snapshot
            problem = FileProblem(self.path, f"is of version {snapshot.version}, not {VERSION}")
        except FileProblem as found:
            problem = found
        put_aside(problem, "until the head is linked, this gateway knows of no deployment")
        return None


def _pieces(snapshot: Snapshot) -> Iterator[bytes]:
    """Return the file's JSON in small pieces: encoding one large text at once would hold the event loop."""
    yield b'{"version": %d, "models": [' % snapshot.version
    yield from _items(snapshot.models)
    yield b'], "workers": ['
    yield from _items(snapshot.workers)
    yield b'], "keys": ['
    yield from _items(snapshot.keys)
    yield b"]}\n"


def _items(values: Iterable[object]) -> Iterator[bytes]:
    between = ""
    for value in values:
        yield (between + json.dumps(cattrs.unstructure(value))).encode()
        between = ",\n"

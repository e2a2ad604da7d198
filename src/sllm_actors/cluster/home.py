"""A node's own directory: who it is and proves to be, which life this is, and the lock that keeps a live
duplicate out."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from attrs import field, frozen
from attrs.validators import ge, le, matches_re

from sllm_actors.actors import Incarnation, NodeId
from sllm_actors.files import (
    FileProblem,
    make_private_folder,
    read_record,
    write_record,
    write_whole,
)

log = structlog.get_logger("sllm_actors.home")

IDENTITY_FILE = "node.json"
CREDENTIALS_FILE = "credentials.json"
MAX_CLUSTERS = 16
"""Clusters of which a node keeps its credential: those that gave it one last."""

_MAX_IDENTITY = 4096
_MAX_CREDENTIALS = 64 * 1024
_MAX_COUNTER = 2**53


class SetupProblem(Exception):
    """A node cannot run as it is set up: starting it again would not help. One sentence says what would."""


class HomeProblem(SetupProblem):
    """The directory cannot be used; one sentence says why and what to do."""


class NodeHome:
    """An open directory. The lock is held until ``close``, or until the process ends in any way.

    Attributes:
        path: The directory.
        node: The node's id, made at its first start and kept.
    """

    def __init__(
        self,
        path: Path,
        node: NodeId,
        counter: int,
        credentials: dict[str, bytes],
        lock: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.node = node
        self._credentials = credentials
        self._counter = counter
        self._clock = clock
        self._lock = lock

    @classmethod
    def open(cls, path: Path, role: str, *, clock: Callable[[], float] = time.time) -> NodeHome:
        """Lock the directory, and make it and the identity where there are none.

        Args:
            path: The directory.
            role: What the id of a new node begins with.
            clock: Seconds since 1970.

        Raises:
            HomeProblem: Another process has it, or it cannot be read or written.
        """
        try:
            make_private_folder(path)
        except OSError as error:
            raise HomeProblem(
                f"the data directory {path} cannot be used ({error.strerror}): choose another with --data-dir"
            ) from None
        try:
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HomeProblem(f"the lock {path / 'lock'} cannot be opened: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise HomeProblem(
                f"another process runs the node of {path}: stop it, or choose another --data-dir"
            ) from None
        except OSError as error:
            os.close(lock)
            raise HomeProblem(f"the data directory {path} cannot be locked: {error.strerror}") from None
        try:
            node, counter = _read(path / IDENTITY_FILE, role)
            credentials = _read_credentials(path / CREDENTIALS_FILE)
        except HomeProblem:
            os.close(lock)
            raise
        return cls(path, node, counter, credentials, lock, clock)

    def next_incarnation(self) -> Incarnation:
        """Begin a new life of this node, later than every one before.

        Its counter is on disk when this returns. Where it cannot be written (a full disk), a warning is
        logged and the life begins all the same: ``later_counter`` says why the one after it is later, too.
        """
        self._counter = later_counter(self._counter, self._clock())
        identity = _Identity(self.node, self._counter)
        try:
            write_record(self.path / IDENTITY_FILE, identity, durable=True)
        except OSError as error:
            log.warning(
                "node.identity_not_written",
                path=str(self.path / IDENTITY_FILE),
                reason=error.strerror or str(error),
                meaning="it goes on; if it never was written, this is another node after the next start",
            )
        return Incarnation(self._counter, secrets.randbits(64))

    def credential(self, cluster: str) -> bytes:
        """Return the credential that the head of that cluster gave this node; empty if it gave none yet."""
        return self._credentials.get(cluster, b"")

    def keep_credential(self, cluster: str, credential: bytes) -> None:
        """Keep a credential that a head has given: it is on disk when this returns, and used from then on.

        A node that moves between clusters stays the same one in each of the last ``MAX_CLUSTERS``.

        Raises:
            OSError: The file could not be written; what was there is still there, and used.
        """
        others = [(name, kept) for name, kept in self._credentials.items() if name != cluster]
        credentials = dict([*others[1 - MAX_CLUSTERS :], (cluster, credential)])
        document = {name: kept.hex() for name, kept in credentials.items()}
        write_whole(self.path / CREDENTIALS_FILE, json.dumps(document) + "\n", durable=True)
        self._credentials = credentials

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)


def later_counter(kept: int, now: float) -> int:
    """Return the counter of a life that begins now; pure.

    It is higher than the one that was kept, and at least the milliseconds since 1970. What comes after a
    life that could not be written knows nothing of that life's counter, but begins at a later time. So lives
    are in order unless one could not be written and the clock is set back before the next.

    Args:
        kept: The highest counter that is known.
        now: Seconds since 1970.
    """
    return max(kept + 1, int(now * 1000))


@frozen
class _Identity:
    node: str = field(validator=matches_re(r"[\w.-]{1,255}"))
    counter: int = field(validator=[ge(0), le(_MAX_COUNTER)])


def _read(path: Path, role: str) -> tuple[NodeId, int]:
    try:
        kept = read_record(path, _Identity, _MAX_IDENTITY)
    except FileProblem as problem:
        raise HomeProblem(
            f"the node's identity cannot be used: {problem}; move the file away to join as a new node"
        ) from None
    if kept is None:
        return NodeId(f"{role}-{secrets.token_hex(4)}"), 0
    return NodeId(kept.node), kept.counter


def _read_credentials(path: Path) -> dict[str, bytes]:
    try:
        kept = read_record(path, dict[str, str], _MAX_CREDENTIALS) or {}
        return {cluster: bytes.fromhex(credential) for cluster, credential in kept.items()}
    except (FileProblem, ValueError) as problem:
        what = problem if isinstance(problem, FileProblem) else f"{path} holds what is no credential"
        raise HomeProblem(
            f"the node's credentials cannot be used: {what}; put back what was there, "
            f"or move the file and {IDENTITY_FILE} away to join as a new node"
        ) from None

"""A node's own directory: who it is and proves to be, which life this is, and the lock that keeps a live
duplicate out."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from pathlib import Path

from sllm_actors.actors import Incarnation, NodeId

CREDENTIALS_FILE = "credentials.json"
MAX_CLUSTERS = 16

_MAX_IDENTITY = 4096
_MAX_CREDENTIALS = 64 * 1024


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
        self, path: Path, node: NodeId, counter: int, credentials: dict[str, bytes], lock: int
    ) -> None:
        self.path = path
        self.node = node
        self._credentials = credentials
        self._counter = counter
        self._lock = lock

    @classmethod
    def open(cls, path: Path, role: str) -> NodeHome:
        """Lock the directory, and make it and the identity where there are none.

        Raises:
            HomeProblem: Another process has it, or it cannot be read or written.
        """
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HomeProblem(f"the data directory {path} cannot be used: {error.strerror}") from None
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
            node, counter = _read(path / "node.json", role)
            credentials = _read_credentials(path / CREDENTIALS_FILE)
        except HomeProblem:
            os.close(lock)
            raise
        return cls(path, node, counter, credentials, lock)

    def next_incarnation(self) -> Incarnation:
        """Begin a new life: the counter is on disk before this returns.

        Raises:
            OSError: It could not be written; the life must not begin.
        """
        counter = self._counter + 1
        write_private(self.path / "node.json", json.dumps({"node": self.node, "counter": counter}) + "\n")
        self._counter = counter
        return Incarnation(counter, secrets.randbits(64))

    def credential(self, cluster: str) -> bytes:
        """Return what the head of that cluster gave this node to prove that it is this node; empty before."""
        return self._credentials.get(cluster, b"")

    def keep_credential(self, cluster: str, credential: bytes) -> None:
        """Keep what a head has given: it is on disk when this returns, and used from then on.

        A node that moves between clusters stays the same one in each of the last ``MAX_CLUSTERS``.

        Raises:
            OSError: It could not be written; what was there is still there.
        """
        others = [(name, kept) for name, kept in self._credentials.items() if name != cluster]
        credentials = dict([*others[1 - MAX_CLUSTERS :], (cluster, credential)])
        document = {name: kept.hex() for name, kept in credentials.items()}
        write_private(self.path / CREDENTIALS_FILE, json.dumps(document) + "\n")
        self._credentials = credentials

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._lock)


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 so that it is there whole, or as it was, after a crash at any moment."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _read(path: Path, role: str) -> tuple[NodeId, int]:
    try:
        with path.open() as file:
            kept = json.loads(file.read(_MAX_IDENTITY))
        return NodeId(_text(kept["node"])), _count(kept["counter"])
    except FileNotFoundError:
        return NodeId(f"{role}-{secrets.token_hex(4)}"), 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HomeProblem(
            f"the node's identity in {path} cannot be read ({type(error).__name__}: {error}): "
            "move the file away to join as a new node"
        ) from None


def _read_credentials(path: Path) -> dict[str, bytes]:
    try:
        with path.open() as file:
            kept = json.loads(file.read(_MAX_CREDENTIALS))
        return {_text(cluster): bytes.fromhex(credential) for cluster, credential in kept.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise HomeProblem(
            f"the node's credentials in {path} cannot be read ({type(error).__name__}: {error}): "
            "put back what was there, or move the file and node.json away to join as a new node"
        ) from None


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("it names no node")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError("it has no counter")
    return value

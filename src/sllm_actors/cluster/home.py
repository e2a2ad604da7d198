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
from sllm_actors.transport import Credential, KeyPair, decode_credential

from .key_files import new_key, read_key, write_key

log = structlog.get_logger("sllm_actors.home")

IDENTITY_FILE = "node.json"
KEY_FILE = "node.key"
CREDENTIALS_FILE = "credentials.json"
MAX_CLUSTERS = 16
"""Clusters of which a node keeps its credential: those that gave it one last."""

_MAX_IDENTITY = 4096
_MAX_CREDENTIALS = 256 * 1024
_SIZE_IN_0_1 = 32
"""Bytes of a credential of sllm 0.1: random ones, which are of no use any more."""

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
        key: The node's own key pair, made and kept likewise.
    """

    def __init__(
        self,
        path: Path,
        node: NodeId,
        counter: int,
        role: str,
        key: KeyPair,
        credentials: dict[str, Credential],
        lock: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.node = node
        self.key = key
        self._key_is_kept = True
        self._credentials_are_kept = True
        self._role = role
        self._credentials = credentials
        self._counter = counter
        self._clock = clock
        self._lock = lock

    @classmethod
    def open(cls, path: Path, role: str, *, clock: Callable[[], float] = time.time) -> NodeHome:
        """Lock the directory, and make it, the identity and the key where there are none.

        Args:
            path: The directory.
            role: The node's role; the id of a new node begins with it.
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
            identity_is_kept = (path / IDENTITY_FILE).exists()
            key, key_is_kept = _key(path / KEY_FILE, identity_is_kept=identity_is_kept)
            credentials = _read_credentials(path / CREDENTIALS_FILE)
        except HomeProblem:
            os.close(lock)
            raise
        home = cls(path, node, counter, role, key, credentials, lock, clock)
        home._key_is_kept = key_is_kept
        return home

    def next_incarnation(self) -> Incarnation:
        """Begin a new life of this node, later than every one before.

        Its counter is on disk when this returns. Where it cannot be written (a full disk), a warning is
        logged and the life begins all the same: ``later_counter`` says why the one after it is later, too.
        An id is never on disk without the node's key, which nobody else may use it without.
        """
        self._counter = later_counter(self._counter, self._clock())
        identity = _Identity(self.node, self._counter)
        try:
            if not self._key_is_kept:
                write_key(self.path / KEY_FILE, self.key)
                self._key_is_kept = True
            write_record(self.path / IDENTITY_FILE, identity, durable=True)
        except OSError as error:
            log.warning(
                "node.identity_not_written",
                path=str(self.path / IDENTITY_FILE),
                reason=error.strerror or str(error),
                meaning="it goes on; if it never was written, this is another node after the next start",
            )
        return Incarnation(self._counter, secrets.randbits(64))

    def credential(self, cluster: str) -> Credential | None:
        """Return the credential that the head of that cluster gave this node; None if it gave none yet.

        Its ``head_key`` is the only one that this node believes in that cluster.
        """
        return self._credentials.get(cluster)

    def keep_credential(self, cluster: str, credential: Credential) -> None:
        """Keep a credential that a head has given, and use it from now on; it is on disk when this returns.

        A node that moves between clusters stays the same one in each of the last ``MAX_CLUSTERS``.

        Raises:
            ValueError: It is not for this node and its key in that cluster, or is signed by another key than
                that of the credential that is kept. The text says which, as the end of a sentence.
            OSError: The file could not be written: it is used all the same, and can be kept again.
        """
        kept = self._credentials.get(cluster)
        mine = (cluster, self.node, self._role, self.key.public_key)
        if (credential.cluster, credential.node, credential.role, credential.public_key) != mine:
            raise ValueError("it is not for this node and its key")
        if not credential.is_genuine:
            raise ValueError("it is not signed by the head whose key it names")
        if kept is not None and kept.head_key != credential.head_key:
            raise ValueError("it is signed by another key than the one of the head that this node joined")
        if credential == kept and self._credentials_are_kept:
            return
        others = [(name, each) for name, each in self._credentials.items() if name != cluster]
        self._credentials = dict([*others[1 - MAX_CLUSTERS :], (cluster, credential)])
        self._credentials_are_kept = False
        self._write_credentials(self._credentials)
        self._credentials_are_kept = True

    def forget_credential(self, cluster: str) -> None:
        """Forget the credential of a cluster, and with it whom to believe there: it joins as if anew.

        Raises:
            HomeProblem: The file could not be written; what was there is still there, and used.
        """
        if cluster not in self._credentials:
            return
        rest = {name: each for name, each in self._credentials.items() if name != cluster}
        try:
            self._write_credentials(rest)
        except OSError as error:
            raise HomeProblem(
                f"the old head cannot be forgotten, because {self.path / CREDENTIALS_FILE} cannot be written "
                f"({error.strerror}): free some space, and start the node again"
            ) from None
        self._credentials = rest

    def _write_credentials(self, credentials: dict[str, Credential]) -> None:
        document = {name: kept.encode().hex() for name, kept in credentials.items()}
        write_whole(self.path / CREDENTIALS_FILE, json.dumps(document) + "\n", durable=True)

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


def _key(path: Path, *, identity_is_kept: bool) -> tuple[KeyPair, bool]:
    """Return the node's key, and whether it is on disk."""
    try:
        kept = read_key(
            path, f"put back what was there, or move it and {IDENTITY_FILE} away to join as a new node"
        )
        if kept is not None:
            return kept, True
        fresh = new_key()
        write_key(path, fresh)
    except FileProblem as problem:
        raise HomeProblem(f"the node's key cannot be used: {problem}") from None
    except OSError as error:
        if identity_is_kept:  # the next start would have the id, and not the key that it is bound to
            raise HomeProblem(
                f"the node's key {path} cannot be written ({error.strerror}): free some space first"
            ) from None
        return fresh, False
    return fresh, True


def _read_credentials(path: Path) -> dict[str, Credential]:
    try:
        kept = read_record(path, dict[str, str], _MAX_CREDENTIALS) or {}
        encoded = {cluster: bytes.fromhex(text) for cluster, text in kept.items()}
        return {
            cluster: decode_credential(data) for cluster, data in encoded.items() if len(data) != _SIZE_IN_0_1
        }
    except (FileProblem, ValueError) as problem:
        what = problem if isinstance(problem, FileProblem) else f"{path} holds what is no credential"
        raise HomeProblem(
            f"the node's credentials cannot be used: {what}; put back what was there, "
            "or move the file away to join again and believe the head that answers then"
        ) from None

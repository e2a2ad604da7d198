"""Where a worker keeps the sockets, temporary files and logs of its engines."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from sllm_actors.files import make_private_folder

from .identity import ReplicaId, ReplicaKey
from .plan import EnginePaths

LONGEST_SOCKET_PATH = 107
"""The most bytes that Linux allows in the path of a unix socket."""

BELOW_RUNTIME_DIR = len("/t/0123456789abcdef/00000000-0000-0000-0000-000000000000")
"""The most bytes that a socket's path has after the runtime folder: vLLM puts sockets that are named by UUIDs
into its TMPDIR."""


@frozen
class EngineFolders:
    """The folders of one worker.

    Attributes:
        runtime: Has the engines' sockets; a short path, mode 0700.
        tmp: Has one TMPDIR for each engine life; a short path, mode 0700.
        logs: Has one folder for each replica.
    """

    runtime: Path
    tmp: Path
    logs: Path

    def log_of(self, key: ReplicaKey) -> Path:
        """Return the folder of a replica's log: the same for all its engine lives, also after the worker was
        restarted."""
        return self.logs / short_hash(f"{key.uid} {key}")

    def paths_for(self, replica: ReplicaId) -> EnginePaths:
        """Return the paths for one engine life; socket and TMPDIR are new names at each call."""
        name = short_hash(f"{replica.uid} {replica} {secrets.token_hex(8)}")
        return EnginePaths(self.runtime / f"{name}.sock", self.tmp / name, self.log_of(replica.key))

    def remove_empty(self) -> None:
        """Remove the folders ``tmp`` and ``runtime`` if they are empty: a leash may still use them."""
        with suppress(OSError):
            self.tmp.rmdir()
            self.runtime.rmdir()


def open_folders(data_dir: Path) -> EngineFolders:
    """Make the folders of a worker. Blocks on the disk.

    Sockets and TMPDIRs go to ``<data_dir>/run`` or, if that is too long for a socket's path, to a folder of
    this user under the system's folder for temporary files.

    Raises:
        OSError: A folder cannot be made, or belongs to another user.
    """
    runtime = data_dir / "run"
    if len(os.fsencode(runtime)) + BELOW_RUNTIME_DIR > LONGEST_SOCKET_PATH:
        runtime = Path(tempfile.gettempdir()) / f"sllm-{os.getuid()}-{short_hash(str(data_dir))[:8]}"
    folders = EngineFolders(runtime, runtime / "t", data_dir / "logs")
    for folder in (folders.runtime, folders.tmp, folders.logs):
        make_private(folder)
    return folders


def make_private(folder: Path) -> None:
    """Make a folder of mode 0700; one that exists already must belong to this user. Blocks on the disk.

    Raises:
        OSError: The folder cannot be made, or belongs to another user.
    """
    make_private_folder(folder)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else: give another data directory")
    folder.chmod(0o700)


def short_hash(text: str) -> str:
    """Return a hash of a text: 16 hexadecimal digits."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

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
"""Bytes of a unix socket's path, as Linux has it."""

BELOW_RUNTIME_DIR = len("/t/0123456789abcdef/00000000-0000-0000-0000-000000000000")
"""What the longest socket's path has behind that folder: vLLM names its own in its TMPDIR by UUIDs."""


@frozen
class EngineFolders:
    """The folders of one worker.

    Attributes:
        runtime: Sockets; short, mode 0700.
        tmp: Private TMPDIRs; short, mode 0700.
        logs: One folder for each replica.
    """

    runtime: Path
    tmp: Path
    logs: Path

    def log_of(self, key: ReplicaKey) -> Path:
        """Return the folder of a replica's log: the same over its lives, and over those of the worker."""
        return self.logs / short_hash(str(key))

    def paths_for(self, replica: ReplicaId) -> EnginePaths:
        """Return fresh names for one engine life."""
        name = short_hash(f"{replica} {secrets.token_hex(8)}")
        return EnginePaths(self.runtime / f"{name}.sock", self.tmp / name, self.log_of(replica.key))

    def remove_empty(self) -> None:
        """Remove the folders of sockets and temporary files; one that a leash still cleans stays."""
        with suppress(OSError):
            self.tmp.rmdir()
            self.runtime.rmdir()


def open_folders(data_dir: Path) -> EngineFolders:
    """Make the folders of a worker. Blocks.

    Sockets and TMPDIRs go to ``<data_dir>/run`` or, if that is too long for a socket's path, to a folder of
    our user under the system's folder for temporary files.

    Raises:
        OSError: A folder cannot be made, or is somebody else's.
    """
    runtime = data_dir / "run"
    if len(os.fsencode(runtime)) + BELOW_RUNTIME_DIR > LONGEST_SOCKET_PATH:
        runtime = Path(tempfile.gettempdir()) / f"sllm-{os.getuid()}-{short_hash(str(data_dir))[:8]}"
    folders = EngineFolders(runtime, runtime / "t", data_dir / "logs")
    for folder in (folders.runtime, folders.tmp, folders.logs):
        make_private(folder)
    return folders


def make_private(folder: Path) -> None:
    """Make a folder of mode 0700, or make sure that the one that is there is ours. Blocks.

    Raises:
        OSError: It cannot be made, or is somebody else's.
    """
    make_private_folder(folder)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else: give another data directory")
    folder.chmod(0o700)


def short_hash(text: str) -> str:
    """Return 16 hexadecimal digits that stand for a text."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

"""A short, private directory for sockets: a unix socket's path may have 107 characters only."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path


def runtime_dir(owner: Path) -> Path:
    """Make (mode 0700) and return the directory that belongs to a node's own directory, the same each time.

    Raises:
        OSError: It cannot be made, or somebody else has put something there.
    """
    top = os.environ.get("XDG_RUNTIME_DIR")
    parent = Path(top) if top and len(top) <= 32 and os.access(top, os.W_OK) else Path("/tmp")  # noqa: S108
    digest = hashlib.sha256(str(owner.resolve()).encode()).hexdigest()[:12]
    path = parent / f"sllm-{os.getuid()}-{digest}"
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise PermissionError(13, f"{path} belongs to somebody else: remove it", str(path))
    path.chmod(0o700)
    return path

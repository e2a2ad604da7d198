"""The user's home directory and what depends on it: the default data directory, and paths with ``~``."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, MutableMapping
from pathlib import Path

_NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")  # as getpass.getuser reads them


class NoHome(Exception):
    """A home directory is needed and is not known; one sentence says what to do."""


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Return the data directory of this user's nodes where none is named.

    It is ``$XDG_DATA_HOME/sllm`` if that variable holds an absolute path, else ``~/.local/share/sllm``.

    Raises:
        NoHome: HOME is not set, and the system has no entry for this user, as in a container that runs under
            an arbitrary user id.
    """
    top = Path(environ.get("XDG_DATA_HOME", ""))
    return (top if top.is_absolute() else _home(environ) / ".local" / "share") / "sllm"


def absolute(path: Path) -> Path:
    """Return a path as an absolute one, with ``~`` or ``~NAME`` at its beginning replaced.

    Raises:
        NoHome: That home directory is not known.
    """
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise NoHome(f"{path} begins in a home that is not known: give it in full") from None


def complete_user(environ: MutableMapping[str, str], folder: Path) -> None:
    """Set ``HOME`` and ``USER`` where they are missing and the system has no entry for this user.

    Without them, engines fail (PyTorch asks for the user's name) or write to a folder named ``~``.

    Args:
        environ: The environment of this process, which engines inherit; changed in place.
        folder: What ``HOME`` is set to.
    """
    if _known() is not None:
        return
    if not environ.get("HOME"):
        environ["HOME"] = str(folder)
    if not any(environ.get(name) for name in _NAMES):
        environ["USER"] = f"uid-{os.getuid()}"


def _home(environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME") or _known()
    if not home:
        raise NoHome(
            f"no home directory is known of user {os.getuid()}: name a folder to keep things in with "
            "--data-dir, or set SLLM_DATA_DIR or HOME"
        )
    return Path(home)


def _known() -> str | None:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return None

"""Paths that a person gives or leaves out: where their home is, and what is in it unless told otherwise."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, MutableMapping
from pathlib import Path

_NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


class NoHome(Exception):
    """A path begins in a home that nobody knows; one sentence says what to do."""


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Return where this user's nodes keep their state unless told otherwise.

    Raises:
        NoHome: HOME is not set and the system does not know this user, as in a container that was given any
            number for one.
    """
    top = Path(environ.get("XDG_DATA_HOME", ""))
    return (top if top.is_absolute() else _home(environ) / ".local" / "share") / "sllm"


def absolute(path: Path) -> Path:
    """Return a path absolute, ``~`` and ``~NAME`` at its beginning replaced.

    Raises:
        NoHome: There is no such home.
    """
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise NoHome(f"{path} begins in a home that is not known: give it in full") from None


def complete_user(environ: MutableMapping[str, str], folder: Path) -> None:
    """Give programs what they look for where the system does not know this user: a HOME and a name.

    Engines would fail without (PyTorch asks for the user's name), or write to a folder named ``~``.

    Args:
        environ: Of this process, and of those that it starts.
        folder: The home, where none is set.
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

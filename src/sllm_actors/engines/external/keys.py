"""The key of an external server, read where it is used: no deployment, report or log contains it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import anyio
from attrs import define, field

from sllm_actors.disk import Disk, DiskSilent

from .access import ServerAccess

LARGEST_FILE = 8192
"""The most bytes that the file of a key may have."""

FRESH_SECONDS = 5.0
"""Seconds for which a key is used before it is read again: a new key in the file is noticed after these."""

PATIENCE = 3.0
"""Seconds that the disk with a key's file gets to answer."""

_KEY = re.compile(r"[!-~]+")


class KeyProblem(Exception):
    """A key is missing, or cannot be one. The text is one sentence for a person that shows nothing of it."""


def read_key(
    access: ServerAccess, place: str = "this worker", environment: Mapping[str, str] = os.environ
) -> str:
    """Return the key of a server, or "" if it needs none. Reads the disk: call it in a thread.

    Args:
        access: Names the variable or file.
        place: The node that reads it, as the sentence of a ``KeyProblem`` calls it.
        environment: The environment variables of this process.

    Raises:
        KeyProblem: The key is missing, or cannot be sent in a header.
    """
    if access.key_env:
        key, where = environment.get(access.key_env, ""), f"the environment variable {access.key_env}"
        if not key.strip():
            raise KeyProblem(f"{where}, which api_key_env names, is not set on {place}")
    elif access.key_file:
        key, where = _read(Path(access.key_file), place), f"the file {access.key_file} of {place}"
    else:
        return ""
    if not _KEY.fullmatch(key.strip()):
        raise KeyProblem(f"{where} does not hold a key: one word of visible ASCII characters")
    return key.strip()


def _read(path: Path, place: str) -> str:
    which = f"the file {path}, which api_key_file names,"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO never blocks
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise KeyProblem(f"{which} is not a file")
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise KeyProblem(f"{which} cannot be read on {place}: {error.strerror}") from None
    if len(content) > LARGEST_FILE:
        raise KeyProblem(f"{which} has more than {LARGEST_FILE} bytes: that is no key")
    return content.decode("utf-8-sig", "replace")


@define
class Keys:
    """Reads the keys of servers, and caches each for ``FRESH_SECONDS``.

    While the disk with a key's file does not answer, the key that was read last is used.

    Attributes:
        place: The node that reads them, as the sentence of a ``KeyProblem`` calls it.
        disk: Reads the files; a disk that does not answer is given up.
    """

    place: str
    disk: Disk = field(factory=Disk)
    _known: dict[tuple[str, str], tuple[float, str]] = field(factory=dict, repr=False)

    async def of(self, access: ServerAccess) -> str:
        """Return the key of a server, or "" if it needs none.

        Raises:
            KeyProblem: See ``read_key``; or the disk does not answer, and no key was read before.
        """
        which = (access.key_env, access.key_file)
        if which == ("", ""):
            return ""
        read_at, key = self._known.get(which, (0.0, ""))
        if not key or anyio.current_time() - read_at > FRESH_SECONDS:
            try:
                read = partial(read_key, access, self.place)
                key = await self.disk.run(access.key_file, read, patience=PATIENCE)
            except KeyProblem:
                self._known.pop(which, None)
                raise
            except DiskSilent as silent:
                if not key:
                    raise KeyProblem(str(silent)) from None
            self._known[which] = (anyio.current_time(), key)
        return key

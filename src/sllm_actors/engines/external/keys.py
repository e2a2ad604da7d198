"""The key of an external server, read where it is used: it is in no deployment, no report and no log."""

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

FRESH_SECONDS = 5.0
"""A key that was read so recently is used again: a file that is written anew is noticed in that time."""

PATIENCE = 3.0
"""Seconds that the disk of a key's file gets to answer."""

_KEY = re.compile(r"[!-~]+")


class KeyProblem(Exception):
    """A key is not there, or is none. One sentence for a person, without anything of the key."""


def read_key(
    access: ServerAccess, place: str = "this worker", environment: Mapping[str, str] = os.environ
) -> str:
    """Return the key of a server, or "" where it has none. Reads the disk: call it in a thread.

    Args:
        place: Where that is, for the sentence of a problem.

    Raises:
        KeyProblem: It is not there, or cannot be sent in a header.
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
    """Reads keys, each at most once in ``FRESH_SECONDS``.

    While the disk of a key's file does not answer, the last key that was read there goes on being used.

    Attributes:
        place: Where that is, for the sentence of a problem.
        disk: What reads them.
    """

    place: str
    disk: Disk = field(factory=Disk)
    _known: dict[tuple[str, str], tuple[float, str]] = field(factory=dict, repr=False)

    async def of(self, access: ServerAccess) -> str:
        """Return the key of a server, or "".

        Raises:
            KeyProblem: See ``read_key``.
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

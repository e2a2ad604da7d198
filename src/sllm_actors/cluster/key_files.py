"""Private keys on disk: PEM files of mode 0600."""

from __future__ import annotations

import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from sllm_actors.files import FileProblem, read_bytes, write_whole
from sllm_actors.transport import SEED_SIZE, KeyPair

_MAX_KEY: Final = 4096  # bytes


def new_key() -> KeyPair:
    """Return a key that nobody has."""
    return KeyPair.from_seed(secrets.token_bytes(SEED_SIZE))


def read_key(path: Path, remedy: str) -> KeyPair | None:
    """Return the key in a file, or None where there is no file. Blocks.

    Args:
        path: The file.
        remedy: What to do when what is there is no key, for the sentence of the problem.

    Raises:
        FileProblem: What is there is no key, or every user of this machine can open it.
    """
    try:
        text = read_bytes(path, _MAX_KEY)
        key = None if text is None else KeyPair.from_pem(text)
    except FileProblem as problem:
        raise FileProblem(path, f"{problem.reason}: {remedy}") from None
    except ValueError as error:
        raise FileProblem(path, f"{error}: {remedy}") from None
    if key is not None and path.stat().st_mode & stat.S_IRWXO:  # a group may be there for it
        raise FileProblem(path, "can be got at by every user of this machine: chmod 600 it")
    return key


def write_key(path: Path, key: KeyPair) -> None:
    """Write a key to a file that must not be there. Blocks.

    Raises:
        FileExistsError: There is one: somebody else has just made it.
        OSError: It cannot be written.
    """
    write_whole(path, key.to_pem(), durable=True, replace=False)


def read_or_make_key(path: Path, remedy: str) -> tuple[KeyPair, bool]:
    """Return the key in a file, and whether it was made now because there was no file.

    Where two make it at the same time, both get the same key. Raises as ``read_key`` and ``write_key`` do.
    """
    kept = read_key(path, remedy)
    if kept is not None:
        return kept, False
    fresh = new_key()
    with suppress(FileExistsError):
        write_key(path, fresh)
    return read_key(path, remedy) or fresh, True

"""``api-keys.json``: the head's API keys once more, in a file, for when its database is lost. See ``beside``.

It holds digests, as the database does, and no keys. No worker knows them: without the file, all who have keys
would be refused until each has a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from attrs import frozen
from sqlalchemy.engine import Connection

from sllm_actors.files import FileProblem

from . import schema
from .beside import FileBeside, list_of, read_beside
from .records import ApiKeyRecord, JournalEntry
from .writes import DropApiKey, PutApiKey, StoreWrite

KEYS_FILE: Final = "api-keys.json"

KEYS: Final = "API keys"
"""What the file holds."""

LONGEST: Final = 64
"""Characters of a name, and of a digest."""


@frozen
class KeysFile:
    """The content of the file.

    Attributes:
        format: The number of this form of the file.
        program: The version of sllm_actors that wrote it.
        written: When it was written, in seconds since the epoch.
        keys: In the order of their names.
    """

    format: int
    program: str
    written: float
    keys: tuple[ApiKeyRecord, ...] = ()


def keys_file(folder: Path) -> FileBeside:
    """Return the file of a folder."""
    return FileBeside(folder / KEYS_FILE, KEYS, _change_keys, _lines)


def read_keys_file(path: Path) -> KeysFile | None:
    """Return what the file holds, or None where it is not there; a damaged one is put aside with a warning.

    Raises:
        StoreProblem: It was written by a later version, or cannot be moved aside.
    """

    def check(found: KeysFile) -> None:
        for each in found.keys:
            if not (0 < len(each.name) <= LONGEST and 0 < len(each.digest) <= LONGEST and each.share > 0):
                raise FileProblem(
                    path, f"holds something else than it should (the key {each.name[:LONGEST]})"
                )

    meaning = "the database is new, and has no API keys: those that people have are refused"
    return read_beside(path, KeysFile, check, without=KEYS, meaning=meaning)


def recovered(found: KeysFile, now: float) -> list[JournalEntry]:
    """Return what the journal tells of keys that are taken back from the file; ``now`` is the time."""
    end = f"is taken back from {KEYS_FILE}: the database was not there"
    return [
        JournalEntry(
            at=now,
            subject=each.name,
            kind="key.recovered",
            sentence=f"the key {each.name}, with the share {each.share:g}, {end}",
            number=int(now * 1_000_000) + index,
        )
        for index, each in enumerate(found.keys)
    ]


def _change_keys(writes: Iterable[StoreWrite]) -> bool:
    return any(isinstance(write, PutApiKey | DropApiKey) for write in writes)


def _lines(connection: Connection) -> Iterator[str]:
    return list_of(connection, schema.API_KEYS, "keys")

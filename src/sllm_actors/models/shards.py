"""Weights in several files, named like ``model-00001-of-00003.gguf``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import frozen

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")


@frozen
class Shard:
    """One file of a set.

    Attributes:
        stem: The common beginning of the set's names.
        number: Which file of the set it is, from 1 to ``count``.
        count: How many files the set has.
        suffix: The end of the names, with its dot.
    """

    stem: str
    number: int
    count: int
    suffix: str

    @property
    def first(self) -> str:
        """The name of the first file of the set."""
        return self._name(1)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all files of the set."""
        return tuple(self._name(number) for number in range(1, self.count + 1))

    def _name(self, number: int) -> str:
        return f"{self.stem}-{number:05}-of-{self.count:05}{self.suffix}"


def shard_of(name: str) -> Shard | None:
    """Read a file's name; None where it is not that of one of several files."""
    found = _SHARD.fullmatch(name)
    if found is None or not 1 <= int(found["number"]) <= int(found["count"]):
        return None
    return Shard(found["stem"], int(found["number"]), int(found["count"]), found["suffix"])


def missing_shards(names: Iterable[str]) -> list[str]:
    """Return the names of the files that are missing from sets of which at least one file is there."""
    there = set(names)
    sets = {shard.names for name in there if (shard := shard_of(name)) is not None}
    return sorted(name for each in sets for name in each if name not in there)

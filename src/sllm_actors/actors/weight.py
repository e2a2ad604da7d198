"""An estimate, cheap enough for every message, of how much memory a message keeps alive."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from operator import attrgetter
from typing import Any, Final, TypeAlias

import attrs

PLAIN: Final = 64
"""What anything weighs that holds no text, bytes or collection."""

DEEPEST: Final = 4
WIDEST: Final = 256
"""Levels, and items of a collection, that are looked at; further items count as ``PLAIN`` each."""

NUMBERS: Final = frozenset({int, float, bool, None, "int", "float", "bool", "None"})
"""Annotations of fields that hold no data: those fields are not looked at."""

Scale: TypeAlias = Callable[[Any, int], int]
"""Returns what a message of its class weighs beyond ``PLAIN``, given the levels left."""


def weigh(message: Any, depth: int = DEEPEST) -> int:
    """Return about how many bytes the message holds, never less than ``PLAIN``.

    Counts the length of text, bytes and buffers, in attrs fields, lists, tuples, sets and dicts too;
    everything else is ``PLAIN``. A class is looked at once: after that, fields that are declared as numbers
    cost nothing.
    """
    scale = _SCALES[message.__class__]
    return PLAIN if scale is None or depth == 0 else PLAIN + scale(message, depth)


class _Scales(dict[type, Scale | None]):
    def __missing__(self, cls: type) -> Scale | None:
        scale = self[cls] = _scale_of(cls)
        return scale


class _Parts(dict[type, Callable[[Any], Any]]):
    def __missing__(self, cls: type) -> Callable[[Any], Any]:
        part = self[cls] = _part_of(cls)
        return part


_SCALES: Final = _Scales()

PARTS: Final = _Parts()
"""For each class of messages, a function that returns the one part of a message that has a weight.

Where that part is text or bytes, the message weighs ``PLAIN`` and its length; for any other, ask ``weigh``.
"""


def _data_fields(cls: type) -> list[str]:
    return [each.name for each in attrs.fields(cls) if each.type not in NUMBERS]


def _part_of(cls: type) -> Callable[[Any], Any]:
    if not attrs.has(cls):
        return _itself
    names = _data_fields(cls)
    return attrgetter(names[0]) if len(names) == 1 else _itself


def _itself(message: Any) -> Any:
    return message


def _scale_of(cls: type) -> Scale | None:
    if attrs.has(cls):
        return _scale_of_fields(_data_fields(cls))
    if issubclass(cls, str | bytes | bytearray):
        return _length
    if issubclass(cls, memoryview):
        return _nbytes
    if issubclass(cls, dict):
        return lambda message, depth: _some(message, depth) + _some(message.values(), depth)
    if issubclass(cls, list | tuple | set | frozenset):
        return _some
    return None


def _scale_of_fields(names: list[str]) -> Scale | None:
    if not names:
        return None
    if len(names) == 1:
        only = attrgetter(names[0])
        return lambda message, depth: _sum((only(message),), depth)
    read = attrgetter(*names)
    return lambda message, depth: _sum(read(message), depth)


def _length(message: str | bytes | bytearray, _depth: int) -> int:
    return len(message)


def _nbytes(message: memoryview, _depth: int) -> int:
    return message.nbytes


def _sum(values: Iterable[Any], depth: int) -> int:
    total = 0
    for value in values:
        kind = value.__class__
        if kind is str or kind is bytes:
            total += len(value)
        elif kind is not int and kind is not float and kind is not bool and value is not None:
            total += weigh(value, depth - 1)
    return total


def _some(message: Any, depth: int) -> int:
    beyond = len(message) - WIDEST
    if beyond <= 0:
        return _sum(message, depth) + len(message) * 8
    return _sum(islice(message, WIDEST), depth) + WIDEST * 8 + beyond * PLAIN

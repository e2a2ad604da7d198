"""An estimate, cheap enough for every message, of how much memory a message keeps alive."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from math import gcd
from operator import attrgetter
from typing import Any, Final, TypeAlias

import attrs

PLAIN: Final = 64
"""Bytes that anything weighs which holds no text, bytes or collection."""

WIDEST: Final = 512
"""Items of a collection that are looked at; of a longer one an even sample is, and stands for the rest."""

SHARE: Final = 2**16
"""About how many parts of one message are looked at, whatever its shape: each part gets a share of them."""

UNSEEN: Final = 1024
"""Bytes that a part is taken to weigh when no share is left to look at it: it may hold anything."""

NUMBERS: Final = frozenset({int, float, bool, None, "int", "float", "bool", "None"})
"""Annotations of fields that hold no data: those fields are not looked at."""

TEXTS: Final = frozenset({str, bytes, "str", "bytes"})
"""Annotations of fields that weigh their length."""

Scale: TypeAlias = Callable[[Any, int], int]
"""Returns what a message of its class weighs beyond ``PLAIN``, given the share that is left for its parts."""


def weigh(message: Any, share: int = SHARE) -> int:
    """Return about how many bytes the message holds, never less than ``PLAIN``.

    Counts the length of text, bytes and buffers, in attrs fields, lists, tuples, sets and dicts too;
    everything else is ``PLAIN``. A class is looked at once: after that, fields that are declared as numbers
    cost nothing. An estimate against accidents, not against enemies: the wire has bounds of its own.
    """
    scale = _SCALES[message.__class__]
    return PLAIN if scale is None else PLAIN + scale(message, share)


class _Scales(dict[type, Scale | None]):
    def __missing__(self, cls: type) -> Scale | None:
        scale = self[cls] = _scale_of(cls)
        WEIGHERS[cls] = _weigher_of(cls)
        return scale


_SCALES: Final = _Scales()

WEIGHERS: Final[dict[type, Callable[[Any], int]]] = {}
"""The function that weighs messages of a class, once one of them was weighed: ``weigh``, or a faster one."""


def _data_fields(cls: type) -> list[str]:
    return [each.name for each in attrs.fields(cls) if each.type not in NUMBERS]


def _weigher_of(cls: type) -> Callable[[Any], int]:
    names = _data_fields(cls) if attrs.has(cls) else []
    declared = {each.name: each.type for each in attrs.fields(cls)} if names else {}
    if not names or any(declared[name] not in TEXTS for name in names):
        return weigh
    # Compiled, as attrs compiles methods of a class: a getter and a check for each field would cost a local
    # tell a fifth of its time. What is no text after all has no length, and is left to ``weigh``.
    lengths = " + ".join(f"len(message.{name})" for name in names)
    weigher: Callable[[Any], int] = eval(f"lambda message: {PLAIN} + {lengths}")  # noqa: S307 - field names
    return weigher


def _scale_of(cls: type) -> Scale | None:
    if attrs.has(cls):
        return _scale_of_fields(_data_fields(cls))
    if issubclass(cls, str | bytes | bytearray):
        return _length
    if issubclass(cls, memoryview):
        return _nbytes
    if issubclass(cls, dict):
        return lambda message, share: _some(message, share) + _some(message.values(), share)
    if issubclass(cls, list | tuple | set | frozenset):
        return _some
    return None


def _scale_of_fields(names: list[str]) -> Scale | None:
    if not names:
        return None
    if len(names) == 1:
        only = attrgetter(names[0])
        return lambda message, share: _sum((only(message),), share >> 1)
    read = attrgetter(*names)
    return lambda message, share: _sum(read(message), share >> 1)


def _length(message: str | bytes | bytearray, _share: int) -> int:
    return len(message)


def _nbytes(message: memoryview, _share: int) -> int:
    return message.nbytes


def _sum(values: Iterable[Any], share: int) -> int:
    total = 0
    for value in values:
        kind = value.__class__
        if kind is str or kind is bytes:
            total += len(value)
        elif kind is not int and kind is not float and kind is not bool and value is not None:
            total += weigh(value, share) if share else UNSEEN
    return total


def _some(message: Any, share: int) -> int:
    length = len(message)
    if length <= WIDEST and length <= share:
        return _sum(message, share // (2 * length or 1)) + length * 8
    step = length // min(WIDEST, share) + 1
    while gcd(step, 210) > 1:  # so that what repeats every 2, 3, 5 or 7 items is seen in each of its phases
        step += 1
    sample = message[::step] if isinstance(message, list | tuple) else islice(message, 0, None, step)
    looked_at = (length + step - 1) // step
    return _sum(sample, share // (2 * looked_at)) * length // looked_at + length * 8

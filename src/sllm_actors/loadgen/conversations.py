"""Real conversations from a file of ShareGPT's format: what their people said, and nothing of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from .problem import LoadProblem

LARGEST: Final = 2 * 2**30
"""Bytes that a file may have."""

PEOPLE: Final = frozenset({"human", "user"})


class _Said(msgspec.Struct):
    who: Any = msgspec.field(name="from", default=None)
    value: Any = None


class _Conversation(msgspec.Struct):
    conversations: list[_Said] = []


def read_conversations(path: Path) -> Sequence[Sequence[str]]:
    """Return what the person of each conversation said, turn by turn.

    Raises:
        LoadProblem: The file cannot be read, or is not of that format.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise LoadProblem(f"{path} is larger than 2 GiB")
        found = msgspec.json.decode(path.read_bytes(), type=list[_Conversation])
    except OSError as error:
        raise LoadProblem(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LoadProblem(f"{path} is no file of ShareGPT's format: {error}") from None
    spoken = [
        [each.value for each in one.conversations if each.who in PEOPLE and _is_text(each.value)]
        for one in found
    ]
    kept = [each for each in spoken if each]
    if not kept:
        raise LoadProblem(f"{path} has no conversation in which a person says something")
    return kept


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())

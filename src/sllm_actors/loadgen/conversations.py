"""Real conversations from a file of ShareGPT's format: what their people said, and nothing of the answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from attrs import frozen

from .problem import LoadProblem

LARGEST: Final = 2 * 2**30
"""Bytes that a file may have."""

PEOPLE: Final = frozenset({"human", "user"})


_GAP: Final = re.compile(r"\s*[\[,]\s*")


class _Said(msgspec.Struct):
    who: Any = msgspec.field(name="from", default=None)
    value: Any = None


class _Conversation(msgspec.Struct):
    conversations: list[_Said] = []


@frozen
class Conversations:
    """Those of a file.

    Attributes:
        said: What the person of each conversation said, turn by turn.
        cut_short: Whether the file ends in the middle of one, as one that was not copied to its end does.
    """

    said: Sequence[Sequence[str]]
    cut_short: bool = False


def read_conversations(path: Path) -> Conversations:
    """Read a file; of one that is cut short, the conversations that are whole.

    Raises:
        LoadProblem: The file cannot be read, or is not of that format.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise LoadProblem(f"{path} is larger than 2 GiB")
        content = path.read_bytes()
        found, cut_short = _decode(content)
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
    return Conversations(kept, cut_short)


def _decode(content: bytes) -> tuple[list[_Conversation], bool]:
    """Return the conversations, and whether the content is cut short.

    Raises:
        msgspec.DecodeError: It is not of the format.
        UnicodeDecodeError: It is no UTF-8.
    """
    try:
        return msgspec.json.decode(content, type=list[_Conversation]), False
    except msgspec.DecodeError as error:
        if isinstance(error, msgspec.ValidationError) or "truncated" not in str(error):
            raise
        found = msgspec.convert([*_whole(content.decode(errors="ignore"))], type=list[_Conversation])
        if not found:
            raise
        return found, True


def _whole(text: str) -> Iterator[Any]:
    """Yield those values of an array of JSON that are whole."""
    decode, place = json.JSONDecoder().raw_decode, 0
    while (gap := _GAP.match(text, place)) is not None:
        try:
            value, place = decode(text, gap.end())
        except (ValueError, RecursionError):
            return
        yield value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())

"""Traces with an object of JSON on each line: Mooncake and Qwen Bailian. Pure.

Both say what prompts are made of: numbers of blocks, so that prompts that began alike still do.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from .row import TraceRow, WrongLine

MOONCAKE_BLOCK: Final = 512
BAILIAN_BLOCK: Final = 16


class _Object(msgspec.Struct):
    timestamp: float
    input_length: int
    output_length: int
    hash_ids: list[int] = []
    chat_id: Any = None
    type: str | None = None


_decode = msgspec.json.Decoder(_Object).decode


def object_row(line: str) -> TraceRow:
    """Read one line. An object with a ``chat_id`` is Bailian's: its time is in seconds, its blocks have 16
    tokens. One without is Mooncake's: its time is in milliseconds, its blocks have 512.

    Raises:
        WrongLine: It is none.
    """
    try:
        found = _decode(line)
    except msgspec.ValidationError as error:
        raise WrongLine(f"it is no request of Mooncake's or Bailian's: {error}") from None
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise WrongLine("it is no object of JSON") from None
    if not 0 <= found.timestamp < 1e15 or min(found.input_length, found.output_length) < 0:
        raise WrongLine("its time and its numbers of tokens should be 0 or more")
    bailian = found.chat_id is not None
    return TraceRow(
        found.timestamp if bailian else found.timestamp / 1000,
        found.type if bailian else None,
        found.input_length,
        found.output_length,
        tuple(found.hash_ids),
        BAILIAN_BLOCK if bailian else MOONCAKE_BLOCK,
    )

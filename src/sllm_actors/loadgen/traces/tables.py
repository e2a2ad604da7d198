"""Traces in CSV with a header: Azure's LLM inference traces of 2023 and 2024, and BurstGPT. Pure."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from datetime import UTC, datetime

from attrs import frozen

from .row import TraceRow, WrongLine

AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
BURSTGPT = ("Timestamp", "Model", "Request tokens", "Response tokens")


def cells_of(line: str) -> list[str]:
    """Return the cells of one line of CSV; a cell has no line breaks in it."""
    return next(csv.reader([line.strip("\r\n")]), [])


def whole(text: str, what: str) -> int:
    """Read a number of tokens.

    Raises:
        WrongLine: It is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < 1e9 or number != int(number):
        raise WrongLine(f"{what} should be a number of tokens, not {text[:40]!r}")
    return int(number)


@frozen
class Azure:
    """``TIMESTAMP,ContextTokens,GeneratedTokens``: a date and a time, and two numbers."""

    width: int

    def row(self, line: str) -> TraceRow:
        """Read one line.

        Raises:
            WrongLine: It is none.
        """
        cells = cells_of(line)
        if len(cells) != self.width:
            raise WrongLine(f"it should have {self.width} fields, not {len(cells)}")
        return TraceRow(_time(cells[0]), None, whole(cells[1], AZURE[1]), whole(cells[2], AZURE[2]))


@frozen
class BurstGpt:
    """``Timestamp,[Session ID,Elapsed time,]Model,Request tokens,Response tokens,Total tokens,Log Type``.

    Requests without an answer failed; they are left out.
    """

    columns: tuple[str, ...]

    def row(self, line: str) -> TraceRow | None:
        """Read one line; None for a request that has no answer.

        Raises:
            WrongLine: It is none.
        """
        cells = cells_of(line)
        if len(cells) != len(self.columns):
            raise WrongLine(f"it should have {len(self.columns)} fields, not {len(cells)}")
        found = dict(zip(self.columns, cells, strict=True))
        answer = whole(found[BURSTGPT[3]], BURSTGPT[3])
        at = seconds(found[BURSTGPT[0]])
        prompt = whole(found[BURSTGPT[2]], BURSTGPT[2])
        return TraceRow(at, found["Model"] or None, prompt, answer) if answer else None


def table_of(header: str) -> Azure | BurstGpt | None:
    """Return how the lines below a header are read, or None for a header of neither kind."""
    columns: Sequence[str] = [each.strip() for each in cells_of(header.lstrip("\ufeff"))]
    if tuple(columns[:3]) == AZURE:
        return Azure(len(columns))
    if columns[:1] == ["Timestamp"] and set(BURSTGPT) <= set(columns):
        return BurstGpt(tuple(columns))
    return None


def seconds(text: str) -> float:
    """Read a time in seconds.

    Raises:
        WrongLine: It is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < 1e12:
        raise WrongLine(f"its time should be a number of seconds, not {text[:40]!r}")
    return number


def _time(text: str) -> float:
    whole_seconds, point, rest = text.strip().partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    exact = f"{whole_seconds}{point}{rest[: min(digits, 6)].ljust(6, '0') if point else ''}{rest[digits:]}"
    try:
        found = datetime.fromisoformat(exact)
    except ValueError:
        raise WrongLine(f"its time should be like 2023-11-16 18:17:03.97, not {text[:40]!r}") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()

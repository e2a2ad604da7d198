"""Reads a trace of any of the formats: a file, or a folder of ServeGen's."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, dropwhile, takewhile
from pathlib import Path
from typing import Final, TypeVar

from sllm_actors.loadgen.problem import LoadProblem

from .objects import object_row
from .row import TraceRow, WrongLine
from .servegen import RateWindow, client_arrivals, looks_like
from .tables import table_of

Row = TypeVar("Row")

MOST_ROWS: Final = 2_000_000
"""Requests that are taken from a trace: they are kept in memory, to be put in order."""

LONGEST_LINE: Final = 4 * 2**20
"""Characters of a line."""

KNOWN: Final = "Azure's of 2023 and 2024, BurstGPT, Mooncake, Qwen Bailian and ServeGen"


class TraceProblem(LoadProblem):
    """A file is no trace; the text is one sentence that names the file and the line."""

    def __init__(self, name: str, line: int, why: str) -> None:
        super().__init__(f"{name}, line {line}: {why}")


def read_trace(path: Path, *, begin: float, end: float | None, seed: int) -> Iterator[TraceRow]:
    """Return the requests of a trace in the order of their times, which count from ``begin``.

    A file is read whole, and checked, before the first request is returned.

    Args:
        path: A file, or a folder of ServeGen's with a file ``client-N.csv`` for each client.
        begin: Seconds of the trace that are left out at its beginning.
        end: Seconds of the trace, from its beginning, after which the rest is left out; None: nothing.
        seed: For the times of ServeGen's, which are drawn.

    Raises:
        TraceProblem: A line is not of its format.
        LoadProblem: The file cannot be read, is no trace, or has no request in that time.
    """
    if path.is_dir():
        files = sorted(path.glob("client-*.csv"), key=lambda each: (len(each.name), each.name))
        if not files:
            raise LoadProblem(f"{path} has no file client-N.csv in it, as ServeGen's folders have")
    else:
        files = [path]
        lines = _lines(path)
        first = next(lines, "")
        if not looks_like(first):
            rows = _requests(path, first, lines, begin, end)
            if not rows:
                raise LoadProblem(f"{path} has no request in that time")
            return iter(rows)
    clients = [
        _client(each.stem, _parsed(each, _lines(each), RateWindow.parse, 1), f"{seed}/{each.stem}")
        for each in files
    ]
    merged = heapq.merge(*clients, key=lambda each: each.at)
    found: Iterator[TraceRow] = dropwhile(lambda each: each.at < begin, merged)
    if end is not None:
        found = takewhile(lambda each: each.at < end, found)
    shifted = (TraceRow(each.at - begin, each.model, None, None) for each in found)
    head = next(shifted, None)
    if head is None:
        raise LoadProblem(f"{path} has no request in that time")
    return chain([head], shifted)


def _client(name: str, windows: Iterable[RateWindow], seed: str) -> Iterator[TraceRow]:
    known = list(windows)
    chance = random.Random(seed)  # noqa: S311 - nothing is kept secret by it
    return (TraceRow(at, name, None, None) for at in client_arrivals(known, chance))


def _requests(
    path: Path, first: str, lines: Iterator[str], begin: float, end: float | None
) -> list[TraceRow]:
    if first.lstrip("\ufeff").startswith("{"):
        parsed = _parsed(path, chain([first], lines), object_row, 1)
    elif (table := table_of(first)) is not None:
        parsed = _parsed(path, lines, table.row, 2)
    else:
        raise TraceProblem(str(path), 1, f"it begins like none of the traces that are known: {KNOWN}")
    rows: list[TraceRow] = []
    origin: float | None = None
    for row in parsed:
        origin = row.at if origin is None else origin
        at = max(0.0, row.at - origin)
        if at >= begin and (end is None or at < end):
            if len(rows) >= MOST_ROWS:
                raise LoadProblem(
                    f"{path} has more than {MOST_ROWS} requests in that time: give a shorter --duration"
                )
            rows.append(
                TraceRow(
                    at - begin,
                    row.model,
                    row.input_tokens,
                    row.output_tokens,
                    row.blocks,
                    row.block_tokens,
                )
            )
    rows.sort(key=lambda each: each.at)
    return rows


def _parsed(
    path: Path, lines: Iterable[str], parse: Callable[[str], Row | None], number: int
) -> Iterator[Row]:
    for line_number, line in enumerate(lines, number):
        if not line.strip():
            continue
        try:
            found = parse(line)
        except WrongLine as error:
            raise TraceProblem(str(path), line_number, str(error)) from None
        if found is not None:
            yield found


def _lines(path: Path) -> Iterator[str]:
    number = 0
    try:
        with path.open(encoding="utf-8") as file:
            while line := file.readline(LONGEST_LINE):
                number += 1
                if len(line) >= LONGEST_LINE:
                    raise TraceProblem(str(path), number, "it is longer than any line of a trace")
                yield line
    except OSError as error:
        raise LoadProblem(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise TraceProblem(str(path), number + 1, "it is no text in UTF-8") from None

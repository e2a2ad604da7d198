"""Azure's LLM inference traces: ``TIMESTAMP,ContextTokens,GeneratedTokens``, a request a line."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from zlib import crc32

from attrs import evolve

from .generator import SIZES
from .lines import BadTrace, read_lines
from .profile import Model
from .workload import Request, Workload

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"


def load(path: Path, *, models: int = 24, rate: float | None = None) -> Workload:
    """Read a trace; it names no model, so each request gets one of ``models`` by a hash of its line.

    Args:
        path: The file.
        models: How many models there are.
        rate: Requests per second that there are to be on average: time goes as many times slower. None
            leaves it.

    Raises:
        BadTrace: Some line is not of the format; the text names file and line.
    """
    found = parse(path.stem, read_lines(path), models)
    if rate is None or found.duration <= 0:
        return found
    slower = len(found.requests) / found.duration / rate
    requests = [evolve(each, at=each.at * slower) for each in found.requests]
    return evolve(found, requests=requests, duration=found.duration * slower)


def parse(name: str, lines: Iterable[str], models: int) -> Workload:
    """Read the lines of a trace, in the order of their times or not."""
    rows = iter(enumerate(lines, 1))
    if next(rows, (0, ""))[1].strip() != HEADER:
        raise BadTrace(name, 1, f"it should be {HEADER}")
    found: list[tuple[datetime, int, int, int]] = []
    for number, line in rows:
        if not line.strip():
            continue
        parts = line.strip().split(",")
        try:
            stamp, prompt, answer = parts
            found.append((_time(stamp), crc32(line.strip().encode()) % models, int(prompt), int(answer)))
        except ValueError:
            raise BadTrace(name, number, "it should have a time and two whole numbers") from None
        if min(found[-1][2:]) < 0:
            raise BadTrace(name, number, "a number of tokens is below 0")
    found.sort()
    if not found:
        raise BadTrace(name, 1, "no request follows")
    first = found[0][0]
    requests = [
        Request((at - first).total_seconds(), model, max(1, prompt), max(1, answer))
        for at, model, prompt, answer in found
    ]
    known = [Model(f"{name}-{index:02}", SIZES[index % len(SIZES)]) for index in range(models)]
    return Workload(name, known, requests, requests[-1].at)


def _time(text: str) -> datetime:
    whole, _, fraction = text.partition(".")
    return datetime.fromisoformat(f"{whole}.{(fraction + '000000')[:6]}")

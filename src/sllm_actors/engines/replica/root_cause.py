"""Finding the reason why an engine failed in its log.

An engine of several processes logs a traceback of each of them: first of the process that failed, last of the
outermost, which only says that another has failed. So the first traceback counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from attrs import frozen

MOST_LINES = 4
"""The most lines of an exception's message that are shown."""

LONGEST_LINE = 1000
LONGEST_SENTENCE = 300

GAP = "…"
"""Stands for lines that are left out."""

_HEADING = re.compile(r"(?P<prefix>.*?)Traceback \(most recent call last\):\s*")
_LINKS = ("During handling of the above exception", "The above exception was the direct cause")
_OTHER_LINE = re.compile(r"Process \S+:$|\(\w\S* pid=\d+\)|\[?(INFO|WARNING|ERROR|DEBUG)\b|\[\d{4}-")
_MARKS = re.compile(r"[\s^~]+")
_CLASS = re.compile(r"^[\w.]*\.(\w+)(?=:|$)")

_GOES_ON = re.compile(r'Application startup complete|Starting vLLM server|HTTP/1\.[01]" 2\d\d|throughput:')
"""Lines that an engine logs when all is well: no earlier exception can be the reason of its end."""

_ELSEWHERE = re.compile(r"root cause|background process|EngineDeadError|EngineCore encountered an issue")
"""Messages of exceptions that were only raised because another process had failed."""


@frozen
class Cause:
    """The exception that ended an engine.

    Attributes:
        sentence: The exception's class and message, in one line.
        lines: The lines of the log that say where it was raised, and its message.
        last: The index in the log of the last of these lines.
    """

    sentence: str
    lines: tuple[str, ...]
    last: int


def root_cause(log: Sequence[str]) -> Cause | None:
    """Return the exception that is the root of a failure, or None if the log has none.

    That is the first one after the last line that shows that all was well. An exception that only says that
    another process failed is returned only if there is no other.

    Args:
        log: The lines of one engine life.
    """
    causes = list(_causes(log))
    well = max((at for at, line in enumerate(log) if _GOES_ON.search(line)), default=-1)
    fresh = [each for each in causes if each.last > well]
    if not fresh:
        return None
    before = [each for each in causes if each.last <= well]
    telling = [each for each in (*fresh, *reversed(before)) if not _ELSEWHERE.search(each.sentence)]
    return telling[0] if telling else fresh[0]


def telling_lines(log: Sequence[str], count: int, cause: Cause | None) -> tuple[str, ...]:
    """Return ``count`` lines of a log for a person: its end, and before it the cause if that lies further up.

    Args:
        log: The lines of one engine life.
        count: Ten or more.
        cause: See ``root_cause``.
    """
    end = list(log[-count:])
    if cause is not None and cause.last < len(log) - count:
        end = [*cause.lines, GAP, *end[len(cause.lines) + 1 :]]
    return tuple(line[:LONGEST_LINE] for line in end)


def _causes(log: Sequence[str]) -> Iterator[Cause]:
    """Yield the exceptions of the tracebacks; of those that were raised for each other, the last one."""
    found: Cause | None = None
    for at, line in enumerate(log):
        heading = _HEADING.fullmatch(line)
        if heading is None:
            continue
        prefix = _prefix(log, at, heading["prefix"])
        if found is not None and not _is_linked(log[max(0, at - 3) : at], prefix):
            yield found
        found = _read(log, at, prefix) or found
    if found is not None:
        yield found


def _prefix(log: Sequence[str], at: int, heading: str) -> str:
    """Return what each line of a traceback begins with: nothing, where only its first line has a prefix."""
    return heading if any(line.startswith(f"{heading}  ") for line in log[at + 1 : at + 20]) else ""


def _is_linked(before: Sequence[str], prefix: str) -> bool:
    return any(line.removeprefix(prefix).startswith(_LINKS) for line in before)


def _read(log: Sequence[str], heading: int, prefix: str) -> Cause | None:
    """Read one traceback; None if its end is missing. Lines of other processes may be among its own."""
    place: list[int] = []
    text: list[int] = []
    for at in range(heading + 1, len(log)):
        line = log[at]
        if not line.startswith(prefix):
            if text:
                break
            continue
        body = line.removeprefix(prefix)
        if text and (not body.strip() or len(text) == MOST_LINES or _begins_other(body)):
            break
        if text or (place and not body[:1].isspace()):
            text.append(at)
        elif not body[:1].isspace():
            break  # it was cut off
        elif body.startswith('  File "'):
            place = [at]
        elif len(place) == 1 and not _MARKS.fullmatch(body):
            place.append(at)
    words = " ".join(log[at].removeprefix(prefix).strip() for at in text)
    if not words:
        return None
    sentence = _CLASS.sub(r"\1", words)
    if len(sentence) > LONGEST_SENTENCE:
        sentence = sentence[: LONGEST_SENTENCE - 1] + GAP
    return Cause(sentence, tuple(log[at] for at in (*place, *text)), text[-1])


def _begins_other(body: str) -> bool:
    return _OTHER_LINE.match(body) is not None or _HEADING.fullmatch(body) is not None

"""Reading the log that a leash writes: a folder of files, each named by the log position where it begins.

A position counts the bytes since the log began, over all its files. Blocks on the disk: call it in a thread.
"""

from __future__ import annotations

import stat
from pathlib import Path

from sllm_actors.engines.messages import LogChunk

LONGEST_CHUNK = 65536


def read_chunk(log: Path, offset: int | None, limit: int = LONGEST_CHUNK) -> LogChunk:
    """Return a piece of a log.

    Args:
        log: Its folder; a log that was never written is empty.
        offset: The position to read from, or None for the last ``limit`` bytes. Where that part was removed
            already, the oldest that is left is returned.
        limit: At most this many bytes, from 4 bytes to 64 KiB.

    Returns:
        A piece that begins and ends between characters. ``text`` is "" when there is nothing more (yet).
    """
    limit = max(4, min(limit, LONGEST_CHUNK))
    parts = _parts(log)
    end = parts[-1][1] if parts else 0
    start = parts[0][0] if parts else 0
    wanted = max(start, end - limit) if offset is None else min(max(start, offset), end)
    data = b""
    for begin, finish, path in parts:
        position = wanted + len(data)
        if begin <= position < finish and len(data) < limit:
            try:
                with path.open("rb") as file:
                    file.seek(position - begin)
                    data += file.read(limit - len(data))
            except FileNotFoundError:  # dropped by a rotation in this moment
                return read_chunk(log, offset, limit)
    if offset is None or offset != wanted:  # we chose where to begin: between two characters
        lead = next((i for i, byte in enumerate(data[:4]) if byte & 0xC0 != 0x80), 0)
        wanted, data = wanted + lead, data[lead:]
    data = data[: len(data) - _cut_character(data)]
    return LogChunk(wanted, wanted + len(data), data.decode("utf-8", "replace"))


def read_lines(log: Path, since: int = 0, limit: int = 16 * LONGEST_CHUNK) -> list[str]:
    """Return the lines of a log from position ``since`` on; at most its last ``limit`` bytes."""
    text: list[str] = []
    end = log_end(log)
    offset = max(since, end - limit)
    while offset < end and (chunk := read_chunk(log, offset)).text:
        text.append(chunk.text)
        offset = chunk.next_offset
    return "".join(text).splitlines()


def log_end(log: Path) -> int:
    """Return the byte position where a log ends now."""
    parts = _parts(log)
    return parts[-1][1] if parts else 0


def _parts(log: Path) -> list[tuple[int, int, Path]]:
    found = []
    for path in log.glob("*.log"):
        try:
            begin, status = int(path.stem), path.stat()
            if stat.S_ISREG(status.st_mode):
                found.append((begin, begin + status.st_size, path))
        except (ValueError, FileNotFoundError):
            continue  # not a file of the log, or dropped by a rotation in this moment
    return sorted(found)


def _cut_character(data: bytes) -> int:
    """Return how many bytes at the end belong to a character that is not whole."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte & 0xC0 == 0xC0:
            whole = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if back < whole else 0
        if byte & 0x80 == 0:
            return 0
    return 0

"""The three standard streams, made fit for use whatever this process was started with."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from typing import Any, TextIO

_NAMES = ("stdin", "stdout", "stderr")


def open_standard_streams() -> None:
    """Make standard input, output and error usable. To be called first, before a file or socket is opened.

    - A descriptor that is closed leads to ``/dev/null`` from now on. Else the next file or socket that is
      opened would get its number, and what is printed would go there.
    - No character makes printing fail: one that a stream's encoding lacks is written as an escape, ``\\xe9``.
    - What cannot be written to standard error is dropped. Standard output goes on raising ``OSError``: who
      asked for it should know that it is not whole.
    - A descriptor that another program has made non-blocking is waited for.

    Streams that somebody has put in their place (a test that captures them) stay as they are.
    """
    for number, name in enumerate(_NAMES):
        _open(number)
        stream: TextIO | None = getattr(sys, name)
        if stream is None or stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _stream(number, stream))


def close_standard_output() -> None:
    """Flush what was printed, as the last thing of a program.

    Raises:
        OSError: Not all of it could be written; nothing else is tried when the interpreter ends, which
            would make its exit status 120.
    """
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
            sys.stdout.flush()
        raise


def _open(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        os.dup2(opened, number)  # also makes it one that children inherit
        if opened != number:
            os.close(opened)


def _stream(number: int, before: TextIO | None) -> TextIO:
    encoding = getattr(before, "encoding", None) or "utf-8"
    if number == 0:
        if isinstance(before, io.TextIOWrapper):
            before.reconfigure(errors="surrogateescape")
            return before
        return open(0, encoding=encoding, errors="surrogateescape", closefd=False)
    raw = _Output(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=number == 2 or raw.isatty(),
        write_through=getattr(before, "write_through", False),  # PYTHONUNBUFFERED
    )


class _Output(io.FileIO):
    def write(self, data: Any, /) -> int:
        try:
            while (written := super().write(data)) is None:
                poll = select.poll()
                poll.register(self.fileno(), select.POLLOUT)
                poll.poll()
        except OSError:
            if self.fileno() == 2:
                return len(data)
            raise
        return written

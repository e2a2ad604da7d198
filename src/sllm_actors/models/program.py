"""A program that brings model files: a child of the worker that says what it does in JSON lines."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream
from anyio.streams.buffered import BufferedByteReceiveStream

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes of one line; a program that writes a longer one is given up."""

PATIENCE = 1.0
"""Seconds that a program has to end by itself."""


class ProgramEnded(Exception):
    """The program ended before it had said how its work ended; the text is the last line that it wrote."""


class ModelProgram:
    """A running program.

    Args:
        output: The program's output: lines with JSON objects, and between them what its libraries print.
    """

    def __init__(self, output: ByteReceiveStream) -> None:
        self._output = BufferedByteReceiveStream(output)
        self._last_words = "it was killed"

    async def next(self) -> dict[str, Any]:
        """Return the next JSON object that the program writes.

        Raises:
            ProgramEnded: The program has ended, or written a line that is too long.
        """
        while True:
            try:
                line = await self._output.receive_until(b"\n", LONGEST_LINE)
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound):
                raise ProgramEnded(self._last_words) from None
            try:
                said = json.loads(line)
            except ValueError:
                said = None
            if isinstance(said, dict):
                return said
            if words := line.decode(errors="replace").rpartition("\r")[2].strip():
                self._last_words = words[:500]


@asynccontextmanager
async def run_model_program(argv: Sequence[str], env: Mapping[str, str]) -> AsyncIterator[ModelProgram]:
    """Run a program within the context. At its end, and at a cancellation, the program is ended and reaped.

    The program has to end by itself when its standard input ends: it learns in no other way that this process
    died. At the end of the context it is killed if it takes longer than ``PATIENCE`` seconds for that.

    Raises:
        OSError: The program cannot be started.
    """
    with anyio.CancelScope(shield=True):  # cancelled in its midst, a start would leave the program behind
        process = await anyio.open_process(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd="/",
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield ModelProgram(process.stdout)
    finally:
        with anyio.CancelScope(shield=True):
            await process.stdin.aclose()
            with anyio.move_on_after(PATIENCE):
                await process.wait()
            if process.returncode is None:
                process.kill()  # what it has on the disk is safe at any time
            await process.aclose()

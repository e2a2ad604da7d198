"""The files that a result is written to. Whether they can be written is seen before any load is sent."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from sllm_actors.cli.errors import CommandFailure
from sllm_actors.loadgen import rows
from sllm_actors.loadgen.figures.result import RequestResult


class ResultFiles:
    """Those files that were asked for. To be closed in any case.

    Args:
        texts: The files that are written at the end, by what is written to them (``json``); None for none.
        csv: The file that gets a line for each request, or None.

    Raises:
        CommandFailure: One cannot be written.
    """

    def __init__(self, texts: Mapping[str, Path | None], csv: Path | None) -> None:
        self._files: dict[str, TextIO] = {}
        self._new: deque[RequestResult] = deque()
        for name, path in {**texts, "csv": csv}.items():
            if path is not None:
                self._files[name] = self._open(path)
        self._rows = self._files.get("csv")
        if self._rows is not None:
            self._rows.write(rows.header())

    def _open(self, path: Path) -> TextIO:
        try:
            return path.open("w", encoding="utf-8", newline="")
        except OSError as error:
            self.close()
            raise CommandFailure(f"{path} cannot be written: {error.strerror}") from None

    def note(self, result: RequestResult) -> None:
        """Take a result; it is written by the next ``flush``."""
        if self._rows is not None:
            self._new.append(result)

    def flush(self) -> None:
        """Write the rows of all results so far."""
        if self._rows is not None:
            while self._new:
                self._rows.write(rows.row(self._new.popleft()))

    def write(self, name: str, text: str) -> None:
        """Write a whole file, if it was asked for."""
        file = self._files.get(name)
        if file is not None:
            file.write(text)

    def write_json(self, result: Mapping[str, Any]) -> None:
        """Write the document, if it was asked for."""
        self.write("json", json.dumps(result, indent=2) + "\n")

    def close(self) -> None:
        """Close all files.

        Raises:
            OSError: Something could not be written.
        """
        for file in self._files.values():
            file.close()

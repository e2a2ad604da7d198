"""Where a node's log goes: everything, as JSON lines, to a file of bounded size; warnings to the terminal."""

from __future__ import annotations

import logging
import sys
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

import structlog

from sllm_actors.files import make_private_file, make_private_folder

from . import terminal
from .terminal_text import one_line

MAX_BYTES = 10 * 1024 * 1024
"""Bytes of the log file before it is rotated."""

BACKUPS = 3
"""Rotated files that are kept beside it."""


def configure_logs(path: Path, *, node: str) -> None:
    """Send structlog and the standard library's log of this process to ``path`` (rotated, at most 40 MiB) and
    warnings to stderr. Called once, before anything is logged.

    Raises:
        OSError: The file cannot be opened.
    """
    make_private_folder(path.parent)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    to_file = _PrivateFileHandler(path, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8")
    to_file.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    to_terminal = _TerminalHandler()
    to_terminal.setLevel(logging.WARNING)
    to_terminal.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _name_exception,
                _tame,
                structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
            ],
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[to_file, to_terminal], force=True)
    for chatty in ("httpx2", "httpcore2", "hypercorn", "quart", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(node=node)


class _TerminalHandler(logging.Handler):
    """Never waits for whoever reads standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - as every handler of the standard library does
            self.handleError(record)
        else:
            terminal.warn(line, styled=True)


def _tame(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Keep what engines and peers say from steering the terminal."""
    return {name: one_line(value) if isinstance(value, str) else value for name, value in event.items()}


class _PrivateFileHandler(RotatingFileHandler):
    """Writes files that only their owner can read.

    Lines that cannot be written (the disk is full) are dropped; the terminal is told when that begins.
    """

    _failing = False
    _failed = False
    _size = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line. The standard library's would format it twice, and look at the file each time."""
        self._failed = False
        try:
            line = self.format(record) + self.terminator
            size = len(line.encode(errors="replace"))
            if self._size and self._size + size > self.maxBytes:
                self.doRollover()
            self.stream = self.stream or self._open()  # none is there if it could not be opened anew
            self.stream.write(line)
            self.flush()
            self._size += size
        except Exception:  # noqa: BLE001 - as every handler of the standard library does
            self.handleError(record)
        self._failing = self._failed

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        self._failed = True
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._failing:
            terminal.warn(f"the log {self.baseFilename} cannot be written, and loses lines: {error.strerror}")

    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        make_private_file(path)
        self._size = path.stat().st_size
        return super()._open()


def _name_exception(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Name an exception in a few words: its traceback is in the file."""
    raised = event.pop("exc_info", None)
    error = sys.exc_info()[1] if raised is True else raised[1] if isinstance(raised, tuple) else raised
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, BaseException):
        event["error"] = f"{type(error).__name__}: {error}"[:500]
    return event

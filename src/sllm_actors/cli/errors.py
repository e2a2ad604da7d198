"""How a command fails: one sentence on standard error, and an exit status that tells the truth."""

from __future__ import annotations

from typing import IO, Any

import click

from .terminal import complain

EXIT_INTERRUPTED = 130


class CommandFailure(click.ClickException):
    """What was asked for did not happen: exit status 1. A wrong command line is click's ``UsageError``, 2."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        if file is None:
            complain(f"error: {self.message}")
        else:
            file.write(f"error: {self.message}\n")


class Unreachable(CommandFailure):
    """Nobody answers at the gateway's address, or the connection broke before the answer was whole."""


class RequestRefused(CommandFailure):
    """The gateway answered with an error.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

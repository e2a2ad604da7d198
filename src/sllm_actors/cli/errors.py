"""How a command fails: one sentence on standard error, and an exit status that tells the truth."""

from __future__ import annotations

import re
from collections.abc import Mapping
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

    def naming(self, typed: Mapping[str, str]) -> RequestRefused:
        """Return the same with what it names called as it was typed.

        Args:
            typed: By the name that the gateway has for it.
        """
        message = self.message
        for name in sorted(typed, key=len, reverse=True):
            # A plain word may be meant as one, but for at the beginning.
            before = r"(?<![\w.-])" if {"_", "."} & set(name) else "^"
            message = re.sub(rf"{before}{re.escape(name)}(?![\w-])", typed[name], message)
        return RequestRefused(self.status, message)

"""The failures of commands: each is one sentence on standard error and an exit status."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import IO, Any

import click

from .terminal import complain

EXIT_INTERRUPTED = 130
"""Exit status after ^C, as a shell has it: 128 and the number of SIGINT."""


class CommandFailure(click.ClickException):
    """What was asked for did not happen; exit status 1.

    A wrong command line is click's ``UsageError`` instead, with exit status 2.
    """

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        if file is None:
            complain(f"error: {self.message}")
        else:
            file.write(f"error: {self.message}\n")


class Unreachable(CommandFailure):
    """Nothing answers at the gateway's address, or the connection broke before the answer was whole."""


class RequestRefused(CommandFailure):
    """The gateway answered with an error status.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    def naming(self, typed: Mapping[str, str]) -> RequestRefused:
        """Return this refusal with settings named as the person typed them.

        Args:
            typed: What was typed, by the gateway's name for it: ``{"num_gpus": "--num-gpus"}``.
        """
        message = self.message
        for name in sorted(typed, key=len, reverse=True):
            # A name such as "model" is also a word of the sentence: it is replaced only as the first word.
            before = r"(?<![\w.-])" if {"_", "."} & set(name) else "^"
            message = re.sub(rf"{before}{re.escape(name)}(?![\w-])", typed[name], message)
        return RequestRefused(self.status, message)

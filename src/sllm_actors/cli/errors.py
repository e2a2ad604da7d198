"""The failures of commands: each is one sentence on standard error and an exit status."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import IO, Any

import click

from .terminal import complain

EXIT_INTERRUPTED = 130
"""Exit status after ^C, as a shell has it: 128 and the number of SIGINT."""


def listed(what: str, sentences: Sequence[str], count: int) -> str:
    """Return a message that tells mistakes: one in the sentence itself, several one per line below it.

    Args:
        what: What has the mistakes, as the beginning of a sentence; "" for none.
        sentences: Those mistakes that are told.
        count: How many there are in all.
    """
    head = f"{what}: " if what else ""
    if count == 1:
        return head + sentences[0]
    more = [f"and {count - len(sentences)} more"] if count > len(sentences) else []
    return "\n  ".join([f"{head}{count} mistakes", *sentences, *more])


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
        mistakes: The sentences about single mistakes of a document, where there are several.
        count: How many mistakes there are in all.
    """

    def __init__(self, status: int, message: str, mistakes: Sequence[str] = (), count: int = 0) -> None:
        super().__init__(listed("", mistakes, count) if len(mistakes) > 1 else message)
        self.status = status
        self.mistakes = tuple(mistakes)
        self.count = count

    def naming(self, typed: Mapping[str, str]) -> RequestRefused:
        """Return this refusal with settings named as the person typed them.

        Args:
            typed: What was typed, by the gateway's name for it: ``{"num_gpus": "--num-gpus"}``.
        """
        named = [_naming(each, typed) for each in self.mistakes]
        return RequestRefused(self.status, _naming(self.message, typed), named, self.count)


def _naming(sentence: str, typed: Mapping[str, str]) -> str:
    for name in sorted(typed, key=len, reverse=True):
        # A name such as "model" is also a word of the sentence: it is replaced only as the first word.
        before = r"(?<![\w.-])" if {"_", "."} & set(name) else "^"
        literally = typed[name].replace("\\", r"\\")
        sentence = re.sub(rf"{before}{re.escape(name)}(?![\w-])", literally, sentence)
    return sentence

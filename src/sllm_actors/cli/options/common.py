"""Giving options to commands, and the options that many commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from sllm_actors.cli.parameters import FiniteRange

Command = TypeVar("Command", bound=Callable[..., Any])


def options(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return a decorator that gives a command these options, listed by ``--help`` in this order."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def source_option(show_default: str) -> Callable[[Command], Command]:
    """Return the option ``--source``; ``show_default`` says in words what holds without it."""
    return click.option(
        "--source",
        metavar="hf:ID|PATH|demo:NAME",
        show_default=show_default,
        help="Where the model's files are.",
    )


def timeout_option(default: float, meaning: str = "How long --wait waits.") -> Callable[[Command], Command]:
    """Return the option ``--timeout`` of a command that waits, in seconds."""
    return click.option(
        "--timeout",
        type=FiniteRange(min=0),
        default=default,
        show_default=True,
        metavar="SECONDS",
        help=meaning,
    )


json_option = click.option("--json", "as_json", is_flag=True, help="Print the gateway's answer as JSON.")

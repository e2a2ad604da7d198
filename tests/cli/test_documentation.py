"""The page about the command line names every command and every option."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from sllm_actors.cli.app import cli

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def commands(group: click.Group) -> Iterator[click.Command]:
    """Yield every command, those of groups of commands too."""
    for command in group.commands.values():
        yield from commands(command) if isinstance(command, click.Group) else [command]


OPTIONS = sorted(
    {
        option
        for command in commands(cli)
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
)


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_is_described(name: str) -> None:
    assert f"`sllm {name}" in PAGE


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_described(option: str) -> None:
    assert re.search(rf"[` ]{re.escape(option)}\b", PAGE)


def test_every_described_option_exists() -> None:
    described = set(re.findall(r"`(--[a-z][a-z0-9-]+)", PAGE)) - {"--help", "--max-model-len"}
    assert described - set(OPTIONS) == set()

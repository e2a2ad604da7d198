"""``--help`` of every command is a page of a manual that fits into 80 columns, and what it shows is right."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from sllm_actors.cli.app import SECTIONS, cli
from sllm_actors.cli.manual import VARIABLES, ManualCommand, ManualGroup

from .conftest import Sllm


def walk(command: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command below one, and it itself, by the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from walk(below, f"{path} {name}".strip())


ALL = dict(walk(cli))
COMMANDS = {path: each for path, each in ALL.items() if not isinstance(each, click.Group)}


@pytest.fixture(autouse=True)
def in_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def context_of(path: str) -> click.Context:
    context = click.Context(cli, info_name="sllm", **cli.context_settings)
    for name in path.split():
        assert isinstance(context.command, click.Group)
        context = click.Context(context.command.commands[name], parent=context, info_name=name)
    return context


def simple_commands(text: str) -> Iterator[list[str]]:
    """Yield the simple commands of a piece of a shell script, in words."""
    lexer = shlex.shlex(text.replace("\\\n", " ").replace("\n", ";"), posix=True, punctuation_chars=True)
    lexer.wordchars += ":,@%+"
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("();<>|&"):
            if words:
                yield words
            words = []
        else:
            words.append(word)


@pytest.mark.parametrize("path", ALL)
def test_a_page_has_its_parts_in_order_and_fits(sllm: Sllm, path: str) -> None:
    ended = sllm(*path.split(), "--help")
    assert (ended.code, ended.err) == (0, "")
    assert max(map(len, ended.out.splitlines())) <= 80
    assert ended.out.startswith(f"Usage: sllm {path}".rstrip())
    titles = re.findall(r"^(\w[\w ]*):$", ended.out, re.MULTILINE)
    if path in COMMANDS:
        assert titles == ["Options", "Examples", "Environment", "Exit status"]
    else:
        assert (titles[0], titles[-2:]) == ("Options", ["Environment", "Exit status"])


@pytest.mark.parametrize("path", COMMANDS)
def test_each_option_says_what_it_does_and_what_holds_without_it(path: str) -> None:
    context, vague = context_of(path), []
    for option in COMMANDS[path].params:
        if not isinstance(option, click.Option):
            continue
        record = option.get_help_record(context)
        assert record is not None
        said = re.fullmatch(r"([A-Z0-9].*\.)(?:  \[(.*)\])?", record[1])
        more = (said[2] or "").split("; ") if said is not None else []
        known = any(each.startswith("default: ") or each == "required" for each in more)
        by_itself = (option.is_flag and not option.secondary_opts) or option.multiple
        repeatable = not option.multiple or record[1].endswith("repeatable.")
        variable = not option.envvar or f"env var: {option.envvar}" in more
        if not (said is not None and (known or by_itself) and repeatable and variable):
            vague.append(record)
    assert vague == []


@pytest.mark.parametrize("path", COMMANDS)
def test_a_page_speaks_of_each_argument_and_each_variable(path: str) -> None:
    command = COMMANDS[path]
    assert isinstance(command, ManualCommand)
    for argument in command.params:
        if isinstance(argument, click.Argument) and not isinstance(argument.type, click.Choice):
            name = argument.make_metavar(context_of(path)).strip("[].").split("...")[0]
            assert set(re.findall(r"\w+", name)) <= set(re.findall(r"\w+", command.help or "")), name
    read = {each.envvar for each in command.params if isinstance(each, click.Option) and each.envvar}
    assert read <= set(command.variables)
    assert set(command.variables) <= VARIABLES.keys()


@pytest.mark.parametrize("path", COMMANDS)
def test_the_examples_are_command_lines_that_sllm_takes(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("secret", "qwen.toml", "azure.csv"):
        Path(file).touch()
    command = COMMANDS[path]
    assert isinstance(command, ManualCommand)
    for purpose, text in command.examples:
        assert purpose[0].isupper()
        called = [words[1:] for words in simple_commands(text) if words[0] == "sllm"]
        shown = {name for name, each in COMMANDS.items() if each is command}
        assert any(f"sllm {name}" in text for name in shown), text
        for words in called:
            take(words)


def take(words: list[str]) -> None:
    """Let sllm read a command line, without doing anything."""
    path, rest = "", words
    while isinstance(ALL[path], click.Group):
        path, rest = f"{path} {rest[0]}".strip(), rest[1:]
    ALL[path].make_context(path, rest)


def test_the_first_page_lists_each_command_once_with_a_whole_sentence(sllm: Sllm) -> None:
    page = sllm("--help").out
    assert sorted(name for names in SECTIONS.values() for name in names) == sorted(cli.commands)
    assert "..." not in page.replace("[ARGS]...", "")
    for name, command in cli.commands.items():
        assert re.search(rf"^  {name} +{re.escape(command.short_help or '')}$", page, re.MULTILINE)


def test_every_command_has_such_a_page() -> None:
    assert all(isinstance(each, ManualCommand | ManualGroup) for each in ALL.values())

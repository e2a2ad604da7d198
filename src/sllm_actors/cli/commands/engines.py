"""``sllm engines``: list the engines of this machine, and install one."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from sllm_actors.cli.display.text_table import cell, sentence, table
from sllm_actors.cli.errors import CommandFailure
from sllm_actors.cli.manual import ManualCommand, ManualGroup
from sllm_actors.cli.options.common import options
from sllm_actors.cli.options.node import FOLDER
from sllm_actors.cli.parameters import KEY_VALUE, each_key_once
from sllm_actors.cli.progress import reporting
from sllm_actors.cli.terminal import say, say_json, show
from sllm_actors.nodes.user_paths import absolute, default_data_dir

data_dir = click.option(
    "--data-dir",
    type=FOLDER,
    envvar="SLLM_DATA_DIR",
    show_envvar=True,
    show_default="~/.local/share/sllm",
    help="The worker's data directory, which engines are installed in.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(
    cls=ManualGroup,
    variables=("SLLM_DATA_DIR",),
    short_help="Show and install the engines of this machine.",
)
def engines() -> None:
    """Show and install the engines of this machine: each lives in a Python environment of its own."""


@engines.command(
    "install",
    cls=ManualCommand,
    variables=("SLLM_DATA_DIR",),
    short_help="Install an engine where workers of this machine find it.",
    examples=[
        ("Install the vLLM that fits this machine", "sllm engines install vllm"),
        ("Make the environment anew, for CPUs", "sllm engines install vllm --cpu --again"),
    ],
)
@click.argument("engine", type=click.Choice(["vllm"]))
@options(
    click.option(
        "--cpu/--gpu",
        "cpu",
        default=None,
        show_default="what this machine has",
        help="The build for CPUs, or the one for GPUs.",
    ),
    click.option(
        "--python",
        type=click.Path(exists=True, dir_okay=False),
        show_default="the one that runs sllm",
        help="The Python to make the environment with.",
    ),
    click.option("--again", is_flag=True, help="Make the environment anew, although it is whole."),
    data_dir,
    as_json,
)
def install_engine(
    engine: str, cpu: bool | None, python: str | None, again: bool, data_dir: Path | None, as_json: bool
) -> None:
    """Install an engine into an environment of its own, where workers of this machine find it.

    pip is used as it is configured here. It may take many minutes.
    """
    from sllm_actors.cluster.inventory import inspect_machine
    from sllm_actors.engines.installs.environments import RECIPES, InstallProblem, install

    if cpu is None:
        cpu = not inspect_machine(None).gpus
    folder = engines_dir(data_dir)
    try:
        with reporting(silent=as_json) as report:
            installed = install(
                RECIPES[engine, cpu], folder, python=python or sys.executable, again=again, say=report
            )
    except InstallProblem as problem:
        raise CommandFailure(str(problem)) from None
    if as_json:
        say_json(
            {"backend": engine, "package": installed.name, "version": installed.version}
            | {"python": installed.python}
        )
    else:
        say(f"Ready: {installed.name} {installed.version}, {installed.python}")


@engines.command(
    "list",
    cls=ManualCommand,
    variables=("SLLM_DATA_DIR",),
    short_help="Show which engines a worker of this machine would find.",
    examples=[
        ("Show all engines", "sllm engines list"),
        (
            "See whether an environment of your own has one",
            "sllm engines list --engine-python vllm=/opt/vllm/bin/python",
        ),
    ],
)
@options(
    click.option(
        "--engine-python",
        type=KEY_VALUE,
        multiple=True,
        callback=each_key_once,
        metavar="BACKEND=PATH",
        help="As the worker gets it; repeatable.",
    ),
    data_dir,
    as_json,
)
def list_engines(engine_python: tuple[tuple[str, str], ...], data_dir: Path | None, as_json: bool) -> None:
    """Show which engines a worker of this machine would find, and where."""
    found = [_describe(dict(engine_python), engines_dir(data_dir), backend) for backend in _backends()]
    if as_json:
        say_json({"engines": found})
        return
    shown = table("BACKEND", "INSTALLED", "PACKAGE", "VERSION", "PYTHON")
    for engine in found:
        installed = engine["problem"] or ("yes" if engine["installed"] else "no")
        shown.add_row(
            cell(engine["backend"]),
            sentence(installed),
            cell(engine["package"]),
            cell(engine["version"]),
            cell(engine["python"] if engine["installed"] else None),
        )
    show(shown)


def engines_dir(data_dir: Path | None) -> Path:
    """Return the folder in which workers with this data directory look for installed engines.

    Args:
        data_dir: The data directory, or None for the default one.

    Raises:
        NoHome: See ``default_data_dir``.
    """
    return absolute(data_dir or default_data_dir(os.environ)) / "engines"


def _backends() -> list[str]:
    from sllm_actors.engines.backends.registry import BACKENDS
    from sllm_actors.engines.installs.interpreters import PACKAGES

    return sorted(PACKAGES.keys() & BACKENDS.keys())


def _describe(named: Mapping[str, str], folder: Path, backend: str) -> dict[str, Any]:
    from sllm_actors.engines.errors import LaunchProblem
    from sllm_actors.engines.installs.images import image_engines
    from sllm_actors.engines.installs.interpreters import Interpreters, find_installed

    python = Interpreters(named, folder, image_engines()).of(backend)
    problem = ""
    try:
        installed = find_installed(python, backend)
    except LaunchProblem as found:
        installed, problem = None, str(found)
    return {
        "backend": backend,
        "installed": installed is not None,
        "package": installed.name if installed else None,
        "version": installed.version if installed else None,
        "python": python,
        "problem": problem,
    }

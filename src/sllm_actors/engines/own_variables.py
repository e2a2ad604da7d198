"""The variables that a deployment sets for its engines; secrets among them are read where the engine runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from sllm_actors.files import FileProblem, read_text

from .environment import chooses_code, why_decided
from .errors import LaunchProblem

FROM_VARIABLE, FROM_FILE = "env:", "file:"
"""A reference to a secret begins with one of these; a variable's name or an absolute path follows."""

LONGEST_SECRET = 65536
"""The most bytes that the file of a secret may have."""


def check_reference(reference: str) -> str:
    """Return why a text is not a reference to a secret (``env:NAME`` or ``file:/path``), or "" if it is."""
    if reference.startswith(FROM_VARIABLE):
        name = reference.removeprefix(FROM_VARIABLE)
        if why_decided(name):
            return f"{name} is not for engines: {why_decided(name)}"
        return "" if name and "=" not in name else "it names no variable"
    if reference.startswith(FROM_FILE):
        path = reference.removeprefix(FROM_FILE)
        return (
            ""
            if path.startswith("/")
            else "the path of a file on the worker is absolute: file:/run/secrets/x"
        )
    return "it is env:NAME (a variable of the worker) or file:/path (a file on the worker)"


def read_variables(
    env: Mapping[str, str],
    secret_env: Mapping[str, str],
    *,
    ours: Mapping[str, str],
    own_folder: Path | None,
    any_code: bool,
) -> dict[str, str]:
    """Return the variables that a deployment sets, by name, with their values. Blocks on the disk.

    Args:
        env: Values by name.
        secret_env: References by name, see ``check_reference``.
        ours: The worker's environment.
        own_folder: The folder in which this user's nodes keep secrets: references to its files are refused.
        any_code: Whether deployments may choose what code runs on this worker (``--allow-command``).

    Raises:
        LaunchProblem: A variable cannot be set by deployments, or this worker has not its secret. The text
            shows no secret.
    """
    values = dict(env)
    for name, reference in secret_env.items():
        try:
            values[name] = _read(reference, ours, own_folder)
        except LaunchProblem as problem:
            raise LaunchProblem(f"secret_env.{name}: {problem}") from None
    for name in values:
        key = f"env.{name}" if name in env else f"secret_env.{name}"
        if why := why_decided(name):
            raise LaunchProblem(f"{key} cannot be set: {why}")
        if chooses_code(name) and not any_code:
            raise LaunchProblem(
                f"{key} can make this worker run any code: start it with --allow-command if it should"
            )
    return values


def _read(reference: str, ours: Mapping[str, str], own_folder: Path | None) -> str:
    if why := check_reference(reference):
        raise LaunchProblem(why)
    if reference.startswith(FROM_VARIABLE):
        name = reference.removeprefix(FROM_VARIABLE)
        if not ours.get(name):
            raise LaunchProblem(f"this worker has no variable {name}: set it where the worker is started")
        return ours[name]
    path = Path(reference.removeprefix(FROM_FILE))
    if own_folder is not None and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(own_folder)):
        raise LaunchProblem(f"{path} is in the data directory of sllm, whose secrets are not for engines")
    try:
        text = read_text(path, LONGEST_SECRET)
    except FileProblem as problem:
        raise LaunchProblem(str(problem)) from None
    value = (text or "").rstrip("\r\n")
    if text is None:
        raise LaunchProblem(f"there is no {path} on this worker")
    if not value or "\0" in value:
        raise LaunchProblem(f"{path} {'has a NUL character in it' if value else 'is empty'}")
    return value

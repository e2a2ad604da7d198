"""Checking ``extra_args``: arguments that a deployment passes through to an engine."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from sllm_actors.engines.errors import SettingsProblem

SIZES = ("tensor_parallel_size", "pipeline_parallel_size")
"""Settings that say how many GPUs an engine uses."""


def check_extra_args(
    arguments: tuple[str, ...],
    *,
    ours: Mapping[str, str],
    settings: Collection[str],
    given: Collection[str],
    short: Mapping[str, str] | None = None,
) -> None:
    """Refuse arguments that the worker decides, or that a setting of the deployment decides already.

    Engines accept ``_`` for ``-`` in a name, and the beginning of a name for the whole name: both are seen.

    Args:
        arguments: The ``extra_args``.
        ours: Names that the worker decides, without leading dashes, and why.
        settings: Names of the backend's settings, with underscores.
        given: The settings that the deployment sets.
        short: The long names, without leading dashes, by short form (``-tp``).

    Raises:
        SettingsProblem: An argument is refused.
    """
    if arguments and not arguments[0].startswith("-"):
        raise SettingsProblem(
            f"extra_args must begin with an argument like --name, not {arguments[0]!r:.100}"
        )
    for argument in arguments:
        if "\0" in argument:
            raise SettingsProblem("extra_args has a NUL character in it")
        name = _name(argument, short or {})
        if not name:
            continue
        refused = name if name in ours else next((own for own in ours if own.startswith(name)), None)
        if refused is not None:
            raise SettingsProblem(f"extra_args cannot set --{refused}: {ours[refused]}")
        key = name.replace("-", "_")
        size = next((each for each in SIZES if each.startswith(key)), None)
        if size is not None:
            raise SettingsProblem(f"extra_args cannot set --{name}: give the setting {size}")
        if key in settings and key in given:
            raise SettingsProblem(f"{key} is given twice: as a setting and in extra_args")


def _name(argument: str, short: Mapping[str, str]) -> str:
    """Return the name that an argument sets, or "" when it is the value of one."""
    for letters, name in short.items():
        if argument == letters or argument.startswith(letters + "="):
            return name
    if argument == "--":
        raise SettingsProblem("extra_args cannot have -- in it")
    if not argument.startswith("--"):
        return ""
    return re.split(r"[=.+]", argument[2:], maxsplit=1)[0].replace("_", "-").removeprefix("no-")

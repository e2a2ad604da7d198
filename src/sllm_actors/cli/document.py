"""The deployment document that a command sends: a deployment file with the command line's options over it.

Only what the user gave is sent; the head knows the defaults and the meaning of each key.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from sllm_actors.serving.deployment.document import MAX_DOCUMENT, name_in_source
from sllm_actors.serving.deployment.json_text import check_value, read_value
from sllm_actors.serving.deployment.problem import DeploymentProblem

from .errors import CommandFailure, listed

STANDARD_INPUT = Path("-")
"""The path that stands for standard input."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")


def load(path: Path) -> dict[str, Any]:
    """Return the keys of a deployment file, with a relative path in ``source`` made absolute.

    A file is JSON or TOML by its suffix, and its ``source`` is relative to the file's folder. Standard input
    is JSON if it begins with a brace, else TOML, and its ``source`` is relative to the working directory.

    Args:
        path: The file, or ``STANDARD_INPUT``.

    Raises:
        CommandFailure: The file cannot be read, is not a valid table of keys, or has more than
            ``MAX_DOCUMENT`` bytes.
    """
    piped = path == STANDARD_INPUT
    name = "standard input" if piped else str(path)
    if path.suffix not in (".json", ".toml") and not piped:
        raise CommandFailure(f"{name}: a deployment file ends in .json or .toml")
    kind = path.suffix[1:].upper()
    try:
        with nullcontext(sys.stdin.buffer) if piped else path.open("rb") as file:
            content = file.read(MAX_DOCUMENT + 1)
        if len(content) > MAX_DOCUMENT:
            raise CommandFailure(
                f"{name} is larger than {MAX_DOCUMENT // 1024} KiB: that is no deployment file"
            )
        text = content.decode("utf-8-sig")
        if not (text.strip() or piped):
            raise CommandFailure(f"{name} is empty: a deployment file has keys such as model and backend")
        if piped:
            kind = "JSON" if text.lstrip().startswith("{") else "TOML"
        document = read_value(text, "it") if kind == "JSON" else _read_toml(text)
    except OSError as error:
        raise CommandFailure(f"{name} cannot be read: {error.strerror}") from None
    except DeploymentProblem as problem:
        sentences = [each.message.removeprefix("it is not JSON: ") for each in problem.mistakes]
        raise CommandFailure(
            listed(f"{name} is not valid {kind} for a deployment", sentences, problem.count)
        ) from None
    except (ValueError, RecursionError) as error:
        raise CommandFailure(f"{name} is not valid {kind} for a deployment: {error}") from None
    if not isinstance(document, dict):
        raise CommandFailure(f"{name} holds no table of keys such as model and backend")
    if isinstance(document.get("source"), str):
        document["source"] = absolute_source(document["source"], path.parent)
    return document


def _read_toml(text: str) -> dict[str, Any]:
    document = tomllib.loads(text)
    check_value(document, "it")
    return document


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return both as one document: tables are merged key by key, any other value of ``over`` wins."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged


def absolute_source(source: str, folder: Path) -> str:
    """Return a source with a local path made absolute; ``hf:…``, ``demo:…`` and hub ids are left as they are.

    What begins with ``/``, ``.`` or ``~`` is a path; any other name is one if something is there under
    ``folder``. Symbolic links are not resolved.

    Args:
        source: What the person gave.
        folder: The folder that a relative path is relative to.

    Raises:
        CommandFailure: The source begins with ``~`` and that home directory is not known.
    """
    if not source or _SCHEME.match(source):
        return source
    try:
        path = folder / Path(source).expanduser()
    except RuntimeError:
        raise CommandFailure(f"{source} begins in a home that is not known: give it in full") from None
    if source.startswith(("/", ".", "~")) or os.path.lexists(path):
        return os.path.abspath(path)  # noqa: PTH100 - it asks no disk, and leaves symbolic links to the worker
    return source


def engine_settings(given: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Split the values of ``--engine-arg`` into settings of the backend and arguments of the engine.

    ``max-model-len=1024`` is the setting ``max_model_len``. Its value is read as JSON (a number, true, false,
    null, a list, a table), and where it is no JSON it is a text. What begins with a dash is an argument, and
    is passed to the engine as it is.

    Raises:
        CommandFailure: A value is of neither form, or a setting is given twice.
    """
    settings: dict[str, Any] = {}
    arguments: list[str] = []
    for each in given:
        name, equals, value = each.partition("=")
        setting = name.replace("-", "_")
        if each.startswith("-"):
            arguments.append(each)
        elif setting in settings:
            raise CommandFailure(f"--engine-arg {name} is given twice: keep one of them")
        elif equals and name:
            settings[setting] = _value_of(f"--engine-arg {name}", value)
        else:
            raise CommandFailure(
                f"--engine-arg {each} is not of the form K=V (to pass an argument on: --{each})"
            )
    return settings, arguments


def keys_set(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the document that the values of ``--set`` describe.

    ``auto_scaling_config.target=4`` is the key ``target`` of that table. A value is read as one of
    ``--engine-arg``.

    Raises:
        CommandFailure: A key is empty, or is a table of another one; or a value is JSON that is refused.
    """
    document: dict[str, Any] = {}
    for key, text in pairs:
        *tables, last = key.split(".")
        below: Any = document
        for name in tables:
            below = below.setdefault(name, {}) if isinstance(below, dict) else below
        if not all([*tables, last]) or not isinstance(below, dict) or last in below:
            raise CommandFailure(f"--set {key} makes no sense beside the other keys: give each key once")
        below[last] = _value_of(f"--set {key}", text)
    return document


def _value_of(option: str, text: str) -> Any:
    try:
        json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text
    try:
        return read_value(text, "its value")
    except DeploymentProblem as problem:
        raise CommandFailure(f"{option}: {problem}") from None


def _no_constant(text: str) -> Any:
    raise ValueError(text)  # NaN and Infinity, which JSON has not: a text


def build(
    config: Mapping[str, Any],
    *,
    folder: Path,
    scalars: Mapping[str, Any],
    auto_scaling: Mapping[str, Any],
    endpoints: Sequence[str],
    engine_args: Sequence[str],
    variables: Mapping[str, Mapping[str, str]] | None = None,
    keys: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Return the document to send: ``config`` with the options of the command line over it.

    Args:
        config: The content of a deployment file; empty without one.
        folder: The folder that relative paths of the command line are relative to.
        scalars: The keys at the top, as model and num_gpus; None for those not given.
        auto_scaling: The keys of ``auto_scaling_config``; None for those not given.
        endpoints: Addresses of external servers; they replace those of the file.
        engine_args: See ``engine_settings``. Settings win over those of the file; arguments go after its own.
        variables: The tables ``env`` and ``secret_env``; their values win over those of the file.
        keys: See ``keys_set``; they win over all others.

    Raises:
        CommandFailure: ``absolute_source``, ``engine_settings`` or ``keys_set`` fails.
    """
    over: dict[str, Any] = {key: value for key, value in scalars.items() if value is not None}
    if "source" in over:
        over["source"] = absolute_source(over["source"], folder)
    scaling = {key: value for key, value in auto_scaling.items() if value is not None}
    if scaling:
        over[_name_in(config, "auto_scaling_config", "scaling")] = scaling
    if endpoints:
        over[_name_in(config, "endpoints", "endpoint")] = list(endpoints)
    settings, arguments = engine_settings(engine_args)
    table = _name_in(config, "backend_config", "settings")
    if arguments:
        settings["extra_args"] = _arguments_of(config.get(table)) + arguments
    if settings:
        over[table] = settings
    over |= {key: dict(values) for key, values in (variables or {}).items() if values}
    document = merge(merge(config, over), keys_set(keys))
    model = document.get("model")
    # A model that is a path keeps that as its name; its source is the absolute path, which the worker can
    # find.
    if "source" not in document and isinstance(model, str) and model.startswith((".", "~")):
        document["source"] = absolute_source(model, folder)
    # A model that is a source gets the name that it has there: hf:org/name@revision is called org/name.
    if "source" not in document and isinstance(model, str) and (name := name_in_source(model)):
        document |= {"source": model, "model": name}
    return document


def require_model(document: Mapping[str, Any]) -> None:
    """Raise ``CommandFailure`` if a document that is to be deployed names no model."""
    if not document.get("model"):
        raise CommandFailure("no model is named: give --model, or a --config with a model key")


def _name_in(config: Mapping[str, Any], *names: str) -> str:
    """Return which of the names of one key a file uses; the first if it uses none."""
    return next((name for name in names if name in config), names[0])


def options_as_typed(
    scalars: Mapping[str, Any],
    auto_scaling: Mapping[str, Any],
    endpoints: Sequence[str],
    engine_args: Sequence[str],
    variables: Mapping[str, Mapping[str, str]] | None = None,
    keys: Sequence[tuple[str, str]] = (),
) -> dict[str, str]:
    """Return the options that were given as they were typed, by the gateway's names for them.

    For ``RequestRefused.naming``; the arguments are those of ``build``.
    """
    typed = {name: name for name, value in scalars.items() if value is not None}
    for name, value in auto_scaling.items():
        if value is not None:
            typed |= {name: name, f"auto_scaling_config.{name}": name, f"scaling.{name}": name}
    if endpoints:
        typed["endpoints"] = "endpoint"
    options = {name: f"--{option.replace('_', '-')}" for name, option in typed.items()}
    for key, values in (variables or {}).items():
        options |= {f"{key}.{name}": f"--{key.replace('_', '-')} {name}" for name in values}
    for each in engine_args:
        name = each.partition("=")[0]
        if not each.startswith("-"):
            options |= {
                key: f"--engine-arg {name}"
                for setting in [name.replace("-", "_")]
                for key in (setting, f"backend_config.{setting}", f"settings.{setting}")
            }
    return options | {key: f"--set {key}" for key, _ in keys}


def _arguments_of(settings: Any) -> list[str]:
    arguments = settings.get("extra_args", []) if isinstance(settings, dict) else []
    return shlex.split(arguments) if isinstance(arguments, str) else list(arguments)

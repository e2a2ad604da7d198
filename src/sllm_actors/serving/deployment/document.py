"""Reading deployment documents: with today's keys, or with those of ServerlessLLM's files.

An unknown key is an error that names it. A key that ServerlessLLM knew and that has no meaning here is
accepted with a warning that says why: so an old file can be deployed, and nothing is ignored in silence.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

import attrs
from cattrs import AttributeValidationNote, BaseValidationError, Converter, IterableValidationNote

from sllm_actors.observe.redaction import looks_secret

from .json_text import plain_key, read_object, shown
from .spec import DeploymentProblem, DeploymentSpec, Scaling

MAX_DOCUMENT = 64 * 1024
"""The most bytes of a document: its settings become part of the order of each replica."""

_TOP = {name: name for name in attrs.fields_dict(DeploymentSpec)} | {
    "auto_scaling_config": "scaling",
    "backend_config": "settings",
    "endpoint": "endpoints",
}
_SCALING = {name: name for name in attrs.fields_dict(Scaling)} | {
    "target_ongoing_requests": "target",
    "keep_alive_seconds": "keep_alive",
}
_SETTINGS = {"torch_dtype": "dtype", "lora_adapters": "lora_modules"}
_WITHOUT_MEANING = {
    "router_config": "live migration is not done",
    "scheduler_config": "live migration is not done",
    "placement_config": "placement follows the files that workers report",
}
_SETTINGS_WITHOUT_MEANING = {
    "device_map": "the engine places the model itself",
    "hf_model_class": "the engine reads the class from the model's own configuration",
    "trace_debug": "the engine's log is always kept",
}

_converter = Converter(forbid_extra_keys=True)
# Numbers and texts are taken as they are: "3" for a number, or 1 for a text, is a mistake worth a sentence.


def _strict(kind: type, *also: type) -> None:
    def structure(value: Any, _: type) -> Any:
        if isinstance(value, bool) or not isinstance(value, (kind, *also)):
            raise TypeError(f"{shown(value)} is not {_KINDS[kind]}")
        return kind(value)

    _converter.register_structure_hook(kind, structure)


_KINDS = {int: "a whole number", float: "a number", str: "a text"}
_strict(int)
_strict(float, int)
_strict(str)


def read_document(text: str) -> tuple[DeploymentSpec, list[str]]:
    """Read the JSON text of a deployment; return it, and warnings (sentences) for its author.

    Raises:
        DeploymentProblem: The document is no valid deployment; one sentence that names the key.
    """
    raw = read_object(text)
    warnings: list[str] = []
    typed: dict[tuple[str, ...], str] = {}
    document = _rename(raw, _TOP, _WITHOUT_MEANING, (), warnings, typed)
    if "model" not in document:
        raise DeploymentProblem("the deployment names no model: give the key model", "model")
    endpoints = document.get("endpoints", [])
    if isinstance(endpoints, str):
        document["endpoints"] = [endpoints]
    elif not isinstance(endpoints, list):
        key = typed["endpoints",]
        raise DeploymentProblem(f"{key} must be a list of addresses, not {shown(endpoints)}", key)
    if "scaling" in document:
        scaling = _mapping(document["scaling"], typed["scaling",])
        document["scaling"] = _rename(scaling, _SCALING, {}, ("scaling",), warnings, typed)
    if "settings" in document:
        document["settings"] = _settings(document, typed["settings",], warnings)
    for key in document.keys() & {"env", "secret_env"}:
        _mapping(document[key], key)
    try:
        spec = _converter.structure(document, DeploymentSpec)
        warnings += [
            f"env.{name} looks like a secret, and is kept by the head as it is: give it as secret_env.{name}"
            for name in spec.env
            if looks_secret(name)
        ]
        return spec, warnings  # noqa: TRY300 - what is wrong is wrong wherever it is found
    except (BaseValidationError, TypeError, ValueError) as error:
        raise _first_problem(error, typed) from None


def settings_as_typed(text: str) -> dict[str, str]:
    """Return the older names of settings that a valid document uses, by today's names.

    So a message about ``dtype`` can speak of ``torch_dtype``, which the author wrote.
    """
    raw = read_object(text)
    given = raw.get("backend_config") or raw.get("settings") or {}
    return {new: old for old, new in _SETTINGS.items() if old in given}


def write_document(spec: DeploymentSpec) -> dict[str, Any]:
    """Return a document that ``read_document`` reads as this deployment, once it is JSON text."""
    document: dict[str, Any] = _converter.unstructure(spec)
    document["auto_scaling_config"] = document.pop("scaling")
    document["backend_config"] = document.pop("settings")
    return document


def _rename(
    given: Mapping[str, Any],
    names: Mapping[str, str],
    idle: Mapping[str, str],
    path: tuple[str, ...],
    warnings: list[str],
    typed: dict[tuple[str, ...], str],
) -> dict[str, Any]:
    """Return the values under today's names; add to ``typed`` which name each was given under."""
    renamed: dict[str, Any] = {}
    prefix = f"{typed[path]}." if path else ""
    for key, value in given.items():
        if key in idle:
            warnings.append(f"{prefix}{key} has no effect: {idle[key]}")
        elif key not in names:
            close = difflib.get_close_matches(key, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(names))}"
            raise DeploymentProblem(f"unknown key {shown(prefix + key)}: {hint}", (prefix + key)[:100])
        elif names[key] in renamed:
            other = typed[*path, names[key]]
            raise DeploymentProblem(f"{other} is given twice: it means the same as {prefix}{key}", other)
        elif value is not None:
            renamed[names[key]] = value
            typed[*path, names[key]] = prefix + key
    return renamed


def _settings(document: dict[str, Any], here: str, warnings: list[str]) -> dict[str, Any]:
    given = dict(_mapping(document["settings"], here))
    place = given.pop("pretrained_model_name_or_path", None) or ""
    if not isinstance(place, str):
        key = f"{here}.pretrained_model_name_or_path"
        raise DeploymentProblem(f"{key}: {shown(place)} is not a text", key)
    if place and document.get("source"):
        warnings.append(f"{here}.pretrained_model_name_or_path has no effect: source goes before it")
    elif place:
        document["source"] = place if place.startswith("/") else f"hf:{place}"
    settings: dict[str, Any] = {}
    for key, value in given.items():
        name = _SETTINGS.get(key, key)
        if key in _SETTINGS_WITHOUT_MEANING:
            warnings.append(f"{here}.{key} has no effect: {_SETTINGS_WITHOUT_MEANING[key]}")
        elif name in settings:
            also = next(old for old, new in _SETTINGS.items() if new == name)
            raise DeploymentProblem(
                f"{here}.{name} is given twice: it means the same as {here}.{also}", f"{here}.{name}"
            )
        elif value is not None:
            settings[name] = value
    return settings


def _mapping(value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DeploymentProblem(f"{key} must be an object of keys and values", key)
    return value


def _first_problem(
    error: Exception, typed: Mapping[tuple[str, ...], str], path: tuple[str, ...] = ()
) -> DeploymentProblem:
    if isinstance(error, DeploymentProblem):
        return error
    if isinstance(error, BaseValidationError):
        inner = error.exceptions[0]
        parts: list[str] = []
        for note in getattr(inner, "__notes__", ()):
            if isinstance(note, AttributeValidationNote):
                parts.append(note.name)
            elif isinstance(note, IterableValidationNote) and isinstance(note.index, str):
                parts.append(plain_key(note.index))
        return _first_problem(inner, typed, (*path, *parts))
    sentence = str(error)
    if named := re.match(r"'(\w+)' ", sentence):  # by a validator: it names the attribute itself
        path, sentence = (*path, named[1]), sentence[named.end() :]
    key = typed.get(path, ".".join(path))
    return DeploymentProblem(f"{key} {sentence}" if named else f"{key}: {sentence}", key)

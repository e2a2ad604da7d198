"""Reads the deployment document: today's keys, and those of ServerlessLLM's files, old and new names both.

A key that means nothing is an error that names it. A key that ServerlessLLM knew and that has no meaning here
is accepted with a warning that says why, so that an old file deploys and nothing is ignored in silence.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any

import attrs
from cattrs import AttributeValidationNote, BaseValidationError, Converter

from .deployment import DeploymentProblem, DeploymentSpec, Scaling

MAX_DOCUMENT = 256 * 1024
"""Bytes of a document at the most."""

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
        if isinstance(value, bool) is not (kind is bool) or not isinstance(value, (kind, *also)):
            raise TypeError(f"{json.dumps(value)[:60]} is not {_KINDS[kind]}")
        return kind(value)

    _converter.register_structure_hook(kind, structure)


_KEYS = {"scaling": "auto_scaling_config", "settings": "backend_config"}
_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
_strict(int)
_strict(float, int)
_strict(str)
_strict(bool)


def read_document(text: str) -> tuple[DeploymentSpec, list[str]]:
    """Read the JSON text of a deployment; return it with the warnings that its author should see.

    Raises:
        DeploymentProblem: With one sentence that names the key.
    """
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise DeploymentProblem(f"the deployment is not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise DeploymentProblem("the deployment must be a JSON object")
    warnings: list[str] = []
    document = _rename(raw, _TOP, _WITHOUT_MEANING, "", warnings)
    if "model" not in document:
        raise DeploymentProblem("the deployment names no model: give the key model", "model")
    if isinstance(document.get("endpoints"), str):
        document["endpoints"] = [document["endpoints"]]
    if "scaling" in document:
        scaling = _mapping(document["scaling"], "auto_scaling_config")
        document["scaling"] = _rename(scaling, _SCALING, {}, "auto_scaling_config.", warnings)
    if "settings" in document:
        document["settings"] = _settings(document, warnings)
    try:
        return _converter.structure(document, DeploymentSpec), warnings
    except (BaseValidationError, TypeError, ValueError) as error:
        raise _first_problem(error) from None


def write_document(spec: DeploymentSpec) -> dict[str, Any]:
    """Return the document that ``read_document`` reads as this deployment."""
    document: dict[str, Any] = _converter.unstructure(spec)
    document["auto_scaling_config"] = document.pop("scaling")
    document["backend_config"] = document.pop("settings")
    return document


def _rename(
    given: Mapping[str, Any],
    names: Mapping[str, str],
    idle: Mapping[str, str],
    prefix: str,
    warnings: list[str],
) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for key, value in given.items():
        if key in idle:
            warnings.append(f"{prefix}{key} has no effect: {idle[key]}")
        elif key not in names:
            close = difflib.get_close_matches(key, names, n=1)
            hint = f": did you mean {close[0]}?" if close else f": known are {', '.join(sorted(names))}"
            raise DeploymentProblem(f"unknown key {prefix}{key}{hint}", prefix + key)
        elif names[key] in renamed:
            raise DeploymentProblem(f"{prefix}{key} is given twice, under two names", prefix + key)
        elif value is not None:
            renamed[names[key]] = value
    return renamed


def _settings(document: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    given = dict(_mapping(document["settings"], "backend_config"))
    source = given.pop("pretrained_model_name_or_path", None)
    if source:
        document.setdefault("source", source if str(source).startswith("/") else f"hf:{source}")
    settings: dict[str, Any] = {}
    for key, value in given.items():
        if key in _SETTINGS_WITHOUT_MEANING:
            warnings.append(f"backend_config.{key} has no effect: {_SETTINGS_WITHOUT_MEANING[key]}")
        else:
            settings[_SETTINGS.get(key, key)] = value
    return settings


def _mapping(value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DeploymentProblem(f"{key} must be an object of keys and values", key)
    return value


def _first_problem(error: Exception, path: tuple[str, ...] = ()) -> DeploymentProblem:
    if isinstance(error, DeploymentProblem):
        return error
    if isinstance(error, BaseValidationError):
        inner = error.exceptions[0]
        notes = [
            note for note in getattr(inner, "__notes__", ()) if isinstance(note, AttributeValidationNote)
        ]
        return _first_problem(inner, (*path, *(note.name for note in notes)))
    # attrs' validators put more than the sentence into args, and begin it with the attribute's name.
    sentence = str(error.args[0]) if error.args else type(error).__name__
    named = re.match(r"'(\w+)' ", sentence)
    if named and not (path and path[-1] == named[1]):
        path = (*path, named[1])
    key = ".".join(_KEYS.get(part, part) for part in path)
    return DeploymentProblem(f"{key}: {sentence}" if key else sentence, key or None)

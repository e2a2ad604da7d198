"""Reading deployment documents, and writing them. All that is wrong with one is told at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import attrs
from cattrs import BaseValidationError, Converter, IterableValidationNote

from sllm_actors.models.byte_size import parse_bytes
from sllm_actors.observe.redaction import looks_secret

from .contradictions import AUTO, ROOM, contradictions
from .json_text import plain_key, read_object, scan_object, shown
from .names import OLDER_SETTINGS, Path, Renaming
from .problem import DeploymentProblem, Mistake, refuse
from .schedule import Schedule, read_schedule
from .spec import SIZE, DeploymentSpec, GpuMemory, Scaling

MAX_DOCUMENT = 64 * 1024
"""The most bytes of a document: its settings become part of the order of each replica."""

_SOURCE = re.compile(r"(?:hf|demo):(?P<name>[^@]+)(?:@.*)?")

_NOT_OF_EXTERNAL = ("auto_scaling_config", *ROOM)

_converter = Converter(forbid_extra_keys=True)
# Numbers and texts are taken as they are: "3" for a number, or 1 for a text, is a mistake worth a sentence.


def _strict(kind: type, *also: type) -> None:
    def structure(value: Any, _: type) -> Any:
        if (isinstance(value, bool) and kind is not bool) or not isinstance(value, (kind, *also)):
            raise TypeError(f"{shown(value)} is not {_KINDS[kind]}")
        return kind(value)

    _converter.register_structure_hook(kind, structure)


_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
_strict(int)
_strict(float, int)
_strict(str)
_strict(bool)
_converter.register_structure_hook(
    GpuMemory | None, lambda given, _: given if given in (None, AUTO) else _converter.structure(given, int)
)
_converter.register_structure_hook(Schedule, lambda given, _: read_schedule(given))
attrs.resolve_types(Scaling)
attrs.resolve_types(DeploymentSpec)
_DEFAULTS: Final = DeploymentSpec(model="unnamed")


def read_document(text: str) -> tuple[DeploymentSpec, list[str]]:
    """Read the JSON text of a deployment; return it, and warnings (sentences) for its author.

    A model that is given as a source, as ``hf:ORG/NAME``, gets the name that it has there.

    Raises:
        DeploymentProblem: The document is no valid deployment; it names every mistake with its key.
    """
    raw, mistakes = scan_object(text, "the deployment")
    names = Renaming(mistakes)
    document, model = names.document(raw), raw.get("model")
    if "source" not in document and isinstance(model, str) and (name := name_in_source(model)):
        document |= {"source": model, "model": name}
        names.typed[("source",)] = "model"
    spec = structured(document, names)
    return spec, names.warnings


def name_in_source(model: str) -> str:
    """Return what a model is called that is given as a source; "" where it is none.

    ``hf:ORG/NAME@REVISION`` is called ``ORG/NAME``, and ``demo:NAME`` is called ``NAME``.
    """
    found = _SOURCE.fullmatch(model)
    return "" if found is None else found["name"]


def read_kept_document(text: str) -> DeploymentSpec:
    """Read a document that was accepted before, perhaps by an older version.

    That took scaling and priorities of external servers, which mean nothing and are refused today: they are
    left out.

    Raises:
        DeploymentProblem: See ``read_document``.
    """
    try:
        return read_document(text)[0]
    except DeploymentProblem:
        raw = read_object(text)
        meaning = {key: value for key, value in raw.items() if key not in _NOT_OF_EXTERNAL}
        if raw.get("backend") != "external" or meaning == raw:
            raise
        return read_document(json.dumps(meaning))[0]


def structured(document: Mapping[str, Any], names: Renaming) -> DeploymentSpec:
    """Return the deployment that values under today's names describe.

    Args:
        document: The values.
        names: What renamed them: it knows the mistakes so far, and gets further warnings.

    Raises:
        DeploymentProblem: Something is wrong, here or by ``names``; it names every mistake with its key.
    """
    if "model" not in document and "model" not in names.mistaken:
        names.mistakes.append(Mistake("the deployment names no model: give the key model", "model"))
    values = _read(DeploymentSpec, document, (), names)
    scaling = values.pop("scaling", {})
    right = {name: getattr(_DEFAULTS, name) for name in attrs.fields_dict(DeploymentSpec)} | values
    right |= attrs.asdict(_DEFAULTS.scaling, recurse=False) | scaling
    mistaken = names.mistaken
    wrong = {path[-1] for path, key in names.typed.items() if key in mistaken}
    names.mistakes += contradictions({name: value for name, value in right.items() if name not in wrong})
    refuse(list(dict.fromkeys(names.mistakes)))
    spec = DeploymentSpec(**values, scaling=Scaling(**scaling))
    names.warnings += open_secrets(spec)
    return spec


def open_secrets(spec: DeploymentSpec) -> list[str]:
    """Return a warning for each variable that looks like a secret and is not given as one."""
    return [
        f"env.{name} looks like a secret, and is kept by the head as it is: give it as secret_env.{name}"
        for name in spec.env
        if looks_secret(name)
    ]


def may_name_zones(text: str) -> bool:
    """Return whether the JSON text of a document, or of a patch, may have schedules.

    The first one to read it then reads the files of their time zones, which blocks; see ``read_zones``.
    """
    return "schedules" in text or "\\u" in text  # which may spell it, too


def read_zones(text: str) -> None:
    """Read the files of the time zones that a document or a patch names, whatever else is wrong with it.

    It blocks: call it in a thread. After that, reading the text reads no file.
    """
    with suppress(DeploymentProblem):  # of a patch, too: it names no model
        read_document(text)


def settings_as_typed(text: str) -> dict[str, str]:
    """Return the older names of settings that a valid document uses, by today's names.

    So a message about ``dtype`` can speak of ``torch_dtype``, which the author wrote.
    """
    raw = read_object(text)
    given = raw.get("backend_config") or raw.get("settings") or {}
    return {new: old for old, new in OLDER_SETTINGS.items() if old in given}


def write_document(spec: DeploymentSpec) -> dict[str, Any]:
    """Return a document that ``read_document`` reads as this deployment, once it is JSON text."""
    document: dict[str, Any] = _converter.unstructure(spec)
    document["auto_scaling_config"] = document.pop("scaling")
    document["backend_config"] = document.pop("settings")
    return document


def _read(kind: type[Any], given: Mapping[str, Any], path: Path, names: Renaming) -> dict[str, Any]:
    """Return the values of a class's attributes that are right; tell ``names`` what is wrong with others."""
    values: dict[str, Any] = {}
    for attribute in attrs.fields(kind):
        here = (*path, attribute.name)
        if attribute.name not in given:
            continue
        if attrs.has(attribute.type):
            values[attribute.name] = _read(attribute.type, given[attribute.name], here, names)
        elif names.typed[here] not in (mistaken := names.mistaken):
            try:
                values[attribute.name] = _value(attribute, given[attribute.name])
            except (BaseValidationError, TypeError, ValueError) as error:
                found = list(_mistakes(error, names.typed[here], attribute.name))
                names.mistakes += [each for each in found if each.param not in mistaken]
    return values


def _value(attribute: attrs.Attribute[Any], given: object) -> Any:
    assert attribute.type is not None  # all are resolved above
    if SIZE in attribute.metadata and isinstance(given, str):
        given = _size(given[:100], auto=AUTO in attribute.metadata)
    value = _converter.structure(given, attribute.type)
    if attribute.validator:
        attribute.validator(None, attribute, value)
    return value


def _size(given: str, *, auto: bool) -> int | str:
    if auto and given.strip().lower() == AUTO:
        return AUTO
    try:
        return parse_bytes(given)
    except ValueError as error:
        if not auto:
            raise
        raise ValueError(f"{error}, or {AUTO}") from None


def _mistakes(error: Exception, key: str, name: str) -> Iterator[Mistake]:
    if isinstance(error, DeploymentProblem):
        yield from error.found
    elif isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            notes = [
                note for note in getattr(inner, "__notes__", ()) if isinstance(note, IterableValidationNote)
            ]
            parts = [plain_key(note.index) for note in notes if isinstance(note.index, str)]
            place = "".join(f"[{note.index}]" for note in notes if isinstance(note.index, int))
            yield from _mistakes(
                inner, ".".join([key, *parts]) + (place if key.endswith("schedules") else ""), name
            )
    elif str(error).startswith(by_name := f"'{name}' "):  # by a validator
        yield Mistake(f"{key} {str(error).removeprefix(by_name)}", key)
    else:
        yield Mistake(f"{key}: {error}", key)

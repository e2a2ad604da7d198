"""Reading JSON text strictly: only what the wire, the store and the engines can hold.

Python's reader accepts more than they do: NaN, numbers of more than 64 bits, lone surrogates (halves of
characters), NUL characters, deep nesting, a key given twice. All that is refused here, where the author can
still be told. A byte order mark at the beginning is ignored.
"""

from __future__ import annotations

import json
import math
from typing import Any

from .spec import DeploymentProblem

MAX_DEPTH = 32
"""How deep objects and lists may be nested."""

_LONGEST_NUMBER = 400  # digits; Python itself refuses to read very long ones, in words of its own


def read_object(text: str, what: str = "the deployment") -> dict[str, Any]:
    """Read the text of one JSON object.

    Args:
        text: The JSON text.
        what: What messages call it.

    Raises:
        DeploymentProblem: It is not JSON, not an object, or refused by ``check_value``; one sentence.
    """
    value = read_value(text, what)
    if not isinstance(value, dict):
        raise DeploymentProblem(f"{what} must be a JSON object")
    return value


def read_value(text: str, what: str) -> Any:
    """Read the text of one JSON value. See ``read_object``."""
    try:
        value = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_object, parse_int=_whole)
    except DeploymentProblem:
        raise
    except RecursionError:
        raise _too_deep(what) from None
    except ValueError as error:
        raise DeploymentProblem(f"{what} is not JSON: {error}") from None
    check_value(value, what)
    return value


def check_value(value: object, what: str) -> None:
    """Refuse a value that is not JSON, or that other parts of the cluster cannot hold (see the module).

    Args:
        value: A value that was read from JSON, or from another kind of document (TOML).
        what: What messages call it.

    Raises:
        DeploymentProblem: It is refused; one sentence that names the key.
    """
    _check(value, "", 0, what)


def shown(value: object) -> str:
    """Return a value as a sentence can quote it: JSON in one line, cut to 60 characters."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def plain_key(key: str) -> str:
    """Return a key as a sentence can quote it: in one line, cut to 100 characters."""
    plain = key if key.isprintable() else json.dumps(key)[1:-1]
    return plain if len(plain) <= 100 else plain[:97] + "..."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise DeploymentProblem(f"the key {shown(key)} is given twice", key)
        found[key] = value
    return found


def _whole(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise DeploymentProblem(f"the number {digits[:20]}... is too large: numbers have at most 64 bits")
    return int(digits)


def _check(value: object, key: str, depth: int, what: str) -> None:
    if depth > MAX_DEPTH:
        raise _too_deep(what)
    match value:
        case str():
            _check_text(value, key)
        case bool() | None:
            pass
        case int():
            if not -(2**63) <= value < 2**63:
                raise _problem(
                    key, f"the number {str(value)[:20]}... is too large: numbers have at most 64 bits"
                )
        case float():
            if not math.isfinite(value):
                raise _problem(key, f"{shown(value)} is not a number that JSON has")
        case dict():
            for name, item in value.items():
                _check_text(name, key)
                _check(item, f"{key}.{name}" if key else name, depth + 1, what)
        case list() | tuple():
            for item in value:
                _check(item, key, depth + 1, what)
        case _:
            raise _problem(key, f"{str(value)[:60]} is a {type(value).__name__}, which JSON has not")


def _check_text(text: str, key: str) -> None:
    if "\0" in text:
        raise _problem(key, f"{shown(text)} has a NUL character in it")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _problem(key, f"{shown(text)} has half a character in it") from None


def _problem(key: str, sentence: str) -> DeploymentProblem:
    named = plain_key(key)
    return DeploymentProblem(f"{named}: {sentence}" if key else sentence, named or None)


def _too_deep(what: str) -> DeploymentProblem:
    return DeploymentProblem(f"{what} is nested more than {MAX_DEPTH} deep")

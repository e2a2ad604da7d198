"""Reading JSON text strictly: only what the wire, the store and the engines can hold.

Python's reader accepts more than they do: NaN, numbers of more than 64 bits, lone surrogates (halves of
characters), NUL characters, deep nesting, a key given twice. All that is refused here, where the author can
still be told. A byte order mark at the beginning is ignored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from .problem import DeploymentProblem, Mistake, refuse

MAX_DEPTH = 32
"""How deep objects and lists may be nested."""

_LONGEST_NUMBER = 400  # digits; Python itself refuses to read very long ones, in words of its own


def read_object(text: str, what: str = "the deployment") -> dict[str, Any]:
    """Read the text of one JSON object.

    Args:
        text: The JSON text.
        what: What messages call it.

    Raises:
        DeploymentProblem: It is not JSON, not an object, or refused by ``check_value``.
    """
    value, mistakes = scan_object(text, what)
    refuse(mistakes)
    return value


def scan_object(text: str, what: str) -> tuple[dict[str, Any], list[Mistake]]:
    """Read the text of one JSON object; return it, and what ``read_object`` would refuse in it.

    Of a key that is given twice the first value is returned. A value with a mistake is as it was read: it
    must not be used for more than finding further mistakes.

    Raises:
        DeploymentProblem: It is not JSON, not an object, or nested too deep.
    """
    value, mistakes = _scan(text, what)
    if not isinstance(value, dict):
        refuse(mistakes)
        raise DeploymentProblem(f"{what} must be a JSON object")
    return value, mistakes


def read_value(text: str, what: str) -> Any:
    """Read the text of one JSON value. See ``read_object``."""
    value, mistakes = _scan(text, what)
    refuse(mistakes)
    return value


def check_value(value: object, what: str) -> None:
    """Refuse a value that is not JSON, or that other parts of the cluster cannot hold (see the module).

    Args:
        value: A value that was read from JSON, or from another kind of document (TOML).
        what: What messages call it.

    Raises:
        DeploymentProblem: It is refused; it names every mistake with its key.
    """
    refuse(list(_mistakes(value, "", 0, what)))


def shown(value: object) -> str:
    """Return a value as a sentence can quote it: JSON in one line, cut to 60 characters."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def plain_key(key: str) -> str:
    """Return a key as a sentence can quote it: in one line, cut to 100 characters."""
    plain = key if key.isprintable() else json.dumps(key)[1:-1]
    return plain if len(plain) <= 100 else plain[:97] + "..."


def _scan(text: str, what: str) -> tuple[Any, list[Mistake]]:
    mistakes: list[Mistake] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                mistakes.append(Mistake(f"the key {shown(key)} is given twice", plain_key(key)))
            else:
                found[key] = value
        return found

    def whole(digits: str) -> int:
        if len(digits) <= _LONGEST_NUMBER:
            return int(digits)
        mistakes.append(Mistake(f"the number {digits[:20]}... is too large: numbers have at most 64 bits"))
        return 0

    try:
        value = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=unique, parse_int=whole)
    except RecursionError:
        raise _too_deep(what) from None
    except ValueError as error:
        raise DeploymentProblem(f"{what} is not JSON: {error}") from None
    return value, mistakes + list(_mistakes(value, "", 0, what))


def _mistakes(value: object, key: str, depth: int, what: str) -> Iterator[Mistake]:
    if depth > MAX_DEPTH:
        raise _too_deep(what)
    match value:
        case str():
            yield from _mistakes_in_text(value, key)
        case bool() | None:
            pass
        case int():
            if not -(2**63) <= value < 2**63:
                sentence = f"the number {str(value)[:20]}... is too large: numbers have at most 64 bits"
                yield _mistake(key, sentence)
        case float():
            if not math.isfinite(value):
                yield _mistake(key, f"{shown(value)} is not a number that JSON has")
        case dict():
            for name, item in value.items():
                yield from _mistakes_in_text(name, key)
                yield from _mistakes(item, f"{key}.{name}" if key else name, depth + 1, what)
        case list() | tuple():
            for item in value:
                yield from _mistakes(item, key, depth + 1, what)
        case _:
            yield _mistake(key, f"{str(value)[:60]} is a {type(value).__name__}, which JSON has not")


def _mistakes_in_text(text: str, key: str) -> Iterator[Mistake]:
    if "\0" in text:
        yield _mistake(key, f"{shown(text)} has a NUL character in it")
    try:
        text.encode()
    except UnicodeEncodeError:
        yield _mistake(key, f"{shown(text)} has half a character in it")


def _mistake(key: str, sentence: str) -> Mistake:
    named = plain_key(key)
    return Mistake(f"{named}: {sentence}" if key else sentence, named or None)


def _too_deep(what: str) -> DeploymentProblem:
    return DeploymentProblem(f"{what} is nested more than {MAX_DEPTH} deep")

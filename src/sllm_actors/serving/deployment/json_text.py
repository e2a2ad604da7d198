"""Reads JSON text that every part of the cluster can carry on.

What Python reads and the rest cannot carry (numbers that are none or have more than 64 bits, halves of
characters, bottomless nesting), and a key given twice, are refused here, where somebody can still be told.
"""

from __future__ import annotations

import json
import math
from typing import Any

from .spec import DeploymentProblem

MAX_DEPTH = 32
"""Objects and lists within each other at the most."""


def read_object(text: str) -> dict[str, Any]:
    """Read the text of one JSON object.

    Raises:
        DeploymentProblem: With one sentence.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_int=_whole, parse_float=_number, parse_constant=_number
        )
        _check(value, 0)
    except DeploymentProblem:
        raise
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise DeploymentProblem(f"the deployment is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise DeploymentProblem("the deployment must be a JSON object")
    return value


def shown(value: object) -> str:
    """Return a value as it can stand in a sentence: JSON in one line, at most 60 characters of it."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise DeploymentProblem(f"the key {shown(key)} is given twice", key)
        found[key] = value
    return found


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise DeploymentProblem(f"the number {digits[:20]}... is too large: numbers have at most 64 bits")
    return int(digits)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise DeploymentProblem(f"{text[:20]} is not a number that JSON has")
    return number


def _check(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _too_deep()
    match value:
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise DeploymentProblem(f"{shown(value)} has half a character in it") from None
        case dict():
            for key, item in value.items():
                _check(key, depth)
                _check(item, depth + 1)
        case list():
            for item in value:
                _check(item, depth + 1)


def _too_deep() -> DeploymentProblem:
    return DeploymentProblem(f"the deployment is nested more than {MAX_DEPTH} deep")

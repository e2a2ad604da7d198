"""Reading a question from the query of a URL, as ``?limit=100&state=failed``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import attrs

from sllm_actors.api_error import ApiError

from .messages import MAX_LIMIT, DescribeEvents, ListQuestion

T = TypeVar("T", bound=ListQuestion | DescribeEvents)

_NUMBERS = {
    "limit": (9, f"a number from 1 to {MAX_LIMIT}"),
    "after": (18, "the number of an entry"),
}


def read_question(kind: type[T], query: Iterable[tuple[str, str]]) -> T:
    """Return the question that a query asks.

    Args:
        kind: Which one: its attributes are the parameters that may be given.
        query: Names and values; a name that comes twice is there twice.

    Raises:
        ApiError: 400: a parameter is unknown, comes twice, or is not a number and should be one.
    """
    known = {attribute.name for attribute in attrs.fields(kind)}
    values: dict[str, Any] = {}
    for name, text in query:
        if name not in known:
            takes = ", ".join(attribute.name for attribute in attrs.fields(kind))
            raise _wrong(name[:40], f"there is no parameter {name[:40]!r} here: there are {takes}")
        if name in values:
            raise _wrong(name, f"{name} is given twice: give it once")
        values[name] = _number(name, text) if name in _NUMBERS else text
    return kind(**values)


def _number(name: str, text: str) -> int:
    digits, meaning = _NUMBERS[name]
    if text.isascii() and text.isdigit() and len(text) <= digits:
        return int(text)
    raise _wrong(name, f"{name} must be {meaning}, not {text[:40]!r}")


def _wrong(param: str, sentence: str) -> ApiError:
    return ApiError(400, "invalid_parameter", sentence, param)

"""Reading a deployment's settings (JSON values by name) into the attrs class of a backend.

The functions ``whole``, ``number``, ``flag``, … declare the fields of such a class.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

import attrs

from sllm_actors.engines.errors import SettingsProblem
from sllm_actors.observe.redaction import masked

T = TypeVar("T", bound=attrs.AttrsInstance)

MOST_TOLD = 8
"""The most mistakes that one sentence tells."""


def whole(default: int | None, *, least: int = 1, most: int = 2**31 - 1, alias: str = "") -> Any:
    """Declare a setting that is a whole number from ``least`` to ``most``; ``alias`` is another name."""

    def check(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    return _setting(default, check, f"a whole number from {least} to {most}", alias)


def number(default: float | None, *, above: float, most: float) -> Any:
    """Declare a setting that is a number greater than ``above``, up to ``most``."""

    def check(value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and above < value <= most

    return _setting(default, check, f"a number above {above:g}, up to {most:g}")


def flag(*, default: bool | None) -> Any:
    """Declare a setting that is true or false; a default of None leaves it to the engine."""
    return _setting(default, lambda value: isinstance(value, bool), "true or false")


def words() -> Any:
    """Declare a setting that is a list of texts; a single text is split as a shell would split it."""
    what = "a list of texts, or one text with its quotes closed"
    return attrs.field(
        default=(),
        converter=_words,
        metadata={"check": lambda value: _words(value) is not None, "what": what},
    )


def _words(value: object) -> tuple[str, ...] | None:
    if isinstance(value, str):
        try:
            return tuple(shlex.split(value))
        except ValueError:
            return None
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        return tuple(value)
    return None


def text(default: str, *choices: str, secret: bool = False) -> Any:
    """Declare a setting that is a text, one of ``choices`` if there are any.

    Args:
        default: Its value where it is not given.
        choices: The allowed texts; any text is, if there are none.
        secret: Never repeat a wrong value in a message: it may be a key that was put in the wrong place.
    """
    what = " or ".join((", ".join(choices[:-1]), choices[-1])) if choices else "a text"

    def check(value: object) -> bool:
        return isinstance(value, str) and (not choices or value in choices)

    return _setting(default, check, what, secret=secret)


def texts() -> Any:
    """Declare a setting that is an object of texts by name, any of which may be a secret."""

    def check(value: object) -> bool:
        return isinstance(value, dict) and all(
            isinstance(item, str) for pair in value.items() for item in pair
        )

    what = "a table of names and texts"
    return attrs.field(factory=dict, repr=False, metadata={"check": check, "what": what, "secret": True})


def table() -> Any:
    """Declare a setting that is an object of texts and numbers by name."""

    def check(value: object) -> bool:
        return isinstance(value, dict) and all(
            isinstance(name, str) and isinstance(item, str | int | float) for name, item in value.items()
        )

    return attrs.field(factory=dict, metadata={"check": check, "what": "a table of names and plain values"})


def _setting(default: object, check: Any, what: str, alias: str = "", *, secret: bool = False) -> Any:
    metadata = {"check": check, "what": what, "alias": alias, "secret": secret}
    return attrs.field(default=default, metadata=metadata)


def read_settings(schema: type[T], settings: Mapping[str, object], backend: str) -> T:
    """Return a backend's settings; one that is not given, or is ``None``, has its default.

    Args:
        schema: The attrs class, whose fields are declared by the functions above.
        settings: JSON values by name.
        backend: The backend's name, for messages.

    Raises:
        SettingsProblem: Names are unknown or given twice (by an alias), or values are not allowed; the
            sentence tells the first ``MOST_TOLD`` of these mistakes.
    """
    fields = {field.name: field for field in attrs.fields(schema)}
    names = {name: name for name in fields}
    names.update(
        {field.metadata["alias"]: name for name, field in fields.items() if field.metadata.get("alias")}
    )
    found: dict[str, object] = {}
    mistakes: list[str] = []
    for given, value in settings.items():
        name = names.get(given)
        if name is None:
            told = len(mistakes) < MOST_TOLD  # what is close to a name takes time to find
            mistakes.append(_unknown(given, sorted(names), backend) if told else given)
        elif value is None:
            continue
        elif name in found:
            mistakes.append(f"{given} means {name}, which is given too: keep one of them")
        elif not fields[name].metadata["check"](value):
            but = "" if fields[name].metadata.get("secret") else f", not {masked(value, given)!r:.100}"
            mistakes.append(f"{given} must be {fields[name].metadata['what']}{but}")
        else:
            found[name] = value
    if mistakes:
        more = [f"and {len(mistakes) - MOST_TOLD} more"] if len(mistakes) > MOST_TOLD else []
        several = f"{len(mistakes)} mistakes: " if len(mistakes) > 1 else ""
        raise SettingsProblem(several + "; ".join([*mistakes[:MOST_TOLD], *more]))
    return schema(**found)


def _unknown(name: str, known: list[str], backend: str) -> str:
    close = get_close_matches(name[:100], known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(known)}"
    return f"the {backend} backend has no setting {name!r:.100}; {hint}"

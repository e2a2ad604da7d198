"""Types of option values that click does not have."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

from sllm_actors.host_port import HIGHEST_PORT, HostPort, parse_host
from sllm_actors.models.byte_size import parse_bytes

Parsed = TypeVar("Parsed")

CLUSTER_PORT = 8000


class HostPortType(click.ParamType[HostPort]):
    """``HOST``, ``HOST:PORT`` or ``[IPV6]:PORT``, with or without ``http://`` in front.

    Args:
        default_port: The port where none is given.
    """

    name = "host:port"

    def __init__(self, default_port: int) -> None:
        self._default_port = default_port

    def convert(
        self, value: str | HostPort, param: click.Parameter | None, ctx: click.Context | None
    ) -> HostPort:
        if isinstance(value, HostPort):
            return value
        address = value.removeprefix("http://").rstrip("/")
        try:
            found = HostPort.parse(address, self._default_port)
        except ValueError as error:
            self.fail(
                f"{value!r} is not an address like head.example:{self._default_port}: {error}", param, ctx
            )
        if not found.port:
            self.fail(f"{value!r} has no port that something can listen on", param, ctx)
        return found


class HostType(click.ParamType[str]):
    """A host name or an IP address without a port; an IPv6 address may be in brackets."""

    name = "host"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return parse_host(value)
        except ValueError as error:
            self.fail(f"{value!r} is not an address like 192.0.2.1 or ::1: {error}", param, ctx)


class TextType(click.ParamType[str]):
    """Text that can be shown: no control characters, and no bytes that are not UTF-8."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value.isprintable():
            self.fail(f"{value!a} has characters in it that cannot be shown", param, ctx)
        return value


class NameType(click.ParamType[str]):
    """The name of something that is there: not empty, as a variable of a script may be."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value.strip():
            self.fail(f"{value!r} names nothing", param, ctx)
        return value


class KeyValueType(click.ParamType[tuple[str, str]]):
    """``KEY=VALUE``; the value may be empty, and have further equals signs in it."""

    name = "key=value"

    def convert(
        self, value: str | tuple[str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, rest = value.partition("=")
        if not key or not equals or not value.isprintable():
            self.fail(f"{value!a} is not of the form KEY=VALUE, in characters that can be shown", param, ctx)
        return key, rest


class ParsedType(click.ParamType[Parsed]):
    """What a function reads from the text of an option.

    Args:
        name: How help names it.
        kind: The class of what is read.
        parse: Reads it; raises a ValueError that says what is wrong.
        problem: What a text is that cannot be read, in words that follow it.
    """

    def __init__(self, name: str, kind: type[Parsed], parse: Callable[[str], Parsed], problem: str) -> None:
        self.name = name
        self._kind = kind
        self._parse = parse
        self._problem = problem

    def convert(
        self, value: str | Parsed, param: click.Parameter | None, ctx: click.Context | None
    ) -> Parsed:
        if isinstance(value, self._kind):
            return value
        try:
            return self._parse(str(value))
        except ValueError as error:
            self.fail(f"{value!a} {self._problem}: {error}", param, ctx)


class FiniteRange(click.FloatRange):
    """A number in a range that is neither NaN nor infinite."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            number = super().convert(value, param, ctx)
        except click.BadParameter:
            number = math.nan
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number{_within(self.min, self.max)}", param, ctx)
        return number


class WholeRange(click.IntRange):
    """A whole number in a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not a whole number{_within(self.min, self.max)}", param, ctx)


def _within(least: float | None, most: float | None) -> str:
    """Return in words which numbers a range has; "" for all of them."""
    if most is not None:
        return f" up to {most:g}" if least is None else f" from {least:g} to {most:g}"
    return "" if least is None else f" of {least:g} or more"


def each_key_once(
    ctx: click.Context, param: click.Parameter, pairs: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """Return the values of a repeatable ``KEY=VALUE`` option; to be its ``callback``.

    Raises:
        click.BadParameter: A key is given twice.
    """
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise click.BadParameter(f"{key!r} is given twice: keep one of them", ctx, param)
    return pairs


class GpusType(click.ParamType[int | None]):
    """A number of GPUs, or ``auto``, which becomes None: all that the machine has."""

    name = "auto|n"

    def convert(
        self, value: str | int | None, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        if value is None or isinstance(value, int):
            return value
        if value == "auto":
            return None
        if not (value.isascii() and value.isdigit()):
            self.fail(f"{value!r} is neither auto nor a number of GPUs", param, ctx)
        return int(value)


class SizeType(click.ParamType[int]):
    """A size such as ``200GB``, ``1.5TB`` or ``64GiB``, which becomes a number of bytes."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_bytes(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class MomentType(click.ParamType[float]):
    """A moment: how long ago, as ``90s``, ``10m``, ``2h`` or ``3d``, or a date with or without a time.

    It becomes seconds since the epoch. A date without a time zone is of this machine's.
    """

    name = "time"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        ago = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])", value, re.ASCII)
        if ago is not None:
            return max(0.0, time.time() - float(ago[1]) * _SECONDS[ago[2]])
        try:
            return max(0.0, datetime.fromisoformat(value).timestamp())
        except (ValueError, OverflowError, OSError):
            self.fail(f"{value!a} is no time: give one as 90s, 10m, 2h, 3d or 2027-01-31T18:00", param, ctx)


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

PORT = WholeRange(0, HIGHEST_PORT)
HEAD = HostPortType(CLUSTER_PORT)
HOST = HostType()
TEXT = TextType()
NAME = NameType()
KEY_VALUE = KeyValueType()
GPUS = GpusType()
SIZE = SizeType()

"""Kinds of option values that click does not know."""

from __future__ import annotations

from urllib.parse import urlsplit

import click

from sllm_actors.models.byte_size import parse_bytes
from sllm_actors.nodes.options import HostPort

CLUSTER_PORT = 8000
HIGHEST_PORT = 65535


class HostPortType(click.ParamType[HostPort]):
    """``HOST``, ``HOST:PORT``, ``[IPV6]:PORT``, with or without ``http://`` in front."""

    name = "host:port"

    def __init__(self, default_port: int) -> None:
        self._default_port = default_port

    def convert(
        self, value: str | HostPort, param: click.Parameter | None, ctx: click.Context | None
    ) -> HostPort:
        if isinstance(value, HostPort):
            return value
        try:
            parts = urlsplit(value if "://" in value else f"//{value}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if (
            not host
            or parts.path.strip("/")
            or parts.query
            or parts.username
            or parts.scheme not in ("", "http")
        ):
            self.fail(f"{value!r} is not an address like head.example:{self._default_port}", param, ctx)
        return HostPort(host, port or self._default_port)


class KeyValueType(click.ParamType[tuple[str, str]]):
    """``KEY=VALUE``; the value may hold further equals signs, and be empty."""

    name = "key=value"

    def convert(
        self, value: str | tuple[str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, rest = value.partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is not of the form KEY=VALUE", param, ctx)
        return key, rest


class GpusType(click.ParamType[int | None]):
    """``auto`` (as None: what the machine has) or a number of GPUs."""

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
    """Bytes, as ``200GB``, ``1.5TB`` or ``64GiB``."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_bytes(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


PORT = click.IntRange(0, HIGHEST_PORT)
HEAD = HostPortType(CLUSTER_PORT)
KEY_VALUE = KeyValueType()
GPUS = GpusType()
SIZE = SizeType()

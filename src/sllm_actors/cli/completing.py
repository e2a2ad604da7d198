"""What a shell offers where a command wants a name: the ``shell_complete`` of arguments and options.

A gateway that is away, or slow, or refuses, offers nothing: completing never fails, and takes
``COMPLETING_SECONDS`` at most.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeVar

import click

from .answers.keys import KeysDocument
from .answers.reading import read
from .answers.status import StatusDocument
from .client import GatewayClient
from .errors import CommandFailure

T = TypeVar("T")

COMPLETING_SECONDS = 1.0
"""How long a gateway may take to connect and to answer: somebody holds a finger over the tabulator key."""

OFFERED = 200
"""How many names are asked for."""

BACKENDS = ("command", "external", "llamacpp", "sglang", "vllm")


def models(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Return the names of deployments: of the model, or the id where several have that model."""
    deployed = _ask("/deployments", StatusDocument(), limit=OFFERED).deployments
    times = Counter(each.model for each in deployed)
    return _beginning(begun, (each.model if times[each.model] == 1 else each.id for each in deployed))


def workers(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Return the names of workers: the id where several have that name."""
    nodes = _ask("/nodes", StatusDocument(), role="worker", limit=OFFERED).nodes
    times = Counter(each.name for each in nodes)
    return _beginning(begun, (each.name if times[each.name] == 1 else each.id for each in nodes))


def keys(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Return the names of API keys."""
    return _beginning(begun, (each.name for each in _ask("/keys", KeysDocument([])).keys))


def backends(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Return the backends."""
    return _beginning(begun, BACKENDS)


def _ask(path: str, nothing: T, **parameters: str | int) -> T:
    try:
        with GatewayClient(patience=COMPLETING_SECONDS) as client:
            return read(type(nothing), client.request("GET", path, params=parameters))
    except CommandFailure:
        return nothing


def _beginning(begun: str, names: Any) -> list[str]:
    return sorted({name for name in names if name.startswith(begun) and name.isprintable()})

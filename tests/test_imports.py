"""Imports between the rooms go one way, and the pure cores know nothing of loops, clocks, chance or logs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import grimp
import pytest

PACKAGE = "sllm_actors"

# Lowest first. A room may import itself, any room on a lower floor, and observe; rooms that share a floor are
# strangers to each other.
FLOORS = [
    {"actors"},
    {"transport"},
    {"cluster", "engines"},
    {"serving"},
    {"gateway"},
    {"dashboard"},
    {"nodes"},
    {"cli"},
]

# Beside the floors: what serves everyone, and what is public for the tests of users.
BESIDE: dict[str, set[str]] = {
    "observe": set(),
    "testing": {"actors", "transport", "engines", "observe"},
    "__main__": {"cli"},
}

# Decisions without effects: everything that they need from outside comes in as an argument.
PURE_CORES = {
    "actors": [
        "backoff",
        "children",
        "effects",
        "errors",
        "exits",
        "identity",
        "mailbox",
        "message",
        "network",
        "specs",
        "supervision",
        "supervision_state",
        "watching",
        "weight",
    ],
    "transport": [
        "admission",
        "assembly",
        "backoff",
        "codec",
        "control",
        "envelope",
        "errors",
        "fence",
        "frame",
        "handshake",
        "hello",
        "link",
        "outbox",
        "peer",
        "references",
        "settings",
    ],
    "engines": ["identity", "plan", "replica", "settings"],
    "gateway": [
        "access",
        "assemble",
        "board",
        "errors",
        "events",
        "headers",
        "holds",
        "in_flight",
        "inference_request",
        "knowledge",
        "routing",
    ],
    "serving": [
        "admission",
        "deployment",
        "describe",
        "document",
        "json_text",
        "known_nodes",
        "placement",
        "reconcile",
        "tiers",
        "waiting",
    ],
    "cli": ["conversation", "lookup"],
}

EFFECTS = {
    "anyio",
    "asyncio",
    "logging",
    "multiprocessing",
    "secrets",
    "selectors",
    "signal",
    "socket",
    "structlog",
    "subprocess",
    "threading",
    "time",
    "trio",
    "uvloop",
}


def allowed_imports() -> dict[str, set[str]]:
    allowed = dict(BESIDE)
    below: set[str] = set()
    for floor in FLOORS:
        for room in floor:
            allowed[room] = below | {"observe"}
        below |= floor
    return allowed


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(PACKAGE, include_external_packages=True, cache_dir=None)


def room_of(module: str) -> str | None:
    """Return the room of a module, or None for the package itself and for other packages."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] or None if package == PACKAGE else None


def test_every_room_has_its_place(graph: grimp.ImportGraph) -> None:
    rooms = {room_of(module) for module in graph.modules} - {None}
    assert rooms - set(allowed_imports()) == set()


def test_imports_between_rooms_go_one_way(graph: grimp.ImportGraph) -> None:
    allowed = allowed_imports()
    wrong = []
    for importer in sorted(graph.modules):
        room = room_of(importer)
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            other = room_of(imported)
            if other is not None and other != room and (room is None or other not in allowed[room]):
                wrong.append(f"{importer} imports {imported}")
    assert wrong == []


@pytest.mark.parametrize("core", [f"{room}.{name}" for room, names in PURE_CORES.items() for name in names])
def test_a_pure_core_has_no_effects(graph: grimp.ImportGraph, core: str) -> None:
    module = f"{PACKAGE}.{core}"
    assert module in graph.modules, "PURE_CORES lists a module that is not there: was it renamed?"
    imported = {name.partition(".")[0] for name in graph.find_modules_directly_imported_by(module)}
    assert imported & EFFECTS == set()
    # Chance comes in as an argument of this type; drawing from the module's own generator is an effect.
    assert set(re.findall(r"\brandom\.(\w+)", source_of(module))) <= {"Random"}
    assert "from random import" not in source_of(module)


def source_of(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text()

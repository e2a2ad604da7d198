"""Imports between the rooms go one way, and the pure cores know nothing of loops, clocks, chance or logs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import grimp
import pytest

PACKAGE = "sllm_actors"

# Lowest first. A room may import itself, any room on a lower floor, and what serves everyone; rooms that
# share a floor are strangers to each other.
FLOORS = [
    {"actors", "loadgen"},
    {"transport"},
    {"cluster", "models"},
    {"engines"},
    {"serving"},
    {"gateway"},
    {"dashboard"},
    {"nodes"},
    {"cli"},
]

# Beside the floors: what serves everyone, and what is public for the tests of users.
SERVES_EVERYONE = {"api_error", "descriptors", "disk", "files", "host_port", "http_server", "observe"}
BESIDE: dict[str, set[str]] = {
    "api_error": set(),
    "descriptors": set(),
    "disk": set(),
    "files": set(),
    "host_port": set(),
    "http_server": {"api_error", "descriptors"},
    "observe": {"files"},
    "testing": {"actors", "transport", "engines", "files", "observe"},
    "__main__": {"cli"},
}

# Inside a room, by the same rule: its sub-rooms and the modules beside them. "*" is all those modules that
# are not listed; they may import each other as they like.
SUB_FLOORS: dict[str, list[set[str]]] = {
    "transport": [
        {"*"},
        {"streams"},
        {"entrance"},
        {"transport"},
        {"__init__"},
    ],
    "engines": [
        {"external"},
        {"*"},
        {"installs", "machine", "ownership"},
        {"warm"},
        {"host"},
        {"backends"},
        {"replica"},
    ],
    "serving": [
        {"deployment", "differences"},
        {"decisions", "store"},
        {"messages"},
        {"journal"},
        {"picture"},
        {"*"},
        {"worker"},
    ],
    "gateway": [
        {"*"},
        {"bodies"},
        {"routing"},
        {"access"},
        {"path"},
        {"api"},
        {"gateway"},
        {"__init__"},
    ],
    "loadgen": [
        {"problem"},
        {"traces"},
        {"work"},
        {"figures"},
        {"client"},
        {"*"},
    ],
    "nodes": [
        {"*"},
        {"launcher"},
    ],
    "cli": [
        {"*"},
        {"commands"},
        {"app"},
        {"__init__"},
    ],
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
        "credential",
        "envelope",
        "errors",
        "fence",
        "frame",
        "handshake",
        "hello",
        "identification",
        "key_pair",
        "link",
        "outbox",
        "peer",
        "refusal_log",
        "references",
        "settings",
        "streams.multiplexer",
        "streams.stream_state",
        "streams.wire",
    ],
    "cluster": ["credentials", "roles"],
    "models": ["byte_size", "eviction", "shards"],
    "engines": [
        "attention",
        "environment",
        "external.access",
        "external.address",
        "gpu_figures",
        "identity",
        "life_end",
        "plan",
        "retry",
        "ownership.listeners",
        "replica.gpu_log",
        "replica.lifecycle",
        "replica.recent_pressure",
        "replica.root_cause",
        "backends.settings",
        "warm.waiting",
    ],
    "gateway": [
        "access.guard",
        "access.sent_key",
        "bodies.content_coding",
        "bodies.dialects",
        "bodies.form",
        "bodies.form_passing",
        "bodies.json_mistakes",
        "bodies.keep_alive",
        "bodies.members",
        "bodies.request_fields",
        "bodies.response_id",
        "bodies.rewriting",
        "bodies.stream_end",
        "bodies.stream_error",
        "cors",
        "errors",
        "path.answers.assembly",
        "path.answers.events",
        "path.answers.relays",
        "path.clients.budget",
        "path.clients.http1",
        "path.clients.request_body",
        "path.clients.upgrade",
        "path.clients.upload",
        "path.deadlines",
        "path.engines.broke",
        "path.engines.pool",
        "path.engines.request",
        "path.engines.sending",
        "path.engines.target",
        "path.failover",
        "path.reading",
        "path.repeated_head",
        "headers",
        "hops",
        "path.answers.model_name",
        "routing.asked",
        "routing.balancer",
        "routing.board",
        "routing.callbacks",
        "routing.flow",
        "routing.give_back",
        "routing.lines.circuit",
        "routing.lines.attained",
        "routing.lines.fair_queue",
        "routing.lines.hold_queue",
        "routing.lines.hold",
        "routing.memory.keys",
        "routing.memory.knowledge",
        "routing.loss",
        "routing.memory.poison",
        "routing.lines.line",
        "routing.lines.measured",
        "routing.lines.place",
        "routing.lines.policies.choice",
        "routing.lines.policies.p2c",
        "routing.lines.policies.policy",
        "routing.lines.policies.prefix",
        "routing.lines.policies.round_robin",
        "routing.lines.policies.session",
        "routing.reminders",
        "routing.route",
        "routing.shell",
        "surface",
    ],
    "serving": [
        "admission",
        "answers",
        "deaths",
        "deployment.changes",
        "deployment.contradictions",
        "differences.follower",
        "differences.messages",
        "differences.publisher",
        "deployment.document",
        "deployment.json_text",
        "deployment.names",
        "deployment.problem",
        "deployment.spec",
        "find_node",
        "journal.journal",
        "journal.kinds",
        "journal.noted",
        "journal.repeats",
        "links.known_links",
        "refusals",
        "sticky_ids",
        "keys.messages",
        "keys.requests",
        "loading.messages",
        "loading.requests",
        "messages.answers",
        "messages.changes",
        "messages.deaths",
        "messages.gateways",
        "messages.demand",
        "messages.inventory",
        "messages.orders",
        "messages.replicas",
        "messages.routes",
        "pulls.messages",
        "pulls.plan",
        "pulls.ticket",
        "store.journal_filter",
        "store.records",
        "store.writes",
        "decisions.eviction",
        "decisions.growth",
        "decisions.placement",
        "decisions.load",
        "decisions.pauses",
        "decisions.saturation",
        "decisions.scaling",
        "decisions.schedules",
        "decisions.start_cost",
        "decisions.swapping",
        "decisions.tiers",
        "deployment.schedule",
        "picture.planning.asked",
        "picture.audit",
        "picture.catalogue",
        "picture.indices.demand",
        "picture.deployment",
        "picture.deployment_state",
        "picture.effects",
        "picture.events",
        "picture.eviction.candidates",
        "picture.eviction.claims",
        "picture.eviction.contenders",
        "picture.eviction.evictable",
        "picture.eviction.evictor",
        "picture.eviction.making_room",
        "picture.fleet",
        "picture.indices.labels",
        "picture.indices.models",
        "picture.indices.queues",
        "picture.indices.room",
        "picture.indices.timers",
        "picture.tiers.measuring",
        "picture.tiers.resting",
        "picture.missing",
        "picture.node",
        "picture.nodes",
        "picture.parts",
        "picture.picture",
        "picture.planning.ordering",
        "picture.planning.planner",
        "picture.planning.queue",
        "picture.planning.route",
        "picture.planning.learned",
        "picture.planning.scaling",
        "picture.planning.unreached",
        "picture.recovery",
        "picture.replica",
        "picture.replica_reports",
        "picture.planning.rollout",
        "picture.room.claim",
        "picture.room.figures",
        "picture.room.fitting",
        "picture.room.gpu_memory",
        "picture.room.ledger",
        "picture.room.need",
        "picture.room.peaks",
        "picture.room.placing",
        "picture.settling",
        "picture.indices.tally",
        "views.answers",
        "views.cursors",
        "views.deployments",
        "views.events",
        "views.lists",
        "views.messages",
        "views.nodes",
        "views.pages",
        "views.parameters",
        "views.reasons",
        "views.rollouts",
        "views.shapes",
        "views.totals",
        "worker.orders.assignment",
        "worker.orders.assignments",
        "worker.orders.crashes",
        "worker.orders.effects",
        "worker.pace",
        "worker.declined",
        "worker.stock",
        "worker.tiers",
        "worker.withdrawals",
    ],
    "cli": ["display.ages", "conversation", "lookup", "display.summary", "rollout"],
    "http_server": ["turns"],
    "loadgen": [
        "client.answer",
        "client.encoding",
        "figures.figures",
        "figures.generator_load",
        "figures.goals",
        "figures.histogram",
        "figures.plot",
        "figures.result",
        "figures.timeline",
        "page",
        "report",
        "rows",
        "svg",
        "traces.objects",
        "traces.row",
        "traces.servegen",
        "traces.tables",
        "work.arrivals",
        "work.lengths",
        "work.offered",
        "work.popularity",
        "work.request",
        "work.synthetic",
    ],
    "nodes": ["launcher.liveness"],
    "observe": ["redaction", "terminal_text"],
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
            allowed[room] = below | SERVES_EVERYONE
        below |= floor
    return allowed


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(PACKAGE, include_external_packages=True, cache_dir=None)


def room_of(module: str) -> str | None:
    """Return the room of a module, or None for the package itself and for other packages."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] or None if package == PACKAGE else None


def sub_room_of(module: str) -> str:
    """Return the name of a module, or of the sub-room that it is in, inside its room."""
    return [*module.split("."), "__init__"][2]


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


@pytest.mark.parametrize("room", SUB_FLOORS)
def test_imports_inside_a_room_go_one_way(graph: grimp.ImportGraph, room: str) -> None:
    floors = {name: floor for floor, names in enumerate(SUB_FLOORS[room]) for name in names}
    wrong = []
    for importer in sorted(graph.modules):
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            if room_of(importer) == room_of(imported) == room:
                name, other = sub_room_of(importer), sub_room_of(imported)
                floor, below = (floors.get(each, floors["*"]) for each in (name, other))
                free = name == other or not {name, other} & floors.keys()
                if not free and below >= floor:
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

"""What a replica is told, and what it says of itself."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from attrs import field, frozen

from sllm_actors.actors import Catalog

from .external import ServerAccess
from .identity import ReplicaId, ReplicaKey

CATALOG = Catalog()


LOOPBACK = "loopback:"
"""How the address of an engine begins that listens on a port of its worker's own loopback."""


class ReplicaState(StrEnum):
    """``PENDING -> STARTING -> READY <-> ASLEEP -> DRAINING -> STOPPED``, or ``FAILED`` (and then again)."""

    PENDING = "pending"
    STARTING = "starting"
    READY = "ready"
    ASLEEP = "asleep"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


class ForkServerState(StrEnum):
    """What a fork server is doing.

    ``STARTING``: it imports; ``READY``: it forks; ``RESTING``: the worker has no room for another engine;
    ``FAILED``: it ended, and will be started again. While it is not READY, engines start as programs.
    """

    STARTING = "starting"
    READY = "ready"
    RESTING = "resting"
    FAILED = "failed"


@frozen
class ForkServerReport:
    """What a worker says of one fork server.

    Attributes:
        memory: Bytes that it occupies; forks share most of them.
        modules: How many it has imported.
        reason: Why it is not READY, in one sentence.
    """

    backend: str
    state: ForkServerState
    memory: int = 0
    modules: int = 0
    reason: str = ""


@frozen
class ReplicaOrder:
    """What one replica should be: everything its worker needs to know to run it.

    Attributes:
        model: The name that clients use, and that the engine is told to serve.
        backend: ``vllm``, ``llamacpp``, ``sglang``, ``command`` or ``external``.
        source: ``hf:ID``, ``demo:NAME`` or a path on the worker; for ``external`` the server's URL.
        settings: The backend's own settings by name, as JSON values; checked by the backend's schema.
        num_gpus: GPUs the engine gets to itself.
        startup_timeout: Seconds from the start to READY before the attempt counts as failed.
        drain_timeout: Seconds that requests in flight get when the replica is withdrawn.
        env: Variables that its engine gets beside those that it gets anyway.
        secret_env: More of them, by name: where the worker finds the value, ``env:NAME`` or ``file:/path``.
    """

    key: ReplicaKey
    model: str
    backend: str
    source: str
    settings: dict[str, Any] = field(factory=dict)
    num_gpus: int = 0
    startup_timeout: float = 600.0
    drain_timeout: float = 30.0
    env: dict[str, str] = field(factory=dict, repr=False)
    secret_env: dict[str, str] = field(factory=dict)


@frozen
class ReplicaReport:
    """What a worker says of one replica.

    Attributes:
        address: ``unix:/path`` of the engine's socket on the worker, ``loopback:PORT`` where it cannot listen
            on one, the URL of an external server, or "" while nothing listens.
        key: What an engine on a port wants to be shown by whoever asks it something; "" for nothing.
        machine: Which machine and boot the socket is on: a gateway on the same one may use it directly.
        progress: What a STARTING engine is doing, in a few words.
        reason: Why it FAILED or was restarted, in one sentence for a person.
        exit_status: How the last engine life ended: ``exit code 1``, ``signal SIGKILL``, or "".
        log_tail: The last lines of its log, when it FAILED.
        pid: The engine's process (0 for none); it leads a process group of the same number.
        since: When this state began, seconds since the epoch.
        retry_in: Seconds until the next attempt of a FAILED replica, or None.
        failures: How often it failed in a row, without having been READY for a while in between.
        can_sleep: Whether its engine can be put to sleep.
        starts: How often its engine was started here: 1 for the first time, 0 before it.
        server: How an external server is reached, while ``address`` is its URL; None for an engine.
        withdrawal: Rises each time that it is withdrawn from the gateways, to sleep or to end: what they say
            of an earlier one does not count.
    """

    id: ReplicaId
    state: ReplicaState
    address: str = ""
    machine: str = ""
    progress: str = ""
    reason: str = ""
    exit_status: str = ""
    log_tail: tuple[str, ...] = ()
    pid: int = 0
    since: float = 0.0
    retry_in: float | None = None
    failures: int = 0
    can_sleep: bool = False
    withdrawal: int = 0
    key: str = field(default="", repr=False)
    starts: int = 0
    server: ServerAccess | None = None

    @property
    def instance(self) -> str:
        """What people call it: its place, and which start there this is. It does not identify a life."""
        return f"{self.id.key}.{self.starts}"


@CATALOG.message("engines.replica_changed")
@frozen
class ReplicaChanged:
    """From a replica to its worker: this is what I am now."""

    report: ReplicaReport


@CATALOG.message("engines.stop_replica")
@frozen
class StopReplica:
    """To a replica: end the engine and all its processes, report STOPPED, and end.

    Attributes:
        reason: Why, for the log.
        drain: False ends it now; True first reports DRAINING and waits for ``Drained`` or the drain timeout.
    """

    reason: str
    drain: bool = True


@CATALOG.message("engines.drained")
@frozen
class Drained:
    """To a replica that is DRAINING, or to sleep: nobody has a request in flight there, nor will send one.

    Attributes:
        withdrawal: As it reported it.
    """

    id: ReplicaId
    withdrawal: int = 0


@CATALOG.message("engines.sleep_replica")
@frozen
class SleepReplica:
    """To a READY replica: be ASLEEP. One whose engine cannot sleep drains and stops instead.

    It reports ASLEEP at once and puts its engine to sleep after ``Drained``; if that does not come within the
    drain timeout it is READY again.

    Attributes:
        level: 0 only pauses; 1 keeps the weights in the machine's memory; 2 keeps nothing.
    """

    level: int = 1


@CATALOG.message("engines.wake_replica")
@frozen
class WakeReplica:
    """To a replica that is ASLEEP, or about to be: be READY."""


@CATALOG.message("engines.read_log")
@frozen
class ReadLog:
    """Ask a worker for a piece of a replica's log; answered with ``LogChunk``.

    Attributes:
        offset: Byte position since the log began (old parts may be gone), or None for the last ``limit``.
        limit: At most this many bytes; the worker answers with at most 64 KiB.
    """

    key: ReplicaKey
    offset: int | None = None
    limit: int = 65536


@CATALOG.message("engines.log_chunk")
@frozen
class LogChunk:
    """A piece of a log, cut at a character boundary.

    Attributes:
        offset: Where ``text`` begins; later than asked for when older parts are gone.
        next_offset: Where to go on reading.
        ended: Nothing more will be written.
    """

    offset: int
    next_offset: int
    text: str
    ended: bool = False


@CATALOG.message("engines.open_engine")
@frozen
class OpenEngine:
    """The request of a tunnel: connect me with that engine, and with no other life of it."""

    id: ReplicaId


@CATALOG.message("engines.inspect_source")
@frozen
class InspectSource:
    """Ask a worker whether it could run this, before it is accepted; answered with ``SourceInspected``.

    Attributes:
        num_gpus: What a replica would take of this worker.
    """

    backend: str
    source: str
    settings: dict[str, Any] = field(factory=dict)
    num_gpus: int = 0
    env: dict[str, str] = field(factory=dict, repr=False)
    secret_env: dict[str, str] = field(factory=dict)


@CATALOG.message("engines.source_inspected")
@frozen
class SourceInspected:
    """The answer: ``problem`` is "" when the worker could run it, else one sentence that says what to do.

    Attributes:
        size: Bytes of the model's files, or None where it is not known yet.
    """

    problem: str = ""
    size: int | None = None

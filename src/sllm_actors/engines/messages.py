"""The messages between a replica and its worker, and what a worker is asked about its engines."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from attrs import field, frozen

from sllm_actors.actors import Catalog

from .external import ServerAccess
from .gpu_figures import GpuFigures
from .identity import ReplicaId, ReplicaKey

CATALOG = Catalog()


IDLE_PATIENCE = 2.0
"""Seconds that the requests of a replica have to end when it is to stop or sleep *if idle*."""

LOOPBACK = "loopback:"
"""Begins the address of an engine that listens on a TCP port of the worker's 127.0.0.1."""


class ReplicaState(StrEnum):
    """``PENDING -> STARTING -> READY <-> ASLEEP -> DRAINING -> STOPPED``; a ``FAILED`` one starts again."""

    PENDING = "pending"
    STARTING = "starting"
    READY = "ready"
    ASLEEP = "asleep"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


class ForkServerState(StrEnum):
    """What a fork server is doing.

    ``STARTING``: it imports modules; ``READY``: engines can be forked from it; ``RESTING``: it does not run,
    because the worker has no room for another engine; ``FAILED``: it ended, and will be started again. While
    it is not READY, engines are started as programs.
    """

    STARTING = "starting"
    READY = "ready"
    RESTING = "resting"
    FAILED = "failed"


@frozen
class ForkServerReport:
    """What a worker says of one fork server.

    Attributes:
        memory: Its resident memory in bytes; forked engines share most of it.
        modules: How many Python modules it has imported.
        reason: Why it is not READY, in one sentence; "" when it is.
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
        num_gpus: How many GPUs the engine gets.
        gpu_memory: Bytes of each of them, if it shares them with others; 0 for whole GPUs.
        startup_timeout: Seconds from the start to READY before the attempt counts as failed.
        drain_timeout: Seconds that requests in flight get to end when the replica is withdrawn.
        env: Environment variables of the engine, by name, on top of those that every engine gets.
        secret_env: Further variables, by name; each value says where the worker finds the secret:
            ``env:NAME`` or ``file:/path``.
        document: The whole document of the deployment, JSON text: a head that has lost its store takes the
            deployment back from it.
        fingerprint: Tells whether two orders of one revision mean the same engine: see ``fingerprint`` of
            the deployment's changes. "" where the head gave none.
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
    document: str = field(default="", repr=False)
    fingerprint: str = ""
    gpu_memory: int = 0


@frozen
class ReplicaReport:
    """What a worker says of one replica.

    Attributes:
        address: ``unix:/path`` of the engine's socket on the worker, ``loopback:PORT`` where the engine can
            only listen on a TCP port, the URL of an external server, or "" while nothing listens.
        key: The bearer token that an engine on a port asks of its clients; "" for none.
        machine: The ``machine_id`` of the worker: a gateway with the same one may connect to the socket
            directly.
        progress: What a STARTING engine is doing, in a few words.
        downloading: Whether that is the download of its model.
        reason: Why the replica FAILED or was restarted, in one sentence for a person.
        exit_status: How the last engine life ended: ``exit code 1``, ``signal SIGKILL``, or "".
        log_tail: The last lines of the engine's log, when the replica FAILED.
        pid: The engine's process (0 for none); it leads a process group of the same number.
        since: When this state began, seconds since the epoch.
        retry_in: Seconds until the next attempt of a FAILED replica, or None.
        failures: How often the replica failed in a row, without having been READY for
            ``HealthPolicy.healthy_uptime`` in between.
        can_sleep: Whether its engine can be put to sleep.
        starts: How often its engine was started on this worker; 0 before the first start.
        server: How an external server is reached, while ``address`` is its URL; None for an engine.
        withdrawal: Counts how often the replica was withdrawn from the gateways, to sleep or to end: an
            answer of theirs to an earlier withdrawal does not count.
        gpus: How many GPUs it has, or is to get.
        fingerprint: That of its ``ReplicaOrder``.
        unfit: Whether the worker has refused to run it, for ``reason``. Such a replica is FAILED and not
            tried again until something on the worker has changed, or the head orders it anew.
        concurrency: How many requests its engine runs at a time; 0 where that is not known.
        context_length: How many tokens one request may have, its answer included; 0 where that is not known.
        level: The level at which it sleeps, or is about to, while it is ASLEEP; None while it wakes.
        if_idle: Whether it is DRAINING, or about to sleep, only if its requests end in ``IDLE_PATIENCE``: if
            they do not, it is READY again.
        declined: How often it was to stop or sleep if idle, and did not: its requests did not end in time, or
            it was waking, or its engine cannot sleep. Begins anew with each life of the worker.
        memory_short: Whether it was to sleep at level 1 and did not, since the machine has no memory for its
            weights. Until it has slept since, or its engine is started anew.
        started_in: Seconds that its last start took, from when it had its GPUs until it was READY; 0 where
            that is not known. The time of a download does not count.
        woke_in: Seconds that its wake took since it was to sleep last; 0 if it has not slept since.
        devices: The UUIDs of the GPUs that it has now.
        gpu_reserved: Bytes that are kept for it on each of these; 0 where it has them whole, or that is not
            known. An engine that sleeps keeps fewer.
        memory: Bytes of the machine's memory that its processes had at most; 0 where that is not known.
        gpu_memory: The same of the GPU on which they had most.
        waiting: How many requests waited inside its engine at most, within the last minute: up to 5, which
            stands for more, too. 0 where its engine does not tell.
        kv_used: How many per cent of the room for KV caches were taken at most, within the last minute: in
            steps of 5. 0 where its engine does not tell.
        gpu_share: Bytes of each of its GPUs that its order gives it; 0 for whole GPUs.
        gpu_figures: What its model takes of each GPU by its files; None while that is not known.
        gpu_used: Bytes of each GPU that its engine has for all but its KV cache; 0 where it does not say, or
            has whole GPUs.
        gpu_lacked: Bytes of each GPU that its engine lacked when it ended as it started; 0 where it ended for
            another reason, or has whole GPUs.
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
    gpus: int = 0
    fingerprint: str = ""
    unfit: bool = False
    concurrency: int = 0
    context_length: int = 0
    level: int | None = None
    if_idle: bool = False
    declined: int = 0
    started_in: float = 0.0
    woke_in: float = 0.0
    devices: tuple[str, ...] = ()
    gpu_reserved: int = 0
    memory: int = 0
    gpu_memory: int = 0
    waiting: int = 0
    kv_used: int = 0
    memory_short: bool = False
    downloading: bool = False
    gpu_share: int = 0
    gpu_figures: GpuFigures | None = None
    gpu_used: int = 0
    gpu_lacked: int = 0

    @property
    def instance(self) -> str:
        """The name that people see: the replica's key and ``starts``. It does not identify an engine life."""
        return f"{self.id.key}.{self.starts}"


@CATALOG.message("engines.replica_changed", senders=())
@frozen
class ReplicaChanged:
    """From a replica to its worker: this is what I am now."""

    report: ReplicaReport


@frozen
class OrderChanged:
    """From a worker to a replica: this is what is ordered of you now.

    Nothing is restarted: time limits and the document hold from now on, and nothing else may have changed.
    """

    order: ReplicaOrder


@CATALOG.message("engines.stop_replica", senders=())
@frozen
class StopReplica:
    """To a replica: end the engine and all its processes, report STOPPED, and end.

    Attributes:
        reason: Why, for the log.
        drain: False ends it now; True first reports DRAINING and waits for ``Drained`` or the drain timeout.
        if_idle: Whether it waits for ``Drained`` no longer than ``IDLE_PATIENCE``, and is then READY again.
        patience: Seconds that it waits for ``Drained``; None: the drain timeout. Asked again with None, it
            waits no longer than that.
    """

    reason: str
    drain: bool = True
    if_idle: bool = False
    patience: float | None = None


@CATALOG.message("engines.drained", senders=())
@frozen
class Drained:
    """To a replica that is DRAINING, or about to sleep: no gateway has a request in flight there, nor will
    send one.

    Attributes:
        withdrawal: The one of the ``ReplicaReport`` that is answered.
    """

    id: ReplicaId
    withdrawal: int = 0


@CATALOG.message("engines.sleep_replica", senders=())
@frozen
class SleepReplica:
    """To a READY replica: be ASLEEP. One whose engine cannot sleep drains and stops instead, or declines.

    The replica reports ASLEEP at once and puts its engine to sleep after ``Drained``. If that does not come
    within ``drain_timeout``, it is READY again.

    Attributes:
        level: 0 only pauses the engine; 1 moves the weights to the machine's memory; 2 drops them.
        if_idle: Whether it waits for ``Drained`` no longer than ``IDLE_PATIENCE``. Such a sleeper ends when
            its engine does: it is not started again.
        patience: Seconds that it waits for ``Drained`` instead; then it stops, whatever is in flight: its
            room is needed. None: as above.
    """

    level: int = 1
    if_idle: bool = False
    patience: float | None = None


@CATALOG.message("engines.wake_replica", senders=())
@frozen
class WakeReplica:
    """To a replica that is ASLEEP, or about to be, or about to stop if it is idle: be READY."""


@CATALOG.message("engines.read_log", senders={"gateway"})
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


@CATALOG.message("engines.log_chunk", senders=())
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


@CATALOG.message("engines.open_engine", senders={"gateway"})
@frozen
class OpenEngine:
    """Opens a tunnel to one engine life. It is refused when another life has taken that one's place."""

    id: ReplicaId


@CATALOG.message("engines.confirm_engine", senders={"gateway"})
@frozen
class ConfirmEngine:
    """Ask a worker whether an engine life still serves; answered with ``EngineConfirmed`` within a second."""

    id: ReplicaId


@CATALOG.message("engines.engine_confirmed", senders=())
@frozen
class EngineConfirmed:
    """What a worker found when it was asked about an engine life. All false: it could not tell.

    Attributes:
        serving: Whether its process runs, and its health check has just been answered well.
        died: Whether the engine has ended by itself, or answers its health check with an error. An engine
            that was stopped, or that its worker ended, has not died.
        reason: What is wrong, in a few words; "" where nothing is.
    """

    serving: bool = False
    died: bool = False
    reason: str = ""


@CATALOG.message("engines.inspect_source", senders={"head"})
@frozen
class InspectSource:
    """Ask a worker whether it could run a deployment that is about to be accepted.

    The worker answers with ``SourceInspected``. The fields mean what they mean in ``ReplicaOrder``.
    """

    backend: str
    source: str
    settings: dict[str, Any] = field(factory=dict)
    num_gpus: int = 0
    env: dict[str, str] = field(factory=dict, repr=False)
    secret_env: dict[str, str] = field(factory=dict)


@CATALOG.message("engines.source_inspected", senders=())
@frozen
class SourceInspected:
    """The answer to ``InspectSource``.

    Attributes:
        problem: "" when the worker could run the deployment, else one sentence that says what to do.
        size: Bytes of the model's files, or None where that is not known yet.
        gpu_figures: What the model takes of each GPU; None where that is not known yet, or there is no GPU.
    """

    problem: str = ""
    size: int | None = None
    gpu_figures: GpuFigures | None = None

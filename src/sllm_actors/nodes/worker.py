"""The process of a worker: the worker's actor, its engines, and the tunnels that gateways open to them."""

from __future__ import annotations

import os
import socket
from functools import partial

import anyio
import structlog
from anyio import to_thread
from attrs import evolve

from sllm_actors.actors import ActorRef, ActorSystem, AskError, ChildSpec
from sllm_actors.cluster.home import HomeProblem, NodeHome
from sllm_actors.cluster.inventory import inspect_machine, missed_gpus
from sllm_actors.cluster.secret import find_secret
from sllm_actors.descriptors import explain, is_out_of_descriptors
from sllm_actors.engines.backends.inspection import inspect_in_time
from sllm_actors.engines.health_policy import HealthPolicy
from sllm_actors.engines.host import EngineHost, open_host
from sllm_actors.engines.machine.log_reader import read_chunk
from sllm_actors.engines.messages import LogChunk, OpenEngine, ReadLog, ReplicaOrder, ReplicaState
from sllm_actors.engines.policy import EnginePolicy
from sllm_actors.engines.replica.actor import ReplicaActor
from sllm_actors.engines.replica.engine_socket import open_engine_socket
from sllm_actors.observe.redaction import masked_text
from sllm_actors.observe.terminal import announce
from sllm_actors.serving.messages import WORKER
from sllm_actors.serving.worker.actor import WorkerActor
from sllm_actors.serving.worker.epoch import ObeyedEpoch
from sllm_actors.serving.worker.inventory import InventoryReader
from sllm_actors.serving.worker.leaving import Leave
from sllm_actors.serving.worker.replicas import Replicas
from sllm_actors.serving.worker.runtime import WorkerRuntime
from sllm_actors.transport import NodeFull, Peer, PeerLost, PeerUp, Transport, TunnelRefused

from .fork_servers import keep_fork_servers
from .membership import Membership, find_membership, watched
from .node import open_node, refusal_teller
from .settings import WorkerNodeSettings

log = structlog.get_logger("sllm_actors.worker")

EPOCH_FILE = "epoch.json"

ENGINES_STOP = 3.5
"""Seconds that engines get between SIGTERM and SIGKILL when the worker itself stops."""

FIRST_LOOK = 1.0
"""Seconds that listing the models on the disk may hold up the worker's start; the list then follows later."""

LOOK_FOR_STUCK = 5.0
"""Seconds between two looks whether engines that could not be killed are gone."""


async def run_worker(settings: WorkerNodeSettings, stopping: anyio.Event) -> None:
    """Run a worker until ``stopping`` is set.

    Raises:
        SetupProblem: The worker cannot run as it is set up: ``HomeProblem``, ``SecretProblem``, ``NotAHead``,
            ``TlsProblem`` or ``JoinRefused``.
        FileProblem: A damaged file can neither be used nor be renamed.
        HeadMoved: The worker has to be started again.
    """
    home = await to_thread.run_sync(NodeHome.open, settings.home, "worker")
    try:
        secret = await to_thread.run_sync(find_secret, settings.data_dir, settings.secret_file)
        host = await to_thread.run_sync(_open_host, settings)
        # Before the head is found: what a fork server imports takes longest, and depends on nothing else.
        async with keep_fork_servers(settings.fork_servers, settings.home / "fork-servers", host):
            membership = await find_membership(settings, home, stopping)
            if membership is not None:
                await _serve(settings, home, secret, host, membership, stopping)
        host.folders.remove_empty()
    finally:
        home.close()


async def _serve(
    settings: WorkerNodeSettings,
    home: NodeHome,
    secret: bytes,
    host: EngineHost,
    membership: Membership,
    stopping: anyio.Event,
) -> None:
    """Run a worker that knows its cluster, until ``stopping`` is set."""
    replicas = Replicas()
    async with (
        watched(membership),
        open_node(
            settings,
            home,
            role="worker",
            cluster=membership.info.cluster,
            secret=secret,
            news=partial(_tell_worker, membership),
            on_tunnel=partial(_open_tunnel, replicas),
            on_no_link=membership.on_no_link,
        ) as node,
    ):
        epoch = await to_thread.run_sync(ObeyedEpoch, settings.home / EPOCH_FILE, host.disk)
        inventory = _inventory(settings, host, replicas)
        with anyio.move_on_after(FIRST_LOOK):
            await inventory.look_at_disk()
        runtime = _runtime(host, node.transport, replicas, inventory, epoch, settings.slots)
        await node.system.start(
            ChildSpec(id=WORKER, name=WORKER, factory=lambda: WorkerActor(runtime, replicas), shutdown=60.0)
        )
        await node.system.start(refusal_teller(node))
        membership.dial_head(node.transport.dial)
        async with anyio.create_task_group() as group:
            group.start_soon(_free_gpus, host)
            group.start_soon(inventory.watch_disk)
            await stopping.wait()
            host.running.hurry(ENGINES_STOP)
            await _leave(node.system, settings.stop_patience)
            group.cancel_scope.cancel()


async def _leave(system: ActorSystem, patience: float) -> None:
    """Let requests end, and then the engines; what is left after their time, the end of the actors ends."""
    try:
        await system.named(WORKER).ask(Leave(patience), timeout=patience + ENGINES_STOP)
    except AskError as error:
        log.warning("worker.not_left", reason=str(error))


async def _free_gpus(host: EngineHost) -> None:
    """Free the GPUs of engines that could not be killed as soon as these are gone; never returns."""
    while True:
        await anyio.sleep(LOOK_FOR_STUCK)
        if host.leases.stuck:
            await to_thread.run_sync(host.leases.look_again)


def _open_host(settings: WorkerNodeSettings) -> EngineHost:
    try:
        return _host(settings)
    except (FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        why = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise HomeProblem(f"the worker's data directory cannot be used: {why}") from None


def _host(settings: WorkerNodeSettings) -> EngineHost:
    machine = inspect_machine(settings.gpus)
    if missed := missed_gpus(machine, settings.gpus, os.environ):
        announce(f"{settings.name}: {missed}")
    gpus = machine.gpus
    return open_host(
        settings.home,
        name=settings.machine_name,
        interpreters=settings.engine_python,
        engines_dir=settings.data_dir / "engines",
        models=(settings.storage_path or settings.data_dir) / "models",
        gpus=[gpu.uuid for gpu in gpus],
        gpu_sizes={gpu.uuid: gpu.memory_total for gpu in gpus},
        quota=settings.storage_quota,
        policy=EnginePolicy(
            allow_command=settings.allow_command,
            own_folder=settings.data_dir,
            health=HealthPolicy(healthy_uptime=settings.healthy_uptime),
        ),
    )


def _tell_worker(membership: Membership, system: ActorSystem, event: PeerUp | PeerLost) -> None:
    if isinstance(event, PeerUp) and event.peer.role == "head":
        membership.on_joined()
    system.named(WORKER).tell(event)


def _inventory(settings: WorkerNodeSettings, host: EngineHost, replicas: Replicas) -> InventoryReader:
    return InventoryReader(
        host,
        replicas,
        name=host.name,
        address=(settings.advertise, settings.ports["transport"]),
        gpus=settings.gpus,
        labels=settings.labels,
        slots=settings.slots,
        memory_budget=settings.memory_budget,
    )


def _runtime(
    host: EngineHost,
    transport: Transport,
    replicas: Replicas,
    inventory: InventoryReader,
    epoch: ObeyedEpoch,
    slots: int | None,
) -> WorkerRuntime:
    def make_replica(order: ReplicaOrder, owner: ActorRef) -> ReplicaActor:
        return ReplicaActor(order, host=host, owner=owner)

    def read_log(request: ReadLog) -> LogChunk:
        # Asked before the log is read: a replica that ends in between may have written its last lines after
        # it.
        gone = replicas.at(request.key) is None
        chunk = read_chunk(host.folders.log_of(request.key), request.offset, request.limit)
        return evolve(chunk, text=masked_text(chunk.text), ended=gone and not chunk.text)

    return WorkerRuntime(
        make_replica=make_replica,
        inspect=partial(inspect_in_time, host=host),
        read_log=read_log,
        inventory=inventory,
        engines=host.interpreters.marks,
        name=host.name,
        models=host.models,
        interpreter=host.interpreters.of,
        peers=transport.peers,
        epoch=epoch,
        slots=slots,
    )


async def _open_tunnel(replicas: Replicas, peer: Peer, request: object) -> socket.socket:
    """Connect a gateway to exactly the life of an engine that it names.

    Raises:
        TunnelRefused: The peer is no gateway, or that life does not serve here or cannot be reached.
        NodeFull: This process has no file descriptors left.
    """
    if peer.role != "gateway" or not isinstance(request, OpenEngine):
        raise TunnelRefused("only gateways may open engines")
    report = replicas.find(request.id)
    if report is None or report.state not in (ReplicaState.READY, ReplicaState.DRAINING):
        raise TunnelRefused(f"{request.id} does not serve here now")
    try:
        return await open_engine_socket(report)
    except OSError as error:
        if is_out_of_descriptors(error):
            raise NodeFull(explain(error)) from None
        raise TunnelRefused(f"{request.id} cannot be reached: {error.strerror or error}") from None

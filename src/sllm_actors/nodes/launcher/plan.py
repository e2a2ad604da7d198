"""The plan of a launcher: the nodes to start, and the listening sockets that it binds for them once.

The launcher binds the sockets so that they outlive a node: while a node is being restarted, connections wait
in the socket's queue and are not refused.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from sllm_actors.cluster.home import SetupProblem
from sllm_actors.cluster.loopback import is_loopback
from sllm_actors.cluster.public_tls import make_public_context, public_host
from sllm_actors.cluster.secret import admin_key, make_credentials
from sllm_actors.cluster.tls import make_tls_contexts
from sllm_actors.cluster.tls_files import PublicTlsFiles, TlsFiles
from sllm_actors.host_port import HostPort
from sllm_actors.http_server import make_seats
from sllm_actors.nodes.options import (
    EngineOptions,
    GatewayOptions,
    HeadOptions,
    NodeOptions,
    UpOptions,
    WorkerOptions,
)
from sllm_actors.nodes.settings import GatewayNodeSettings, HeadNodeSettings, NodeSettings, WorkerNodeSettings
from sllm_actors.nodes.user_paths import NoHome, absolute, default_data_dir

from .listening import (
    LauncherProblem,
    Sockets,
    advertised_by_default,
    check_advertised,
    every_address,
    reachable,
    warning_of_loopback,
)

TITLES: dict[type[NodeOptions], str] = {
    UpOptions: "sllm up",
    HeadOptions: "sllm launcher of a head",
    WorkerOptions: "sllm launcher of a worker",
    GatewayOptions: "sllm launcher of a gateway",
}
"""What ``ps`` shows for the launcher of each command: names such as ``sllm head`` are those of its nodes."""

PATIENCE: dict[type[EngineOptions], float] = {WorkerOptions: 3.0, UpOptions: 0.5}
"""Seconds that requests have to end when a worker stops: fewer where gateways have stopped before it."""


@frozen
class PlannedNode:
    """One node to start.

    Attributes:
        role: A key of ``settings.ROLES``: ``head``, ``worker`` or ``gateway``.
        settings: What the node is told.
    """

    role: str
    settings: NodeSettings


@frozen
class LauncherPlan:
    """Everything that one launcher starts.

    Attributes:
        data_dir: The absolute data directory of all nodes.
        nodes: The nodes.
        sockets: The listening sockets; a node inherits those whose descriptors its settings name.
        title: What ``ps`` shows for the launcher.
        gateway_url: The URL at which this machine reaches this launcher's gateways, or "" if it starts none.
        public_url: The URL of them to tell people: it has a name that their certificate is for.
        certificate: The certificate of these gateways, or None where they serve cleartext.
        key: The admin key that the gateways want of their clients, or None if they want none.
        demo: Whether to deploy the demo model once a gateway answers.
        seats: The descriptor of the memory that gateways share, or None with fewer than two of them.
        notes: What is told at the start, a sentence each.
        gateway_patience: Seconds after which a gateway process that does not answer is killed and replaced.
    """

    data_dir: Path
    nodes: tuple[PlannedNode, ...]
    sockets: tuple[socket.socket, ...] = field(repr=False)
    title: str = "sllm launcher"
    gateway_url: str = ""
    public_url: str = ""
    certificate: Path | None = None
    key: str | None = field(default=None, repr=False)
    demo: bool = False
    seats: int | None = None
    gateway_patience: float = 30.0
    notes: tuple[str, ...] = ()

    def close_sockets(self) -> None:
        """Close the launcher's own copies of the sockets: no node can be started again."""
        for listener in self.sockets:
            listener.close()

    def close(self) -> None:
        """Close what the nodes inherit."""
        self.close_sockets()
        if self.seats is not None:
            os.close(self.seats)


def make_plan(chosen: NodeOptions) -> LauncherPlan:
    """Decide which nodes to start, and bind their sockets.

    Without ``--host``, ``sllm up`` and ``sllm gateway`` listen on loopback; ``sllm head`` and ``sllm worker``
    listen on every address, since they are of use only to other machines.

    Args:
        chosen: The options of one of these four commands.

    Raises:
        LauncherProblem: A port is taken, or the data directory or the files for TLS cannot be used.
    """
    try:
        return _make_plan(chosen)
    except (SetupProblem, NoHome) as problem:
        raise LauncherProblem(str(problem)) from None


def _make_plan(chosen: NodeOptions) -> LauncherPlan:
    tls = _checked(chosen.tls)
    data_dir = absolute(chosen.data_dir or default_data_dir(os.environ))
    match chosen:
        case UpOptions():
            planning = _Planning(chosen, data_dir, tls, "127.0.0.1")
            planning.make_secret()
            head = planning.head(chosen.cluster_port, chosen.transport_port, None)
            worker = planning.worker(chosen, head, chosen.worker_port, "--worker-port", None)
            return planning.done(worker, *planning.gateways(head, chosen, chosen.gateways), demo=chosen.demo)
        case HeadOptions():
            planning = _Planning(chosen, data_dir, tls, every_address())  # nodes prove the secret
            planning.make_secret()
            head = planning.head(chosen.cluster_port, chosen.transport_port, chosen.database_url)
            return planning.done(*planning.gateways(head, chosen, chosen.gateways))
        case WorkerOptions():
            planning = _Planning(chosen, data_dir, tls, every_address())  # gateways prove the secret
            return planning.done(planning.worker(chosen, chosen.head, chosen.port, "--port", chosen.name))
        case GatewayOptions():
            planning = _Planning(chosen, data_dir, tls, "127.0.0.1")
            return planning.done(*planning.gateways(chosen.head, chosen, 1))
        case _:
            raise TypeError(f"{type(chosen).__name__} names no nodes")


class _Planning:
    """Makes the nodes of one plan: they share an address, a data directory and the sockets bound so far."""

    def __init__(self, chosen: NodeOptions, data_dir: Path, tls: TlsFiles | None, default_host: str) -> None:
        self._address = chosen.host or default_host
        head = chosen.head.host if isinstance(chosen, WorkerOptions | GatewayOptions) else ""
        check_advertised(chosen.advertise, self._address, head)
        warned = isinstance(chosen, WorkerOptions) and warning_of_loopback(
            chosen.advertise, self._address, head
        )
        self._notes = (f"worker: {warned}",) if warned else ()
        self._data_dir = data_dir
        self._title = TITLES[type(chosen)]
        self._secret_file = chosen.secret_file
        self._common: dict[str, Any] = {
            "data_dir": data_dir,
            "advertise": chosen.advertise or advertised_by_default(self._address),
            "secret_file": chosen.secret_file,
            "loopback": is_loopback(self._address),
            "tls": tls,
        }
        self._member: dict[str, Any] = {**self._common, "trust_new_head": chosen.trust_new_head}
        self._sockets = Sockets(self._address)
        self._head: list[PlannedNode] = []
        self._url = self._public_url = ""
        self._seats: int | None = None
        self._patience = 30.0
        self._public_tls = _checked_public(chosen)

    def make_secret(self) -> None:
        make_credentials(self._data_dir, self._secret_file)

    def head(self, cluster_port: int, transport_port: int, database_url: str | None) -> HostPort:
        """Plan the head; return where nodes on this machine find it."""
        cluster = self._sockets.bind(cluster_port, "--cluster-port", "the cluster HTTP")
        transport = self._sockets.bind(transport_port, "--transport-port", "the head's transport")
        settings = HeadNodeSettings(
            name="head",
            listeners={"cluster": cluster[0], "transport": transport[0]},
            ports={"cluster": cluster[1], "transport": transport[1]},
            database_url=database_url or "",
            **self._common,
        )
        self._head.append(PlannedNode("head", settings))
        return HostPort(reachable(self._address), cluster[1])

    def worker(
        self, chosen: EngineOptions, head: HostPort, port: int, flag: str, name: str | None
    ) -> PlannedNode:
        descriptor, bound = self._sockets.bind(port, flag, "the worker's transport")
        settings = WorkerNodeSettings(
            name="worker",
            listeners={"transport": descriptor},
            ports={"transport": bound},
            head_host=head.host,
            head_port=head.port,
            title=name or "",
            stop_patience=PATIENCE[type(chosen)],
            gpus=chosen.gpus,
            slots=chosen.slots,
            memory_budget=chosen.memory_budget,
            storage_path=chosen.storage_path and absolute(chosen.storage_path),
            storage_quota=chosen.storage_quota,
            labels=chosen.labels,
            engine_python=chosen.engine_python,
            fork_servers=chosen.fork_servers,
            allow_command=chosen.allow_command,
            healthy_uptime=chosen.healthy_uptime,
            **self._member,
        )
        return PlannedNode("worker", settings)

    def gateways(
        self, head: HostPort, chosen: UpOptions | HeadOptions | GatewayOptions, count: int
    ) -> list[PlannedNode]:
        """Plan gateways that share one listening socket: when one goes, no queued connection is lost."""
        if count == 0:
            return []
        public_tls = self._public_tls
        self._patience = chosen.gateway_patience
        descriptor, bound = self._sockets.bind(chosen.port, "--port", "the OpenAI API")
        address = reachable(self._address)
        scheme = "http" if public_tls is None else "https"
        told = self._common["advertise"] or address
        host = told if public_tls is None else public_host(public_tls, told)
        self._url = f"{scheme}://{HostPort(address, bound).authority}"
        self._public_url = f"{scheme}://{HostPort(host, bound).authority}"
        self._seats = make_seats(count) if count > 1 else None
        settings = [
            GatewayNodeSettings(
                name=f"gateway-{number}",
                listeners={"gateway": descriptor},
                ports={"gateway": bound},
                head_host=head.host,
                head_port=head.port,
                public_tls=public_tls,
                cors_origins=chosen.cors_origins,
                seats=self._seats,
                seat=number,
                **self._member,
            )
            for number in range(count)
        ]
        return [PlannedNode("gateway", each) for each in settings]

    def done(self, *nodes: PlannedNode, demo: bool = False) -> LauncherPlan:
        return LauncherPlan(
            self._data_dir,
            (*self._head, *nodes),
            tuple(self._sockets.bound),
            title=self._title,
            gateway_url=self._url,
            public_url=self._public_url,
            certificate=None if self._public_tls is None else self._public_tls.certificate,
            key=None if self._common["loopback"] or not self._url else admin_key(self._data_dir),
            demo=demo,
            seats=self._seats,
            gateway_patience=self._patience,
            notes=self._notes,
        )


def _checked(tls: TlsFiles | None) -> TlsFiles | None:
    """Return the files under absolute paths, when nodes can be linked with them."""
    if tls is None:
        return None
    paths = (tls.certificate, tls.key, tls.authority)
    found = TlsFiles(*(absolute(path) for path in paths))
    make_tls_contexts(found)
    return found


def _checked_public(chosen: NodeOptions) -> PublicTlsFiles | None:
    """Return the files under absolute paths, when clients can be served with them."""
    files = chosen.public_tls if isinstance(chosen, UpOptions | HeadOptions | GatewayOptions) else None
    if files is None:
        return None
    found = evolve(files, certificate=absolute(files.certificate), key=absolute(files.key))
    make_public_context(found)
    return found

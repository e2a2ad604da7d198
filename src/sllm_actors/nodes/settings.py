"""The settings of a node, which the launcher writes to the node's standard input as one line of JSON."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from attrs import evolve, field, frozen
from cattrs.preconf.json import make_converter

from sllm_actors.cluster.tls_files import PublicTlsFiles, TlsFiles

CONFIGURATION_EXIT = 78
"""Exit status of a node that cannot run as it is set up: starting it again would not help (``EX_CONFIG``)."""


@frozen(kw_only=True)
class NodeSettings:
    """The settings of every node.

    Attributes:
        name: What the launcher calls the node: ``head``, ``worker``, ``gateway-0``.
        data_dir: The directory of everything that this user's nodes keep on this machine.
        listeners: The listening sockets that the node inherits: descriptors by purpose, which is ``cluster``,
            ``transport`` or ``gateway``.
        ports: The ports of those sockets, by purpose.
        loopback: Whether those sockets can be reached from this machine only.
        advertise: The address that other machines reach this one at; "" for the one that they see.
        secret_file: The file with the cluster secret, or None for SLLM_CLUSTER_SECRET or the data directory.
        tls: The files for TLS between nodes, or None for links without TLS.
    """

    name: str
    data_dir: Path
    listeners: dict[str, int] = field(factory=dict)
    ports: dict[str, int] = field(factory=dict)
    loopback: bool = True
    advertise: str = ""
    secret_file: Path | None = None
    tls: TlsFiles | None = None

    @property
    def inherited(self) -> tuple[int, ...]:
        """The descriptors that the node inherits from the launcher."""
        return tuple(self.listeners.values())

    @property
    def process_title(self) -> str:
        """What ``ps`` shows for the node's process."""
        return f"sllm {self.name}"

    @property
    def home(self) -> Path:
        """The node's own directory."""
        return self.data_dir / self.name

    @property
    def log(self) -> Path:
        """The file of the node's log."""
        return self.home / "node.log"


@frozen(kw_only=True)
class HeadNodeSettings(NodeSettings):
    """The settings of a head.

    Attributes:
        database_url: The URL of the database for state; "" for a SQLite file in the data directory.
    """

    database_url: str = field(default="", repr=False)


@frozen(kw_only=True)
class MemberSettings(NodeSettings):
    """The settings of a node that joins a head.

    Attributes:
        head_host: The host of the head's cluster HTTP.
        head_port: The port of the head's cluster HTTP.
        trust_new_head: Whether to forget the head's key that was kept when the node joined.
    """

    head_host: str
    head_port: int
    trust_new_head: bool = False


@frozen(kw_only=True)
class WorkerNodeSettings(MemberSettings):
    """The settings of a worker. ``options.EngineOptions`` explains all that are not listed.

    Attributes:
        title: What people call this machine; "" for its host name.
        stop_patience: Seconds that requests have to end when the worker is told to stop.
    """

    title: str = ""
    stop_patience: float = 3.0
    gpus: int | None = None
    slots: int | None = None
    memory_budget: int | None = None
    storage_path: Path | None = None
    storage_quota: int | None = None
    labels: dict[str, str] = field(factory=dict)
    engine_python: dict[str, str] = field(factory=dict)
    fork_servers: str = "auto"
    allow_command: bool = False
    healthy_uptime: float = 60.0

    @property
    def machine_name(self) -> str:
        """What people call this machine."""
        return self.title or socket.gethostname()

    @property
    def process_title(self) -> str:
        return f"sllm {self.name} {self.machine_name}"


@frozen(kw_only=True)
class GatewayNodeSettings(MemberSettings):
    """The settings of a gateway.

    Attributes:
        public_tls: The files for TLS of the OpenAI API, or None for cleartext.
        cors_origins: The origins of web pages that may use the OpenAI API from a browser.
        seats: The descriptor of the memory for the gateways that share the port, or None where it is alone.
        seat: Which seat there is its own.
        health: The descriptor of the socket on which the launcher asks whether the gateway is well, or None.
    """

    public_tls: PublicTlsFiles | None = None
    cors_origins: tuple[str, ...] = ()
    seats: int | None = None
    seat: int = 0
    health: int | None = None

    @property
    def inherited(self) -> tuple[int, ...]:
        more = (each for each in (self.seats, self.health) if each is not None)
        return (*super().inherited, *more)


def believing(settings: NodeSettings) -> NodeSettings:
    """Return the settings of a node that believes the head that it knows, and no new one."""
    return evolve(settings, trust_new_head=False) if isinstance(settings, MemberSettings) else settings


ROLES: dict[str, type[NodeSettings]] = {
    "head": HeadNodeSettings,
    "worker": WorkerNodeSettings,
    "gateway": GatewayNodeSettings,
}
"""The class of the settings of each role."""

_converter = make_converter(forbid_extra_keys=True)
_converter.register_unstructure_hook(Path, str)
_converter.register_structure_hook(Path, lambda value, _: Path(value))


def write_settings(role: str, settings: NodeSettings) -> bytes:
    """Return the line of JSON for the node's standard input, newline included."""
    return json.dumps({"role": role, "settings": _converter.unstructure(settings)}).encode() + b"\n"


def read_settings(line: bytes) -> tuple[str, NodeSettings]:
    """Return the role and the settings that ``write_settings`` wrote.

    Raises:
        ValueError: The line is not such a one.
    """
    try:
        document = json.loads(line)
        role = document["role"]
        return role, _converter.structure(document["settings"], ROLES[role])
    except Exception as error:
        raise ValueError("a node is started by the launcher: use `sllm up|head|worker|gateway`") from error

"""What the launcher tells a node at its start: one JSON line on the node's standard input."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from attrs import field, frozen
from cattrs.preconf.json import make_converter

from sllm_actors.cluster.tls_files import TlsFiles

CONFIGURATION_EXIT = 78
"""Exit status of a node that cannot run as it is set up: starting it again would not help (``EX_CONFIG``)."""


@frozen(kw_only=True)
class NodeSettings:
    """What every node is told.

    Attributes:
        name: What the launcher calls it: ``head``, ``worker``, ``gateway-0``.
        data_dir: The directory of everything that this user's nodes keep on this machine.
        listeners: Bound sockets that the node inherits: descriptors by purpose.
        ports: The ports of those sockets, by purpose.
        loopback: Whether they are reachable from this machine only.
        advertise: The address that other machines reach this one at; "" for the one that they see.
        secret_file: Where the cluster secret is read from instead of the data directory.
        tls: The files for TLS with other nodes; None for links without it.
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
    def process_title(self) -> str:
        """What ``ps`` shows."""
        return f"sllm {self.name}"

    @property
    def home(self) -> Path:
        """The node's own directory."""
        return self.data_dir / self.name

    @property
    def log(self) -> Path:
        """The node's log."""
        return self.home / "node.log"


@frozen(kw_only=True)
class HeadNodeSettings(NodeSettings):
    """What a head is told.

    Attributes:
        database_url: Where state is kept; "" for a SQLite file in the data directory.
    """

    database_url: str = field(default="", repr=False)


@frozen(kw_only=True)
class MemberSettings(NodeSettings):
    """What a node that joins a head is told.

    Attributes:
        head_host: Where the head's cluster HTTP is.
        head_port: Its port.
    """

    head_host: str
    head_port: int


@frozen(kw_only=True)
class WorkerNodeSettings(MemberSettings):
    """What a worker is told.

    Attributes:
        title: What people call this machine; "" for its host name.
        gpus: How many GPUs engines may use; None for all that are found.
        storage_path: Where model files are kept; None for the data directory.
        storage_quota: Bytes that they may have together; None for all that the disk has.
        labels: What placement can ask for.
        engine_python: The interpreter of a backend, by the backend's name.
        fork_servers: Whose engines are forked from a fork server: a backend's name, "none", or "auto" for
            all that are installed.
        allow_command: Whether deployments may name the program that is run.
        healthy_uptime: Seconds of being ready after which an engine's failures are forgotten.
    """

    title: str = ""
    gpus: int | None = None
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
    """What a gateway is told."""


ROLES: dict[str, type[NodeSettings]] = {
    "head": HeadNodeSettings,
    "worker": WorkerNodeSettings,
    "gateway": GatewayNodeSettings,
}

_converter = make_converter(forbid_extra_keys=True)
_converter.register_unstructure_hook(Path, str)
_converter.register_structure_hook(Path, lambda value, _: Path(value))


def write_settings(role: str, settings: NodeSettings) -> bytes:
    """Return the line for the node's standard input."""
    return json.dumps({"role": role, "settings": _converter.unstructure(settings)}).encode() + b"\n"


def read_settings(line: bytes) -> tuple[str, NodeSettings]:
    """Read the line.

    Raises:
        ValueError: It is not one.
    """
    try:
        document = json.loads(line)
        role = document["role"]
        return role, _converter.structure(document["settings"], ROLES[role])
    except Exception as error:
        raise ValueError("a node is started by the launcher: use `sllm up|head|worker|gateway`") from error

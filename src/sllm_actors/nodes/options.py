"""What a person can choose about the nodes to run, each command's choices as one frozen object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import field, frozen

from sllm_actors.cluster.tls_files import TlsFiles
from sllm_actors.host_port import HostPort


def _as_dict(pairs: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, str]:
    return dict(pairs)


@frozen(kw_only=True)
class NodeOptions:
    """What can be chosen for every node.

    Attributes:
        host: The address that public sockets are bound to, or None for the launcher's default.
        advertise: The address that other machines reach this one at, or None for "found out by the node".
        data_dir: Where identity and state live, or None for the launcher's default.
        secret_file: Where the cluster secret is read from, or None for SLLM_CLUSTER_SECRET or the data
            directory.
        tls: The files for TLS between nodes, or None for links without it.
    """

    host: str | None = None
    advertise: str | None = None
    data_dir: Path | None = None
    secret_file: Path | None = None
    tls: TlsFiles | None = None


@frozen(kw_only=True)
class EngineOptions(NodeOptions):
    """What can be chosen where engines run.

    Attributes:
        gpus: How many GPUs may be used, or None for all that are found.
        storage_path: Where model files are kept, or None for the launcher's default.
        storage_quota: Bytes that they may have together, or None for all that the disk has.
        labels: What placement can ask for.
        engine_python: The interpreter of a backend, by the backend's name.
        fork_servers: Whose engines are forked from a fork server: a backend's name, "none" or "auto".
        allow_command: Whether deployments may name the program that is run.
        healthy_uptime: Seconds of being ready after which an engine's failures are forgotten.
    """

    gpus: int | None = None
    storage_path: Path | None = None
    storage_quota: int | None = None
    labels: dict[str, str] = field(factory=dict, converter=_as_dict)
    engine_python: dict[str, str] = field(factory=dict, converter=_as_dict)
    fork_servers: str = "auto"
    allow_command: bool = False
    healthy_uptime: float = 60.0


@frozen(kw_only=True)
class UpOptions(EngineOptions):
    """Options of ``sllm up``: head, worker and gateway on this machine. A port of 0 is any free one."""

    demo: bool = False
    port: int = 8343
    cluster_port: int = 8000
    transport_port: int = 8001
    worker_port: int = 8002


@frozen(kw_only=True)
class HeadOptions(NodeOptions):
    """Options of ``sllm head``: the head, and as many gateways as wanted beside it."""

    gateways: int = 1
    port: int = 8343
    cluster_port: int = 8000
    transport_port: int = 8001
    database_url: str | None = None


@frozen(kw_only=True)
class WorkerOptions(EngineOptions):
    """Options of ``sllm worker``."""

    head: HostPort
    port: int = 8002
    name: str | None = None


@frozen(kw_only=True)
class GatewayOptions(NodeOptions):
    """Options of ``sllm gateway``."""

    head: HostPort
    port: int = 8343

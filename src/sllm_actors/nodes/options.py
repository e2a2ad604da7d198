"""The options of the commands that run nodes: one frozen class for each command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import field, frozen

from sllm_actors.cluster.tls_files import PublicTlsFiles, TlsFiles
from sllm_actors.host_port import HostPort


def _as_dict(pairs: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, str]:
    return dict(pairs)


@frozen(kw_only=True)
class NodeOptions:
    """Options of every node.

    Attributes:
        host: The address that listening sockets are bound to, or None for the default of ``make_plan``.
        advertise: The address that other machines reach this one at, or None for the one that they see.
        data_dir: Where identity and state live, or None for ``user_paths.default_data_dir``.
        secret_file: The file with the cluster secret, or None for SLLM_CLUSTER_SECRET or the data directory.
        tls: The files for TLS between nodes, or None for links without TLS.
        trust_new_head: Whether workers and gateways forget, once, the head's key that they know, because the
            head has a new one.
    """

    host: str | None = None
    advertise: str | None = None
    data_dir: Path | None = None
    secret_file: Path | None = None
    tls: TlsFiles | None = None
    trust_new_head: bool = False


@frozen(kw_only=True)
class EngineOptions(NodeOptions):
    """Options of a node that runs engines.

    Attributes:
        gpus: How many GPUs engines may use, or None for all that are found.
        slots: The most engines that run at a time, or None for no limit.
        memory_budget: Bytes of memory that engines may have together, or None for no limit.
        storage_path: The folder in which the folder ``models`` is, or None for the data directory.
        storage_quota: Bytes that model files may have together, or None for all that the disk has.
        labels: Properties of this machine, for placement.
        engine_python: The path of the Python interpreter that has an engine installed, by backend.
        fork_servers: Which backends have a fork server: one backend's name, "none", or "auto" for all that
            are installed.
        allow_command: Whether deployments of the backend ``command`` may name the program that is run.
        healthy_uptime: Seconds of being ready after which an engine's earlier failures no longer count.
    """

    gpus: int | None = None
    slots: int | None = None
    memory_budget: int | None = None
    storage_path: Path | None = None
    storage_quota: int | None = None
    labels: dict[str, str] = field(factory=dict, converter=_as_dict)
    engine_python: dict[str, str] = field(factory=dict, converter=_as_dict)
    fork_servers: str = "auto"
    allow_command: bool = False
    healthy_uptime: float = 60.0


@frozen(kw_only=True)
class UpOptions(EngineOptions):
    """Options of ``sllm up``: head, worker and gateway on this machine. A port of 0 is any free one.

    Attributes:
        demo: Whether to deploy the demo model.
        gateways: How many gateways, from 1.
        port: The port of the OpenAI API, which the gateways share.
        cluster_port: The port of the cluster HTTP.
        transport_port: The port of the head's transport.
        worker_port: The port of the worker's transport.
        public_tls: The files for TLS of the OpenAI API, or None for cleartext.
        cors_origins: The origins of web pages that may use the OpenAI API from a browser.
        gateway_patience: Seconds after which a gateway process that does not answer its launcher is replaced.
    """

    demo: bool = False
    gateways: int = 1
    port: int = 8343
    cluster_port: int = 8000
    transport_port: int = 8001
    worker_port: int = 8002
    public_tls: PublicTlsFiles | None = None
    cors_origins: tuple[str, ...] = ()
    gateway_patience: float = 30.0


@frozen(kw_only=True)
class HeadOptions(NodeOptions):
    """Options of ``sllm head``: the head and gateways beside it. A port of 0 is any free one.

    Attributes:
        gateways: How many gateways, from 0.
        port: The port of the OpenAI API, which the gateways share.
        cluster_port: The port of the cluster HTTP.
        transport_port: The port of the head's transport.
        database_url: The URL of the database for state, or None for a SQLite file in the data directory.
        public_tls: The files for TLS of the OpenAI API, or None for cleartext.
        cors_origins: The origins of web pages that may use the OpenAI API from a browser.
        gateway_patience: Seconds after which a gateway process that does not answer its launcher is replaced.
    """

    gateways: int = 1
    port: int = 8343
    cluster_port: int = 8000
    transport_port: int = 8001
    database_url: str | None = None
    public_tls: PublicTlsFiles | None = None
    cors_origins: tuple[str, ...] = ()
    gateway_patience: float = 30.0


@frozen(kw_only=True)
class WorkerOptions(EngineOptions):
    """Options of ``sllm worker``.

    Attributes:
        head: The address of the head's cluster HTTP.
        port: The port of the worker's transport; 0 for any free one.
        name: What people call this machine, or None for its host name.
    """

    head: HostPort
    port: int = 8002
    name: str | None = None


@frozen(kw_only=True)
class GatewayOptions(NodeOptions):
    """Options of ``sllm gateway``.

    Attributes:
        head: The address of the head's cluster HTTP.
        port: The port of the OpenAI API; 0 for any free one.
        public_tls: The files for TLS of the OpenAI API, or None for cleartext.
        cors_origins: The origins of web pages that may use the OpenAI API from a browser.
        gateway_patience: Seconds after which a gateway process that does not answer its launcher is replaced.
    """

    head: HostPort
    port: int = 8343
    public_tls: PublicTlsFiles | None = None
    cors_origins: tuple[str, ...] = ()
    gateway_patience: float = 30.0

"""What the four commands that run nodes hand to the launcher, each as one frozen object."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen

from .parameters import HostPort


@frozen(kw_only=True, slots=False)
class NodeSettings:
    """What every node needs to know.

    Attributes:
        host: The address that public sockets are bound to, or None for the launcher's default.
        advertise: The address that other machines reach this one at, or None for "found out by the node".
        data_dir: Where identity and state live, or None for the launcher's default.
        secret_file: Where the cluster secret is read from, or None for SLLM_CLUSTER_SECRET or the data
            directory.
    """

    host: str | None
    advertise: str | None
    data_dir: Path | None
    secret_file: Path | None


@frozen(kw_only=True, slots=False)
class EngineSettings:
    """What a machine that runs engines needs to know.

    Attributes:
        gpus: How many GPUs may be used, or None for all that are found.
        storage_path: Where model files are kept, or None for the launcher's default.
        labels: What placement can ask for.
        engine_python: The interpreter of a backend, by the backend's name.
    """

    gpus: int | None
    storage_path: Path | None
    labels: dict[str, str] = field(converter=dict)
    engine_python: dict[str, str] = field(converter=dict)


@frozen(kw_only=True, slots=False)
class UpSettings(NodeSettings, EngineSettings):
    """Settings of ``sllm up``: head, worker and gateway on this machine. A port of 0 is any free one."""

    demo: bool
    port: int
    cluster_port: int
    transport_port: int
    worker_port: int


@frozen(kw_only=True, slots=False)
class HeadSettings(NodeSettings):
    """Settings of ``sllm head``: the head, and as many gateways as wanted beside it."""

    gateways: int
    port: int
    cluster_port: int
    transport_port: int
    database_url: str | None


@frozen(kw_only=True, slots=False)
class WorkerSettings(NodeSettings, EngineSettings):
    """Settings of ``sllm worker``."""

    head: HostPort
    port: int
    name: str | None


@frozen(kw_only=True, slots=False)
class GatewaySettings(NodeSettings):
    """Settings of ``sllm gateway``."""

    head: HostPort
    port: int

"""Everything that is needed to start one life of one engine, decided before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen


@frozen
class EnginePaths:
    """The paths of one engine life. Socket and ``tmpdir`` are never used by another one.

    Attributes:
        socket: Less than 100 bytes long: the kernel takes 107.
        tmpdir: A TMPDIR for this engine life, removed at its end; short as well, since engines put sockets
            there.
        log: The folder of the replica's log, to which each of its engine lives appends.
    """

    socket: Path
    tmpdir: Path
    log: Path


@frozen
class LaunchPlan:
    """How to start one engine life.

    Attributes:
        argv: Program and arguments; no shell sees them.
        env: The whole environment of the engine, without the worker's secrets.
        header: The line that begins this life in the log.
        stop_budget: Seconds between SIGTERM and SIGKILL when the engine is ended.
        threads: How many threads the engine computes with on a CPU; 0 for a GPU, or where that is not known.
        own_cores: Whether ``threads`` was set by the deployment. Then the engine gets as many cores of its
            own before it starts; else it shares the cores: see ``machine.cores``.
        cores: The CPU cores that its processes start on; () for all.
        gpus: The UUIDs of its GPUs, for the record on disk.
        files: Contents by name of files that are written into its TMPDIR before it starts: secrets, which a
            command line must not show.
        gpu_memory: A program that prints how many MiB of each of its GPUs are in use; the leash runs it when
            the engine has ended, until the figures no longer fall. () for none.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    paths: EnginePaths
    header: str = "---- engine starts"
    cwd: str = "/"
    stop_budget: float = 10.0
    threads: int = 0
    own_cores: bool = False
    cores: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()
    files: Mapping[str, str] = field(factory=dict, repr=False)
    gpu_memory: tuple[str, ...] = ()

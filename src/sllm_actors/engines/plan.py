"""Everything that is needed to start one life of one engine, decided before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen


@frozen
class EnginePaths:
    """Where one life of one engine keeps its files. Socket and ``tmpdir`` are never used twice.

    Attributes:
        socket: Less than 100 characters: the kernel takes 107.
        tmpdir: Its own, removed with it; short as well, since engines put sockets there.
        log: The folder of the replica's log, which goes on over its lives.
    """

    socket: Path
    tmpdir: Path
    log: Path


@frozen
class LaunchPlan:
    """One engine life.

    Attributes:
        argv: Program and arguments; no shell sees them.
        env: The whole environment, without our secrets.
        header: The line that begins this life in the log.
        stop_budget: Seconds between SIGTERM and SIGKILL when it is ended.
        threads: How many threads it computes with on a CPU; 0 where it does not, or nobody knows.
        own_cores: A person has said how many: it has as many cores from its start on. Else it shares them.
        cores: The CPU cores that its processes start on; () for all.
        gpus: The UUIDs of its GPUs, for the record of what it occupies.
        files: What is written into its TMPDIR before it starts, by name: secrets, that no command line may
            show.
        gpu_memory: A program that prints how much of their memory is in use; the leash runs it when the
            engine has ended, until the figures no longer fall. () for none.
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

"""Everything that is needed to start one life of one engine, decided before anything is started."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

MARKER = "SLLM_ENGINE"
"""In an engine's environment: the one thing that names its processes when even its leash was killed."""

_SECRET_WORDS = {
    "AUTH",
    "AUTHORIZATION",
    "CREDENTIAL",
    "CREDENTIALS",
    "DSN",
    "PASSWD",
    "PASSWORD",
    "PASSPHRASE",
    "SECRET",
    "SECRETS",
    "TOKEN",
    "TOKENS",
}
_SECRET_PARTS = re.compile(r"API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|SECRET|PASSWORD|DATABASE_URL")


class LaunchProblem(Exception):
    """This replica cannot be started here as ordered. The text is one sentence for a person."""


class SourceProblem(LaunchProblem):
    """The model's source is not there, or not what the backend reads."""


class SettingsProblem(LaunchProblem):
    """A setting is unknown to the backend, or its value is no good."""


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


def engine_environment(ours: Mapping[str, str], paths: EnginePaths, **more: str) -> dict[str, str]:
    """Return the environment of an engine: ours without what is or looks secret, its own TMPDIR, ``more``."""
    env = without_secrets(ours)
    env.update(TMPDIR=str(paths.tmpdir), PYTHONUNBUFFERED="1", **more)
    env[MARKER] = paths.socket.name
    env["SPT_NOENV"] = "1"  # setproctitle would write process titles over the environment, the mark with it
    return env


def without_secrets(env: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what is ours or looks like a secret."""
    return {name: value for name, value in env.items() if not looks_secret(name)}


def looks_secret(name: str) -> bool:
    """Return whether a variable of that name is ours or looks like a secret."""
    upper = name.upper()
    return (
        upper.startswith("SLLM_")
        or not _SECRET_WORDS.isdisjoint(upper.split("_"))
        or _SECRET_PARTS.search(upper) is not None
    )

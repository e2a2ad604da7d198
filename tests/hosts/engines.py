"""The engines on the hosts of the test bed, and what is reserved for each of them on GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from sllm_actors.engines.machine.gpu_lock import IN_USE, MIB

from .network import Network

PROGRAM = b"llamacpp_server.py"
"""What an engine's command line has."""


@frozen
class Engine:
    """An engine that runs.

    Attributes:
        pid: Its process.
        gpus: The GPUs that it was given.
        share: Bytes of each of them that it was told are for it; 0 if it has them to itself.
        reserved: Bytes that its leash has locked, by GPU: the kernel's ledger. Empty once the leash is gone.
    """

    pid: int
    gpus: tuple[str, ...]
    share: int
    reserved: Mapping[str, int]

    def holds(self, gpu: str) -> int:
        """Return the bytes of a GPU that nobody else may have."""
        return max(self.share, self.reserved.get(gpu, 0))

    def runs(self) -> bool:
        """Return whether its process has not ended meanwhile."""
        try:
            return _stat(self.pid)[0] not in "ZX"
        except OSError:
            return False

    def own_pid(self) -> int:
        """Return the process id that it has for itself: in a container, it is another one."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1])


def engines_of(network: Network) -> dict[str, list[Engine]]:
    """Return the engines that run now, by the name of their host."""
    namespaces = {}
    for name, host in network.hosts.items():
        with suppress(OSError):
            namespaces[Path(f"/run/netns/{host.namespace}").stat().st_ino] = name
    found: dict[str, list[Engine]] = {name: [] for name in namespaces.values()}
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        with suppress(OSError):  # it has ended meanwhile
            name = namespaces.get((process / "ns/net").stat().st_ino, "")
            if name and PROGRAM in (process / "cmdline").read_bytes():
                found[name].append(_engine(int(process.name)))
    return found


def _engine(pid: int) -> Engine:
    """Return what is to be told of an engine.

    Raises:
        OSError: It has ended.
    """
    content = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    environ = dict(each.partition("=")[::2] for each in content.split("\0"))
    gpus = tuple(filter(None, environ.get("CUDA_VISIBLE_DEVICES", "").split(",")))
    return Engine(pid, gpus, int(environ.get("SLLM_GPU_MEMORY", 0)), _locked(int(_stat(pid)[1])))


def _stat(pid: int) -> list[str]:
    """Return what the kernel tells of a process after its name: its state, its parent, and so on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _locked(leash: int) -> dict[str, int]:
    """Return the bytes of GPUs that a leash has locked in their lock files: a byte stands for a MiB there."""
    found: dict[str, int] = {}
    with suppress(OSError):
        for descriptor in Path(f"/proc/{leash}/fd").iterdir():
            file = descriptor.readlink()
            if file.suffix == ".lock" and file.parent.name.endswith("-gpus"):
                found[file.stem] = MIB * _length(Path(f"/proc/{leash}/fdinfo/{descriptor.name}").read_text())
    return found


def _length(told: str) -> int:
    """Return how many bytes are locked through a descriptor, from what the kernel tells of it."""
    locks = [line.split() for line in told.splitlines() if line.startswith("lock:")]
    ranges = [(int(start), int(end)) for *_, kind, _, _, start, end in locks if kind == "WRITE"]
    return sum(end - start + 1 for start, end in ranges if start < IN_USE)

"""One host of the test bed: namespaces of its own for network, files, host name and shared memory."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import define, field
from tests.e2e.cluster import Sllm, eventually

ROOT = Path(__file__).parents[2]

HIDDEN = ("/tmp", "/var/tmp", "/run", "/dev/shm")
"""What a host has for itself: no file that another host writes there is to be seen, nor a socket."""

DATA = "/tmp/data"
"""Where each host keeps the data of its nodes, as it sees its files itself."""


def ip(*arguments: str, check: bool = True) -> None:
    """Run ``ip``, which has to succeed."""
    subprocess.run(["ip", *arguments], check=check, capture_output=True)


def processes_in(namespace: str) -> list[int]:
    """Return the processes of a network namespace."""
    listed = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listed.stdout.split()]


def kept_visible() -> Iterator[Path]:
    """Yield what the programs are made of, which all hosts may see: the same is installed on each."""
    yield from {ROOT, Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]}


@define
class Host:
    """A machine of the test bed, as far as one kernel can play several.

    It has an address of its own on the bed's bridge, a host name, a boot id, shared memory, and folders for
    temporary files, sockets and data. The processes on it are known by their network namespace.

    Attributes:
        name: Its host name.
        namespace: The name of its network namespace, which no other host on this machine has.
        address: Its address.
        folder: Where its files really are, as the tests see them.
        visible: Folders of the tests that it sees, too, whatever is hidden from it.
    """

    name: str
    namespace: str
    address: str
    folder: Path
    visible: Sequence[Path] = ()
    _keeper: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def boot(self, bed: Path) -> None:
        """Make its namespaces, whose network namespace is there already; ``bed`` is hidden from it."""
        for each in ("tmp", "empty"):
            (self.folder / each).mkdir(parents=True, exist_ok=True)
        (self.folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
        script = "\n".join(["set -e", *self._mounts(bed), "echo booted", "exec sleep infinity"])
        command = ["ip", "netns", "exec", self.namespace]
        command += ["unshare", "--mount", "--uts", "--ipc", "--propagation", "private"]
        command += ["setpriv", "--pdeathsig", "KILL", "sh", "-c", script]
        self._keeper = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == b"booted\n", f"{self.name} did not boot"

    def _mounts(self, bed: Path) -> Iterator[str]:
        tmp = self.folder / "tmp"
        yield f"mkdir -m 1777 -p {tmp}"
        hidden = [Path(each) for each in HIDDEN]
        for each in (*kept_visible(), *self.visible):
            if any(each.is_relative_to(other) for other in hidden):
                assert each.is_relative_to("/tmp"), f"{each} would be hidden from the hosts of the test bed"
                there = shlex.quote(str(tmp / each.relative_to("/tmp")))
                yield f"mkdir -p {there} && mount --rbind {shlex.quote(str(each))} {there}"
        yield f"mount --bind {self.folder}/boot_id /proc/sys/kernel/random/boot_id"
        if not bed.is_relative_to("/tmp"):
            yield f"mount --rbind {tmp} {self.folder}/empty && mount --rbind {self.folder}/empty /tmp"
            yield f"mount -t tmpfs none {bed}"
        else:
            yield f"mount --rbind {tmp} /tmp"
        yield from (f"mount -t tmpfs none {each}" for each in HIDDEN if each != "/tmp")
        yield f"hostname {self.name}"

    @property
    def prefix(self) -> tuple[str, ...]:
        """What runs a command on this host, in the same process that is started for it."""
        assert self._keeper is not None
        return ("nsenter", "-t", str(self._keeper.pid), "--net", "--mount", "--uts", "--ipc", "--")

    @property
    def environment(self) -> dict[str, str]:
        """What the environment of its processes has that is not as in the tests."""
        own = {"HOME": "/tmp/home", "TMPDIR": "/tmp", "SLLM_DATA_DIR": DATA}
        return own | dict.fromkeys(("XDG_DATA_HOME", "XDG_RUNTIME_DIR", "LLM_SERVER_URL"), "")

    def path(self, path: str) -> Path:
        """Return how the tests reach a path that is meant as this host sees it."""
        assert self._keeper is not None
        return Path(f"/proc/{self._keeper.pid}/root") / path.lstrip("/")

    def run(
        self, *command: str, check: bool = True, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command here, and wait until it has ended."""
        environment = {**os.environ, **self.environment, **(env or {})}
        return subprocess.run(
            [*self.prefix, *command],
            capture_output=True,
            text=True,
            check=check,
            env=environment,
            timeout=180,
        )

    def sllm(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of ``sllm`` here, as a person who is logged in on this machine."""
        return self.run(sys.executable, "-m", "sllm_actors", *arguments, check=False, env=env)

    def start(self, *arguments: str, prefix: Sequence[str] = (), env: dict[str, str] | None = None) -> Sllm:
        """Start ``sllm up|head|worker|gateway`` here."""
        return Sllm(*arguments, env={**self.environment, **(env or {})}, prefix=(*self.prefix, *prefix))

    # ---- its processes

    def processes(self) -> list[int]:
        """Return the processes that run here, zombies too."""
        assert self._keeper is not None
        return [pid for pid in processes_in(self.namespace) if pid != self._keeper.pid]

    def freeze(self) -> None:
        """Let the whole machine stand still."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def lose_power(self) -> float:
        """Kill every process at once; what is on its disk stays, shared memory and ``/run`` do not.

        Returns:
            When that began, in seconds as ``time.time()`` tells them.
        """
        self.freeze()  # so that nobody has time to act upon the end of another
        began = time.time()
        eventually(lambda: not self._signal_all(signal.SIGKILL), what=f"{self.name} has lost its power")
        self.run("find", "/dev/shm", "/run", "-mindepth", "1", "-delete")
        return began

    def _signal_all(self, number: int) -> list[int]:
        """Send a signal to every process that is no zombie; return those that were there."""
        there = [pid for pid in self.processes() if _state(pid) not in ("Z", "X", "")]
        for pid in there:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return there

    def end(self) -> None:
        """Leave nothing of it but its folder."""
        if self._keeper is not None:
            with suppress(AssertionError):
                eventually(lambda: not self._signal_all(signal.SIGKILL), within=20, what="all is killed")
            self._keeper.kill()
            self._keeper.wait()
            assert self._keeper.stdout is not None
            self._keeper.stdout.close()
            self._keeper = None

    # ---- its connection

    def ip(self, *arguments: str, check: bool = True) -> None:
        """Run ``ip`` in its network."""
        ip("-n", self.namespace, *arguments, check=check)


def _state(pid: int) -> str:
    """Return the state of a process as the kernel tells it, or "" where it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""

"""podman in namespaces of its own for mounts and processes, so that nothing of it outlives the tests.

Its containers and sockets are in one folder; images that were built before may be in another one, which
several podmans read at a time. When the process ends that keeps the namespaces, at the latest with the tests,
the kernel ends every container and unmounts what they had.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen
from tests.children import end, keep
from tests.e2e.cluster import eventually

LIMITS = {
    name: ":".join(map(str, resource.getrlimit(number)))
    for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC))
}
"""What processes may have here, soft and hard: what podman gives containers of itself may be more."""

PROGRAMS = ("podman", "crun", "conmon", "debootstrap", "unshare", "nsenter")

CONTAINERS = """\
[containers]
cgroups = "disabled"
default_ulimits = ["nofile={nofile}", "nproc={nproc}"]
[network]
network_backend = "netavark"
[engine]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/tmp"
volume_path = "{folder}/volumes"
"""
STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
[storage.options]
additionalimagestores = [{images}]
"""

NAMESPACE = """\
set -e
mkdir -p /run/crun
mount -t tmpfs tmpfs /run/crun
mount -t tmpfs tmpfs /dev/shm
if [ -d /sys/fs/cgroup/unified ]; then umount /sys/fs/cgroup/unified; fi
if ! mountpoint -q /sys/fs/cgroup; then mount -t tmpfs tmpfs /sys/fs/cgroup; fi
echo ready
cat
"""
"""What crun and podman would leave on the machine is covered; and crun wants cgroups of one version only, or
at least a folder for them, which a host of the test bed lacks."""


class NoContainers(Exception):
    """No container can run on this machine; the text says why."""


def missing() -> str:
    """Return what is missing here for containers; "" if nothing is."""
    if os.geteuid() != 0:
        return "needs root, to run podman in namespaces of its own"
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"needs {', '.join(lacking)} (Debian and Ubuntu: apt install the packages)" if lacking else ""


@frozen
class Podman:
    """podman, as one test session has it.

    Attributes:
        folder: Where everything is that it keeps.
        keeper: The process in whose namespaces it runs.
    """

    folder: Path
    keeper: int

    @property
    def settings(self) -> dict[str, str]:
        """What the environment of podman has that is not as in the tests."""
        return {
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "TMPDIR": str(self.folder),
        }

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.settings}

    def command(self, *arguments: str | Path) -> list[str]:
        """Return the command that runs a program in these namespaces."""
        own = ("--mount", "--uts", "--ipc", "--net", "--pid")
        return ["nsenter", f"--target={self.keeper}", *own, *map(str, arguments)]

    def run(
        self, *arguments: str | Path, check: bool = True, timeout: float = 600, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in these namespaces to its end."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment | more.pop("env", {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            **more,
        )
        said = f"{' '.join(map(str, arguments))}\n{done.stdout[-8000:]}{done.stderr[-8000:]}"
        assert not check or done.returncode == 0, said
        return done

    def __call__(self, *arguments: str | Path, **more: Any) -> str:
        """Run podman; return what it printed."""
        return self.run("podman", *arguments, **more).stdout.strip()

    def inspect(self, what: str) -> dict[str, Any]:
        """Return what podman knows of a container or an image."""
        (found,) = json.loads(self("inspect", what))
        assert isinstance(found, dict)
        return found

    @contextmanager
    def service(self) -> Iterator[str]:
        """Serve Docker's interface meanwhile; yield its address, for ``DOCKER_HOST``."""
        path = self.folder / "docker.sock"
        path.unlink(missing_ok=True)
        serve = ("podman", "system", "service", "--time=0", f"unix://{path}")
        command = self.command("setpriv", "--pdeathsig=KILL", *serve)  # nsenter waits for its child
        serving = subprocess.Popen(command, env=self.environment, stderr=subprocess.DEVNULL)
        try:
            eventually(path.is_socket, what="podman serves")
            yield f"unix://{path}"
        finally:
            end(serving)

    def remove_containers(self) -> None:
        """Kill and remove all; podman may come to one before it has removed another that depends on it."""
        remove = ("podman", "rm", "--force", "--all", "--volumes", "--time=0")
        eventually(lambda: self.run(*remove, check=False).returncode == 0, what="all are removed", every=0.2)
        self("volume", "prune", "--force")


@contextmanager
def running_podman(
    folder: Path, images: Path | None = None, *, prefix: Sequence[str] = ()
) -> Iterator[Podman]:
    """Keep namespaces for podman while the block lasts; containers that still run then are killed.

    Args:
        folder: Where it keeps everything.
        images: The folder of another podman, whose images it has, too.
        prefix: What starts a command in the namespaces of a host, if containers are to run on one.

    Raises:
        NoContainers: The kernel does not let us.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "containers.conf").write_text(CONTAINERS.format(folder=folder, **LIMITS))
    others = f'"{images}/storage"' if images else ""
    (folder / "storage.conf").write_text(STORAGE.format(folder=folder, images=others))
    command: Sequence[str] = [
        *prefix,
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]
    keeper = subprocess.Popen(
        [*command, "sh", "-c", NAMESPACE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    keep(keeper)  # all tests of a file use it
    try:
        assert keeper.stdout is not None
        assert keeper.stderr is not None
        if keeper.stdout.readline() != "ready\n":
            raise NoContainers(f"the kernel does not let us make namespaces: {keeper.stderr.read().strip()}")
        child = Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children").read_text().split()[0]
        podman = Podman(folder, int(child))
        try:
            yield podman
        finally:
            podman.remove_containers()
    finally:
        end(keeper)

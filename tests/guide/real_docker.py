"""Docker on a host of the test bed: its own client, or podman in its place, and real containers."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.containers.machines import ULIMITS
from tests.containers.podman import running_podman
from tests.hosts.host import Host


@contextmanager
def docker_on(host: Host, folder: Path, images: Path) -> Iterator[str]:
    """Let containers run on a host while the block lasts; yield the script that is ``docker`` there.

    Args:
        host: The host, whose network is that of ``--network host``.
        folder: Where everything is kept; the host sees it.
        images: The folder with the images; the host sees that, too.
    """
    with running_podman(folder, images, prefix=host.prefix) as podman:
        if client := shutil.which("docker"):
            with podman.service() as address:
                limits = shlex.join(ULIMITS)
                yield (
                    f"export DOCKER_HOST={address}\n"
                    f'if [ "$1" = run ]; then shift; set -- run {limits} "$@"; fi\n'
                    f'exec {client} "$@"'
                )
        else:
            own = [f"{name}={value}" for name, value in podman.settings.items()]
            yield f'exec env {shlex.join([*own, *podman.command("podman")])} "$@"'

"""Whatever happens to one container of a cluster, no request fails, and it comes back as it was."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from attrs import define, field
from tests.e2e.cluster import eventually
from tests.hosts.network import Network

from .machines import Machines, chat
from .podman import Podman
from .store import NEWER
from .traffic import steady

pytestmark = [
    pytest.mark.alone,
    pytest.mark.allow_blocking,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]

ROUNDS = int(os.environ.get("SLLM_CONTAINERS_ROUNDS") or 1)

SAID = {"head": "OpenAI API: ", "gateway": "OpenAI API: ", "w1": "joined the head"}
"""What each container says when it is there."""


@define
class Cluster:
    """A head, a gateway on another host, and two workers with an engine each.

    Attributes:
        images: The end of the name of the image of each container.
    """

    machines: Machines
    images: dict[str, str] = field(factory=dict)

    def start(self, name: str) -> None:
        match name:
            case "head":
                self.machines.start_head(image=f"sllm:head{self.image(name)}")
            case "gateway":
                self.machines.start_gateway("w2", image=f"sllm:head{self.image(name)}")
            case _:
                self.machines.start_worker(name, image=f"sllm:worker-cpu{self.image(name)}")

    def image(self, name: str) -> str:
        return self.images.get(name, "")


@pytest.fixture(scope="module")
def cluster(podman: Podman, network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    machines = Machines(podman, network, tmp_path_factory.mktemp("machines"))
    try:
        made = Cluster(machines)
        for name in ("head", "w1", "w2", "gateway"):
            made.start(name)
        machines.deploy("--min-instances=2", "--max-instances=2")
        yield made
    finally:
        machines.close()


def stop(cluster: Cluster, name: str) -> None:
    cluster.machines.stop(name)
    cluster.machines.run("start", name)


def restart(cluster: Cluster, name: str) -> None:
    cluster.machines.run("restart", name)


def kill(cluster: Cluster, name: str) -> None:
    cluster.machines.run("kill", name)
    cluster.machines.run("start", name)


def kill_inside(cluster: Cluster, name: str) -> None:
    """Kill what the init of the container runs, whose end is that of the container."""
    machines = cluster.machines
    killed = ("sh", "-c", "kill -9 $(cat /proc/1/task/1/children)")
    machines.podman.run("podman", "exec", name, *killed, check=False)  # it may end with the container
    eventually(lambda: machines.state(name)["Status"] == "exited", what=f"{name} has ended", every=0.1)
    assert machines.state(name)["ExitCode"] == 128 + 9
    machines.run("start", name)


def replace(cluster: Cluster, name: str) -> None:
    """Put a container of the other version in its place, newer or, the next time, older."""
    machines = cluster.machines
    machines.replace(name)
    cluster.images[name] = "" if cluster.image(name) else "-newer"
    cluster.start(name)
    assert (NEWER in machines.sllm("--version", of=name)) == bool(cluster.image(name))


@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.parametrize("name", ["head", "gateway", "w1"])
@pytest.mark.parametrize("happens", [stop, restart, kill, kill_inside, replace])
def test_a_container_comes_back_and_no_request_fails(
    cluster: Cluster, happens: Callable[[Cluster, str], None], name: str, turn: int
) -> None:
    del turn
    machines = cluster.machines
    engines, nodes = machines.wait_for_both(), machines.nodes()
    asked = {"gateway": ("head", "head")}.get(name, ("gateway", "w2"))
    times = 0 if happens is replace else machines.logs(name).count(SAID[name])
    with steady(machines.client(asked[0], host=asked[1])) as outcomes:
        happens(cluster, name)
        machines.wait_for(name, SAID[name], times=times + 1)
        if name == "w1":
            machines.wait_for_both(killed=engines["w1"])
        else:
            eventually(lambda: machines.ready() == engines, what="the same engines serve", every=0.5)
        outcomes.wait_for_more()
    assert outcomes.failed == []
    assert machines.nodes() == nodes
    if name != "w1":
        host = {"head": "head", "gateway": "w2"}[name]
        again = machines.client(name, host=host)
        eventually(lambda: chat(again).status_code == 200, what=f"{name} serves again", every=0.5)

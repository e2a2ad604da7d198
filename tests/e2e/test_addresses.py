"""Where nodes on other hosts are reached, and what a person reads where they are not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from attrs import frozen
from tests.children import keep
from tests.hosts.host import ip
from tests.hosts.network import needs_hosts

from .cluster import PATIENCE, Sllm, eventually
from .hosts import Network, network_of
from .machines import engine

pytestmark = [pytest.mark.allow_blocking, needs_hosts]
HEAD, OTHER = 0, 1


@frozen
class Places:
    """A host with the head and a worker that has joined it on loopback, and another host."""

    folder: Path
    network: Network

    @property
    def secret(self) -> str:
        return (self.folder / "head" / "secret").read_text().strip()

    def addresses(self, number: int) -> tuple[str, str]:
        """Return a host's address of IPv4 and its one of IPv6, as it stands before a port."""
        return self.network.address(number), f"[fd31:{1 + self.network.number:x}::{11 + number}]"

    @contextmanager
    def started(self, number: int, *arguments: str, secret: str = "") -> Iterator[Sllm]:
        """Run nodes on a host."""
        prefix = ("ip", "netns", "exec", self.network.names[number])
        node = Sllm(*arguments, prefix=prefix, env={"SLLM_CLUSTER_SECRET": secret or self.secret})
        try:
            yield node
        finally:
            node.kill_all()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    folder = tmp_path_factory.mktemp("addresses")
    with network_of(2) as network:
        places = Places(folder, network)
        for number, name in enumerate(network.names):
            address = places.addresses(number)[1].strip("[]")
            ip("-n", name, "addr", "add", f"{address}/64", "dev", "eth0", "nodad")
        (folder / "head").mkdir()
        (folder / "head" / "secret").write_text("a secret of thirty-two characters")
        head = ("head", "--gateways", "0", "--data-dir", str(folder / "head"))
        near = ("worker", "--head", "127.0.0.1", "--name", "near", "--data-dir", str(folder / "near"))
        rest = ("--allow-command", "--fork-servers", "none")
        with places.started(HEAD, *head) as running:
            keep(running.process)
            running.wait_for("head: ready")
            with places.started(HEAD, *near, *rest) as worker:
                keep(worker.process)
                worker.wait_for("joined the head")
                yield places


@contextmanager
def gateway_of(places: Places, head: str) -> Iterator[httpx2.Client]:
    """Run a gateway on the other host, and give a client of it on this one."""
    folder = places.folder / f"gateway-{len(head)}"
    data = ("--data-dir", str(folder), "--host", "::", "--port", "0")
    advertised = ("--advertise", places.addresses(OTHER)[0])
    with places.started(OTHER, "gateway", "--head", f"{head}:8000", *data, *advertised) as gateway:
        url = gateway.wait_for(r"OpenAI API: (http://\S+)/v1 \(key")[1]
        key = (folder / "admin-key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}"}
        with httpx2.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as http:
            yield http


def asked(http: httpx2.Client) -> bool:
    body = {"model": "near", "messages": [{"role": "user", "content": "Hello"}]}
    return http.post("/v1/chat/completions", json=body).status_code == 200


def node(http: httpx2.Client, name: str) -> dict[str, Any]:
    nodes = http.get("/nodes").json()["nodes"]
    return next((each for each in nodes if each["name"].startswith(name)), {})


def test_a_worker_beside_its_head_is_reached_from_other_hosts_where_they_reach_the_head(
    places: Places,
) -> None:
    document = {"model": "near", **engine("--model", "one"), "auto_scaling_config": {"min_instances": 1}}
    for head in places.addresses(HEAD):
        with gateway_of(places, head) as http:
            assert http.post("/deployments", json=document).status_code == 200
            eventually(lambda http=http: asked(http), what=f"it answers by {head}")  # type: ignore[misc]


def test_a_node_is_shown_where_it_is_advertised_and_who_does_not_reach_it_there(places: Places) -> None:
    advertised = places.addresses(OTHER)[0]
    with gateway_of(places, places.addresses(HEAD)[1]) as http:
        assert str(http.base_url).startswith(f"http://{advertised}:")
        eventually(lambda: node(http, "gateway-0").get("host") == advertised, what="its host is shown")
        worker = ("worker", "--head", f"{places.addresses(HEAD)[1]}:8000", "--name", "far")
        data = ("--port", "0", "--data-dir", str(places.folder / "far"), "--fork-servers", "none")
        with places.started(OTHER, *worker, *data, "--advertise", "far.invalid") as far:
            far.wait_for("joined the head")
            eventually(lambda: node(http, "far").get("host") == "far.invalid", what="its name is shown")
            (said,) = eventually(lambda: node(http, "far")["unreached_by"], what="no gateway reaches it")
            assert said["gateway"].startswith("gateway-0@")
            assert said["address"].startswith("far.invalid:")
            assert said["reason"].startswith(f"{said['address']} cannot be reached: ")
            assert "(DNS)" in said["reason"]
            far.stop()
        with places.started(OTHER, *worker, *data) as far:
            far.wait_for(rf"joined the head at \{places.addresses(HEAD)[1][:-1]}\]:8000")
            own = places.addresses(OTHER)[1].strip("[]")
            eventually(lambda: node(http, "far")["host"] == own, what="its address is shown")
            eventually(lambda: not node(http, "far")["unreached_by"], what="it is reached")


@contextmanager
def route(name: str, *words: str) -> Iterator[None]:
    ip("-n", name, "route", "add", *words)
    try:
        yield
    finally:
        ip("-n", name, "route", "del", *words)


ASK = """
import sys, anyio
from sllm_actors.cluster.join import find_cluster
def tell(said):
    print(said)
    sys.exit()
anyio.run(lambda: find_cluster(sys.argv[1], int(sys.argv[2]), tell=tell))
"""


def test_what_keeps_a_node_from_its_head_is_told_with_what_to_do(places: Places) -> None:
    here, there = places.network.address(OTHER), places.network.address(HEAD)
    other, head = places.network.names[OTHER], places.network.names[HEAD]

    def told(host: str, port: int = 8000) -> str:
        command = ["ip", "netns", "exec", other, sys.executable, "-c", ASK, host, str(port)]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
        return said.strip().removeprefix(f"waiting for the head at {host}:{port}: ")

    name = told("no-such-host.invalid")
    assert "(DNS)" in name
    assert name.endswith(("or give its address", "mend that, or give its address"))
    assert told(there, 9999).startswith("connection refused: nothing listens there; check that the node runs")
    assert told("203.0.113.1") == "network is unreachable: check the address, and this machine's network"
    with route(other, "unreachable", f"{there}/32"):
        assert told(there) == "no route to host: check the address, and this machine's network"
    with route(other, "prohibit", f"{there}/32"):
        assert told(there).startswith(
            "permission denied: a firewall of this machine, or on the way, forbids it"
        )
    with route(head, "blackhole", f"{here}/32"):
        assert told(there).startswith("no answer: check that the machine is up, and that no firewall drops")


def test_a_worker_that_was_in_tells_what_keeps_it_out_and_when_that_is_over(places: Places) -> None:
    here, there = places.network.address(OTHER), places.network.address(HEAD)
    data = ("--port", "0", "--data-dir", str(places.folder / "cut"), "--fork-servers", "none")
    with places.started(OTHER, "worker", "--head", there, *data) as worker:
        worker.wait_for("joined the head")
        with route(places.network.names[HEAD], "blackhole", f"{here}/32"):
            worker.wait_for(r":8001 cannot be reached: no answer: .*; what runs here goes on")
        worker.wait_for("linked with the head again")

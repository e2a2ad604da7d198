"""Two gateway processes on one port: one that hangs is replaced, and a stop lets streams end."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import psutil
import pytest

from sllm_actors.testing.fake_engine import fake_engine_argv

from .cluster import Cluster, eventually
from .open_stream import OpenStream

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(180)]

PATIENCE = 4.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("two")
    cluster = Cluster(folder, "--gateways", "2", "--gateway-patience", str(PATIENCE))
    try:
        for number in range(2):
            cluster.sllm.wait_for(f"gateway-{number}: serves")
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def two(running: Cluster) -> Cluster:
    """The same cluster for several tests, with both gateways in service again."""
    both = ("gateway-0", "gateway-1")
    eventually(lambda: all(serves_again(running, name) for name in both), what="both serve")
    eventually(lambda: {state_of(running, name) for name in both} == {"up"}, what="both are up")
    named = {f"{name}@{socket.gethostname()}" for name in both}
    eventually(lambda: named <= {each["name"] for each in running.nodes()}, what="both have names")
    return running


def serves_again(cluster: Cluster, name: str) -> bool:
    """Return whether a gateway serves as often as it was started."""
    lines = [line for line in cluster.sllm.lines if line.startswith(f"{name}: ")]
    return sum("serves" in line for line in lines) == 1 + sum("starting it again" in line for line in lines)


def health(cluster: Cluster) -> int:
    """Ask by a new connection, as one of many clients."""
    return httpx2.get(f"{cluster.url}/health", timeout=60, trust_env=False).status_code


def state_of(cluster: Cluster, node: str) -> str:
    """Return what ``sllm status --nodes`` shows: one that died is not listed until its successor joins."""
    known = json.loads((cluster.data_dir / node / "node.json").read_text())
    shown = (str(each["state"]) for each in cluster.nodes() if each["id"] in known.values())
    return next(shown, "not listed")


def test_a_frozen_gateway_is_shown_and_replaced(two: Cluster) -> None:
    frozen = psutil.Process(two.sllm.node("gateway-1"))
    frozen.suspend()
    eventually(lambda: state_of(two, "gateway-1") != "up", what="its silence is shown")
    two.sllm.wait_for(r"gateway-1: has not answered for \d+ s: killed, starting it again")
    eventually(lambda: not frozen.is_running(), what="it is gone")
    eventually(lambda: state_of(two, "gateway-1") == "up", what="its successor has joined")
    assert two.sllm.node("gateway-1") != frozen.pid
    assert health(two) == 200
    assert "gateway-1: ended" not in two.sllm.output  # one line says it


def test_a_launcher_that_was_paused_kills_no_gateway_for_it(two: Cluster) -> None:
    before = dict(two.sllm.nodes())
    launcher = psutil.Process(two.sllm.process.pid)
    launcher.suspend()
    time.sleep(2 * PATIENCE)
    launcher.resume()
    time.sleep(PATIENCE)
    assert dict(two.sllm.nodes()) == before


def address(cluster: Cluster) -> tuple[str, int]:
    return "127.0.0.1", int(cluster.url.rpartition(":")[2])


def connect(cluster: Cluster, count: int, stack: ExitStack) -> list[socket.socket]:
    """Open connections, each with a request that nobody has taken yet."""
    clients = []
    for _ in range(count):
        client = stack.enter_context(socket.create_connection(address(cluster), timeout=60))
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        clients.append(client)
    return clients


def answers(clients: list[socket.socket]) -> list[bytes]:
    return [client.recv(65_536)[:15] for client in clients]


def taken(pid: int, cluster: Cluster) -> int:
    """Return how many connections of clients a gateway has."""
    port = address(cluster)[1]
    found = psutil.Process(pid).net_connections("tcp")
    return sum(each.status == psutil.CONN_ESTABLISHED and each.laddr[1] == port for each in found)


def test_a_node_has_its_own_listening_sockets_only_and_passes_none_on(two: Cluster) -> None:
    """A stranger's copy would leave connections waiting for a node that has ended."""
    listening: dict[str, set[int]] = {}
    for pid, name in two.sllm.nodes():
        found = psutil.Process(pid).net_connections("tcp")
        sockets = {each.fd: each.laddr[1] for each in found if each.status == psutil.CONN_LISTEN}
        listening[name] = set(sockets.values())
        for descriptor in sockets:
            flags = Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text().split()[3]
            assert int(flags, 8) & os.O_CLOEXEC
    assert {name: len(ports) for name, ports in listening.items()} == {
        "head": 2,
        "worker": 1,
        "gateway-0": 1,
        "gateway-1": 1,
    }
    assert listening["gateway-0"] == listening["gateway-1"] == {address(two)[1]}


def test_each_gateway_takes_its_share_of_the_connections(two: Cluster) -> None:
    gateways = [two.sllm.node(f"gateway-{number}") for number in range(2)]
    with ExitStack() as stack:
        clients = connect(two, 100, stack)
        assert answers(clients) == 100 * [b"HTTP/1.1 200 OK"]
        shares = [taken(pid, two) for pid in gateways]
    assert sum(shares) >= 100
    assert min(shares) >= 25, shares


def test_a_gateway_that_is_killed_takes_no_waiting_connection_along(two: Cluster) -> None:
    lost, other = (psutil.Process(two.sllm.node(f"gateway-{number}")) for number in range(2))
    with ExitStack() as stack:
        lost.suspend()
        other.suspend()
        stack.callback(other.resume)
        clients = connect(two, 100, stack)
        lost.kill()
        clients += connect(two, 100, stack)
        other.resume()
        clients += connect(two, 100, stack)
        assert answers(clients) == 300 * [b"HTTP/1.1 200 OK"]
    two.sllm.wait_for(r"gateway-0: ended \(signal SIGKILL\), starting it again")


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Cluster]:
    """Two gateways, and an engine that says twenty words in a second."""
    cluster = Cluster(tmp_path / "data", "--gateways", "2", "--allow-command", "--fork-servers", "none")
    try:
        for number in range(2):
            cluster.sllm.wait_for(f"gateway-{number}: serves")
        command = fake_engine_argv("--socket", "$SOCKET", "--rate", "20")
        document = {"model": "calm", "backend": "command", "backend_config": {"command": command}}
        assert cluster.http.post("/deployments", json=document).status_code == 200
        cluster.wait_ready("calm:command")
        yield cluster
    finally:
        cluster.close()


def is_refused(cluster: Cluster) -> bool:
    try:
        socket.create_connection(address(cluster), timeout=60).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_stop_refuses_connections_finishes_short_streams_and_tells_the_long_ones(
    serving: Cluster,
) -> None:
    long = [OpenStream(serving.url, "calm") for _ in range(4)]
    short = [OpenStream(serving.url, "calm", max_tokens=20) for _ in range(4)]
    gateways = [serving.sllm.node(f"gateway-{number}") for number in range(2)]
    assert all(taken(pid, serving) >= 2 for pid in gateways)
    serving.sllm.process.send_signal(signal.SIGTERM)
    eventually(lambda: is_refused(serving), what="new connections are refused")
    seen = [len(stream.text) for stream in long]
    assert [stream.error()["code"] for stream in long] == 4 * ["gateway_stopping"]
    assert all(stream.text[before:].count("data: ") > 1 for stream, before in zip(long, seen, strict=True))
    for stream in short:
        stream.wait()
        assert stream.text.endswith("data: [DONE]\n\n"), stream.text
        assert stream.problem == ""
    assert serving.sllm.ended() == 0
    assert "killed" not in serving.sllm.output


def test_a_second_signal_leaves_no_grace(serving: Cluster) -> None:
    stream = OpenStream(serving.url, "calm")
    serving.sllm.look()
    serving.sllm.process.send_signal(signal.SIGTERM)
    serving.sllm.wait_for("stopping")
    serving.sllm.process.send_signal(signal.SIGINT)
    assert serving.sllm.ended() == 0
    stream.wait()
    assert "gateway_stopping" not in stream.text
    eventually(lambda: not serving.sllm.left(), what="nothing is left")

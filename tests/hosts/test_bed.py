"""The test bed itself: what hosts have for themselves, what a cut does, and that nothing of it is left."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .host import Host, processes_in
from .network import Network, needs_hosts, network_of

pytestmark = needs_hosts

LISTENER = """
import socket
with socket.create_server(("", 9000)) as server:
    print("listening", flush=True)
    while True:
        with server.accept()[0] as client:
            while client.recv(65536): pass
            client.sendall(b"all")
"""

CALLER = """
import socket, sys, time
began = time.monotonic()
try:
    with socket.create_connection((sys.argv[1], 9000), timeout=float(sys.argv[2])) as client:
        client.sendall(bytes(int(sys.argv[3])))
        client.shutdown(socket.SHUT_WR)
        client.settimeout(120)
        print(client.recv(9).decode(), time.monotonic() - began)
except OSError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Two hosts that listen."""
    with network_of(tmp_path_factory.mktemp("bed"), "one", "other") as made:
        listeners = [
            subprocess.Popen([*host.prefix, sys.executable, "-c", LISTENER], stdout=subprocess.PIPE)
            for host in made.hosts.values()
        ]
        for listener in listeners:
            assert listener.stdout is not None
            assert listener.stdout.readline() == b"listening\n"
        yield made
        for listener in listeners:
            listener.kill()
            listener.wait()
            assert listener.stdout is not None
            listener.stdout.close()


@pytest.fixture
def hosts(network: Network) -> Iterator[tuple[Host, Host]]:
    yield network.hosts["one"], network.hosts["other"]
    network.heal()


def call(caller: Host, callee: Host, *, patience: float = 60, size: int = 1) -> str:
    """Send some bytes to another host; return "all" and how long it took, or what went wrong."""
    said = caller.run(sys.executable, "-c", CALLER, callee.address, str(patience), str(size))
    return said.stdout.strip()


def hears(listener: Host, sender: Host) -> bool:
    """Return whether a datagram arrives."""
    script = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); "
    hear = f"{script} s.bind(('', 9001)); s.settimeout(2); print('bound', flush=True); s.recv(9)"
    send = f"{script} s.sendto(b'x', ('{listener.address}', 9001))"
    command = [*listener.prefix, sys.executable, "-c", hear]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"bound\n"
        sender.run(sys.executable, "-c", send)
        return process.wait() == 0


@pytest.mark.parametrize("folder", ["/tmp", "/var/tmp", "/run", "/dev/shm"])
def test_a_host_sees_no_file_of_another_one(hosts: tuple[Host, Host], folder: str) -> None:
    one, other = hosts
    one.run("sh", "-c", f"echo here >{folder}/mark")
    assert one.path(f"{folder}/mark").read_text() == "here\n"
    assert not other.path(f"{folder}/mark").exists()
    assert not Path(folder, "mark").exists()
    assert other.run("ls", str(one.folder), check=False).stdout == ""


def test_a_host_has_a_name_and_a_boot_id_of_its_own(hosts: tuple[Host, Host]) -> None:
    assert [host.run("hostname").stdout for host in hosts] == ["one\n", "other\n"]
    ids = {host.path("/proc/sys/kernel/random/boot_id").read_text() for host in hosts}
    assert len(ids | {Path("/proc/sys/kernel/random/boot_id").read_text()}) == 3


def test_a_cut_is_silent_and_has_a_direction(network: Network, hosts: tuple[Host, Host]) -> None:
    one, other = hosts
    assert call(one, other).startswith("all")
    network.cut([one], [other])
    for caller, callee in ((one, other), (other, one)):
        assert call(caller, callee, patience=0.5).startswith("TimeoutError")
    network.heal()
    network.cut_one_way([one], [other])
    assert call(other, one, patience=0.5).startswith("TimeoutError")  # the answer is lost
    assert hears(one, other)
    assert not hears(other, one)
    network.heal()
    assert call(other, one).startswith("all")


def test_who_is_refused_is_told_at_once(network: Network, hosts: tuple[Host, Host]) -> None:
    one, other = hosts
    network.refuse([one], [other])
    assert re.match(r"OSError .*(unreachable|No route to host)", call(one, other))
    network.heal()
    assert call(one, other).startswith("all")


def test_a_slow_link_takes_its_time(network: Network, hosts: tuple[Host, Host]) -> None:
    one, other = hosts
    network.slow(one, "1mbit")
    try:
        for caller, callee in ((one, other), (other, one)):
            assert float(call(caller, callee, size=100_000).removeprefix("all")) > 0.5
    finally:
        network.quick(one)


def test_a_machine_that_loses_its_power_has_no_process_and_keeps_its_disk(hosts: tuple[Host, Host]) -> None:
    one, _ = hosts
    with network_of(one.folder.parent.parent / "power", "third") as made:
        third = made.hosts["third"]
        for folder in ("/tmp", "/run"):
            third.path(f"{folder}/mark").write_text("")
        script = "setsid sleep 1000 & sleep 1000 & echo begun; wait"
        with subprocess.Popen([*third.prefix, "sh", "-c", script], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            assert len(third.processes()) == 3
            third.lose_power()
        assert third.path("/tmp/mark").exists()
        assert not third.path("/run/mark").exists()


def test_nothing_is_left_when_a_test_fails(tmp_path: Path) -> None:
    made: list[Network] = []
    running: list[subprocess.Popen[bytes]] = []

    def fail() -> None:
        with network_of(tmp_path, "lost") as network:
            made.append(network)
            running.append(subprocess.Popen([*network.hosts["lost"].prefix, "sleep", "1000"]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert running[0].wait() != 0
    namespace = made[0].hosts["lost"].namespace
    assert processes_in(namespace) == []
    assert not Path("/run/netns", namespace).exists()
    links = {path.name for path in Path("/sys/class/net").iterdir()}
    assert not links & {made[0].bridge, f"v{namespace}"}
    assert str(tmp_path) not in Path("/proc/mounts").read_text()

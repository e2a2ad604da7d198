"""Hosts on one bridge, and what can happen to the network between them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from attrs import define, field

from .host import Host, ip, processes_in


def _missing() -> str:
    """Return why there can be no test bed here; "" where there can."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    missing = [name for name in ("ip", "tc", "unshare", "nsenter", "setpriv") if shutil.which(name) is None]
    if missing:
        return f"needs {', '.join(missing)} (iproute2 and util-linux)"
    wanted = (
        "ip link add name br0 type bridge",
        "ip link add name v0 type veth peer name v1",
        "ip rule add pref 9 blackhole",
    )
    probe = ["unshare", "--net", "--mount", "--uts", "--ipc", "sh", "-c", " && ".join(wanted)]
    said = subprocess.run(probe, capture_output=True, text=True, check=False)
    return f"the kernel does not let us make hosts: {said.stderr.strip()}" if said.returncode else ""


MISSING = _missing()
needs_hosts = pytest.mark.skipif(bool(MISSING), reason=MISSING)

MOST = 200
"""Networks that a machine has at a time, one for each file of tests that runs."""

LOCAL = "100"
"""The preference of what is for the host itself. Rules that lose packets come before it."""


@define
class Network:
    """A bridge with an address for the tests themselves, and the hosts on it.

    A cut is a rule of the host that would receive: it loses what comes in, and nobody is told. So a cut has a
    direction, and who sends sees what a sender in a broken network sees, namely nothing.

    Attributes:
        number: What no other network of this machine has meanwhile: it is in every name and address.
        hosts: The hosts, by name.
    """

    number: int
    hosts: dict[str, Host]
    _cuts: set[tuple[str, ...]] = field(factory=set, init=False)

    @property
    def bridge(self) -> str:
        return f"sllmtest{self.number}"

    @property
    def client(self) -> str:
        """The address that the tests themselves come from."""
        return f"10.231.{self.number}.1"

    def cut(self, one: Iterable[Host], other: Iterable[Host]) -> None:
        """Lose in silence all that one side sends to the other, and what that sends back."""
        one, other = list(one), list(other)
        self.cut_one_way(one, other)
        self.cut_one_way(other, one)

    def cut_one_way(self, senders: Iterable[Host], receivers: Iterable[Host]) -> None:
        """Lose in silence what some hosts send to others; what comes back arrives."""
        senders = list(senders)
        for receiver in receivers:
            for sender in senders:
                self._add(receiver, "from", sender.address, "iif", "eth0", "blackhole")

    def refuse(self, one: Iterable[Host], other: Iterable[Host]) -> None:
        """Let neither side have a way to the other: who connects is told so at once."""
        other = list(other)
        for here in one:
            for there in other:
                self._add(here, "to", there.address, "unreachable")
                self._add(there, "to", here.address, "unreachable")

    def heal(self) -> None:
        """Let everything through again that was cut."""
        while self._cuts:
            host, *rule = self._cuts.pop()
            self.hosts[host].ip("rule", "del", *rule)

    def _add(self, host: Host, *rule: str) -> None:
        cut = (host.name, "pref", "10", *rule)
        if cut not in self._cuts:
            host.ip("rule", "add", *cut[1:])
            self._cuts.add(cut)

    def slow(self, host: Host, rate: str) -> None:
        """Let a host send, and be sent, so much in a second, as ``1mbit``; more than 400 ms of it is lost."""
        limits = ("root", "tbf", "rate", rate, "burst", "16kb", "latency", "400ms")
        _tc("-n", host.namespace, "qdisc", "replace", "dev", "eth0", *limits)
        _tc("qdisc", "replace", "dev", f"v{host.namespace}", *limits)

    def quick(self, host: Host) -> None:
        """Take that back."""
        _tc("-n", host.namespace, "qdisc", "del", "dev", "eth0", "root")
        _tc("qdisc", "del", "dev", f"v{host.namespace}", "root")


def _tc(*arguments: str) -> None:
    subprocess.run(["tc", *arguments], check=True, capture_output=True)


@contextmanager
def claimed() -> Iterator[int]:
    """Yield a number that nobody else on this machine gets meanwhile, whatever becomes of this process."""
    for number in range(MOST):
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                claim.bind(f"\0sllmtest{number}")
            except OSError:
                continue
            yield number
            return
    pytest.fail(f"there are {MOST} networks already")


@contextmanager
def network_of(folder: Path, *names: str, visible: Sequence[Path] = ()) -> Iterator[Network]:
    """Make hosts of these names, whose files are below a folder; at the end all of it is removed.

    Args:
        folder: Where their files are.
        names: What they are called.
        visible: Other folders of the tests that all of them see.
    """
    with claimed() as number:
        hosts = {
            name: Host(
                name, f"sllmtest{number}-{each}", f"10.231.{number}.{11 + each}", folder / name, visible
            )
            for each, name in enumerate(names)
        }
        network = Network(number, hosts)
        _take_down(network)  # what a run that was killed has left
        try:
            _set_up(network, folder)
            yield network
        finally:
            _take_down(network)


def _set_up(network: Network, folder: Path) -> None:
    ip("link", "add", network.bridge, "type", "bridge")
    ip("addr", "add", f"{network.client}/24", "dev", network.bridge)
    ip("link", "set", network.bridge, "up")
    for name, host in network.hosts.items():
        ip("netns", "add", host.namespace)
        there = ("peer", "name", "eth0", "netns", host.namespace)
        ip("link", "add", f"v{host.namespace}", "type", "veth", *there)
        ip("link", "set", f"v{host.namespace}", "master", network.bridge, "up")
        host.ip("addr", "add", f"{host.address}/24", "dev", "eth0")
        host.ip("link", "set", "eth0", "up")
        host.ip("link", "set", "lo", "up")
        host.ip("rule", "add", "pref", LOCAL, "lookup", "local")
        host.ip("rule", "del", "pref", "0")
        folder.joinpath(name).mkdir(parents=True, exist_ok=True)
        host.boot(folder)


def _take_down(network: Network) -> None:
    """Remove what is there; links one by one, since a namespace outlives its name while a socket closes."""
    for host in network.hosts.values():
        host.end()
        for pid in processes_in(host.namespace):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for command in (("link", "del", f"v{host.namespace}"), ("netns", "del", host.namespace)):
            ip(*command, check=False)
    ip("link", "del", network.bridge, check=False)

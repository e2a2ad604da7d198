"""Every command of docs/multi_machine.md, in its order, on hosts of the names that it has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.e2e.cluster import Sllm, eventually
from tests.e2e.commands import gguf
from tests.hosts.host import ROOT, Host
from tests.hosts.network import Network, needs_hosts, network_of
from tests.models.hub_server import run_hub

from .shell import Shell

pytestmark = [pytest.mark.allow_blocking, pytest.mark.slow, needs_hosts]

PAGE = (ROOT / "docs" / "multi_machine.md").read_text()
MODEL = "facebook/opt-1.3b"
HEAD_IN_PAGE = "10.0.0.1"

FOREGROUND = re.compile(r"sllm (head|worker|gateway)\b")
SERVES = {"head": "OpenAI API", "worker": "joined the head", "gateway": "OpenAI API"}


def commands() -> Iterator[tuple[str, str]]:
    """Yield the commands of the page, each with the host whose prompt it has."""
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            host, command = re.fullmatch(r"(\w+)\$ +(.*)", line).groups()  # type: ignore[union-attr]
            yield host, command


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with network_of(tmp_path, "head", "worker1", "laptop", "gateway") as made:
        yield made


class Machines:
    """The hosts of the page, with a shell on each.

    Args:
        network: The hosts.
        hub: The address of the hub.
    """

    def __init__(self, network: Network, hub: str) -> None:
        self.shells = {name: Shell(host) for name, host in network.hosts.items()}
        self.running: list[Sllm] = []
        self._head = network.hosts["head"].address
        self.shells["worker1"](f"export HF_ENDPOINT={hub}")

    def do(self, host: str, command: str) -> str:
        """Do what the page says; return what it printed, and nothing for what goes on running."""
        command = command.replace(HEAD_IN_PAGE, self._head)
        # The engine of these tests is llama.cpp, which runs on no GPU.
        command = command.replace("--num-gpus 1", "--backend llamacpp --engine-arg n_ctx=1024")
        shell = self.shells[host]
        if command.startswith("scp "):
            *files, there = command.split()[1:]
            for file in files:
                content = shell(f"cat {file}")
                self.shells[there.removesuffix(":")](f"umask 077; cat >~/{Path(file).name}", stdin=content)
            return ""
        if (node := FOREGROUND.match(command)) is None:
            return shell(command)
        started = shell.start(command)
        self.running.append(started)
        started.wait_for(SERVES[node[1]])
        eventually(lambda: host in self.up(), what=f"{host} is up", every=0.2)
        return ""

    def up(self) -> set[str]:
        """Return the machines of the nodes that are up: a gateway is called ``gateway-0@MACHINE``."""
        nodes = json.loads(self.shells["head"]("sllm status --nodes --json", check=False))["nodes"]
        return {each["name"].rpartition("@")[2] for each in nodes if each["state"] == "up"}

    def close(self) -> None:
        for each in self.running:
            each.kill_all()


def test_the_page_is_short() -> None:
    head, worker = (
        [line for host, line in list(commands())[:3] if host == each] for each in ("head", "worker1")
    )
    assert (len(head), len(worker)) == (2, 1)


def test_each_command_of_the_page_does_what_it_says(network: Network) -> None:
    told: dict[str, str] = {}
    with run_hub(network.client) as hub:
        hub.put(MODEL, {"opt.gguf": gguf().read_bytes()})
        machines = Machines(network, hub.url)
        try:
            for host, command in commands():
                told[command] = machines.do(host, command)
            assert machines.up() == {"head", "worker1", "gateway"}
            for each in reversed(machines.running):
                assert each.stop() == 0, each.output
        finally:
            machines.close()
    assert re.search(r"^worker1 .* up", told["sllm status --nodes"], re.MULTILINE)
    assert f"Ready: {MODEL}:llamacpp" in told["sllm deploy facebook/opt-1.3b --num-gpus 1 --wait"]
    assert "ready" in told["sllm status facebook/opt-1.3b"]
    chat = next(text for command, text in told.items() if command.startswith("sllm chat"))
    assert len(chat) > 10
    models = next(text for command, text in told.items() if command.startswith("curl"))
    assert [each["id"] for each in json.loads(models)["data"]] == [MODEL]
    assert "worker1" in told["sllm drain worker1"]
    assert told["sllm delete facebook/opt-1.3b"] == f"Deleted: {MODEL}:llamacpp\n"
    for machine in network.hosts.values():
        eventually(partial(_is_empty, machine), what=f"nothing is left on {machine.name}")


def _is_empty(host: Host) -> bool:
    return not host.processes()

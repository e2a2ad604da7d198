"""Who knocks from another host and does not belong: refused, told of once, and shown nothing.

The host of the tests is the stranger. Head, gateway and worker run on another host, with an engine.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
from attrs import evolve, frozen
from tests.children import keep
from tests.hosts.network import needs_hosts

from sllm_actors.actors import Incarnation, NodeId
from sllm_actors.testing.node_keys import key_of
from sllm_actors.transport import Lane
from sllm_actors.transport.errors import HandshakeFailed
from sllm_actors.transport.handshake import Handshake
from sllm_actors.transport.hello import NONCE_SIZE, Code, Hello

from .cluster import Sllm, eventually
from .hosts import Network, network_of
from .machines import engine

pytestmark = [pytest.mark.allow_blocking, needs_hosts]

KNOCKS = 20
TRANSPORT = 8001
LISTENS = "0A"  # as the kernel writes it


@frozen
class House:
    """The other host, and what the stranger may have got hold of."""

    folder: Path
    network: Network
    nodes: tuple[Sllm, ...]

    @property
    def address(self) -> str:
        return self.network.address(0)

    @property
    def secret(self) -> bytes:
        return (self.folder / "head" / "secret").read_bytes().strip()

    @property
    def cluster(self) -> str:
        return (self.folder / "head" / "cluster-id").read_text().strip()

    def node_id(self) -> str:
        """Return the id of the worker."""
        found: str = json.loads((self.folder / "worker" / "worker" / "node.json").read_text())["node"]
        return found

    def hello(self, **more: Any) -> Hello:
        """Return what a new worker says of itself, or somebody who calls itself something else."""
        hello = Hello(
            cluster=self.cluster,
            node=NodeId("worker-stranger"),
            role="worker",
            incarnation=Incarnation(1, secrets.randbits(64)),
            lane=Lane.CONTROL,
            nonce=secrets.token_bytes(NONCE_SIZE),
            public_key=key_of("stranger").public_key,
        )
        return evolve(hello, **more)

    def knock(self, hello: Hello, *, secret: bytes = b"", key: str = "stranger") -> tuple[Code, str]:
        """Shake hands once; return the head's verdict."""
        handshake = Handshake(lambda: hello, secret or self.secret, key_of(key), dialler=True)
        with socket.create_connection((self.address, TRANSPORT), 60) as stream:
            stream.sendall(handshake.start())
            try:
                while handshake.proven is None:
                    data = stream.recv(4096)
                    assert data, "it says why"
                    stream.sendall(handshake.receive(data))
            except HandshakeFailed as refused:
                return Code(refused.code), refused.reason
        return handshake.proven.code, handshake.proven.reason

    def counted(self) -> tuple[Counter[str], Counter[str], Counter[str]]:
        """Return how many head, gateway and worker say that they have refused, by why."""
        key = (self.folder / "head" / "admin-key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}"}
        said = httpx2.get(f"http://{self.address}:8343/nodes", headers=headers, timeout=60, trust_env=False)
        nodes = {each["role"]: Counter(each["refused"]) for each in said.json()["nodes"]}
        return Counter(said.json()["head"]["refused"]), nodes["gateway"], nodes["worker"]

    def told(self) -> Counter[str]:
        """Return how often the head's log tells of each kind of refusal, of this host."""
        lines = (self.folder / "head" / "head" / "node.log").read_text().splitlines()
        entries = [json.loads(line) for line in lines if '"transport.turned_away"' in line]
        return Counter(each["kind"] for each in entries if each["host"] == self.network.head)

    def tells_once(self, kind: str) -> None:
        """Wait until the log tells of a kind of refusal; it is to be told once, however often it came."""
        eventually(lambda: self.told()[kind], what=f"{kind} is told")
        assert self.told()[kind] == 1


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    with network_of(1) as network:
        address = network.address(0)
        prefix = ("ip", "netns", "exec", network.names[0])
        head = Sllm("head", "--data-dir", str(folder / "head"), prefix=prefix)
        nodes = [head]
        try:
            keep(head.process)
            head.wait_for("OpenAI API")
            secret = ("--secret-file", str(folder / "head" / "secret"), "--data-dir", str(folder / "worker"))
            options = ("--head", address, "--allow-command", "--fork-servers", "none")
            worker = Sllm("worker", *options, *secret, prefix=prefix)
            nodes.append(worker)
            keep(worker.process)
            worker.wait_for("joined the head")
            yield House(folder, network, tuple(nodes))
        finally:
            for each in reversed(nodes):
                each.kill_all()


def test_without_the_secret_nobody_joins_and_many_tries_are_one_line(house: House) -> None:
    before = house.counted()[0]["secret"]
    for _ in range(KNOCKS):
        code, reason = house.knock(house.hello(), secret=b"a guess of thirty-two characters")
        assert code is Code.SECRET
        assert "wrong cluster secret (use --secret-file or SLLM_CLUSTER_SECRET" in reason
    house.tells_once("secret")
    eventually(lambda: house.counted()[0]["secret"] >= before + KNOCKS, what="all are counted")


def test_a_handshake_that_was_overheard_is_of_no_use_again(house: House) -> None:
    before = house.counted()[0]["secret"]
    hello = house.hello()
    handshake = Handshake(lambda: hello, house.secret, key_of("stranger"), dialler=True)
    said: list[bytes] = []
    with socket.create_connection((house.address, TRANSPORT), 60) as stream:
        said.append(handshake.start())
        stream.sendall(said[-1])
        while handshake.proven is None:
            said.append(handshake.receive(stream.recv(4096)))
            stream.sendall(said[-1])
    assert handshake.proven.code is Code.OK, "it was a good one"
    for _ in range(KNOCKS):
        with socket.create_connection((house.address, TRANSPORT), 60) as stream:
            stream.settimeout(60)
            for each in said:
                stream.sendall(each)
            answer = b""
            while data := stream.recv(4096):
                answer += data
        assert b"wrong cluster secret" in answer
    house.tells_once("secret")
    eventually(lambda: house.counted()[0]["secret"] >= before + KNOCKS, what="all are counted")


def test_whoever_has_the_secret_is_still_nobody_else(house: House) -> None:
    before = house.counted()[0]
    worker = house.node_id()
    others_key = house.hello(node=NodeId(worker), public_key=key_of("other").public_key)
    cases = [
        (house.hello(node=NodeId(worker), incarnation=Incarnation(2**52, 1)), "stranger"),
        (others_key, "stranger"),
        (house.hello(role="head"), "stranger"),
    ]
    refused = {
        Code.DUPLICATE: "a live node of that id is linked already",
        Code.IDENTITY: ("it does not hold the key that it names", "a head never dials a head"),
        Code.REFUSED: "has another key than the worker that joined as",
    }
    for hello, key in cases:
        for _ in range(KNOCKS):
            code, reason = house.knock(hello, key=key)
            assert code in refused
            expected = refused[code]
            assert any(each in reason for each in ([expected] if isinstance(expected, str) else expected))
    house.tells_once("identity")
    eventually(lambda: (house.counted()[0] - before).total() >= len(cases) * KNOCKS, what="all are counted")


@pytest.mark.parametrize(
    "words", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"SSH-2.0-x\r\n"]
)
def test_what_is_no_node_is_turned_away_by_head_and_worker_alike(house: House, words: bytes) -> None:
    head, _, worker = house.counted()
    for port in (TRANSPORT, 8002):
        for _ in range(KNOCKS):
            with socket.create_connection((house.address, port), 60) as stream, suppress(ConnectionError):
                stream.settimeout(60)
                stream.sendall(words)
                while stream.recv(4096):
                    pass
    house.tells_once("broken")
    eventually(lambda: house.counted()[0]["broken"] >= head["broken"] + KNOCKS, what="the head counts")
    eventually(lambda: house.counted()[2]["broken"] >= worker["broken"] + KNOCKS, what="the worker counts")


def test_no_request_from_another_host_is_answered_without_the_key(house: House) -> None:
    ways = [
        (8343, "/v1/models"),
        (8343, "/nodes"),
        (8343, "/status"),
        (8000, "/workers"),
        (8000, "/instances"),
    ]
    before_head, before_gateway, _ = house.counted()
    with httpx2.Client(timeout=60, trust_env=False) as http:
        for port, path in ways:
            for headers in ({}, {"Authorization": "Bearer guess"}, {"Host": "localhost"}):
                answer = http.get(f"http://{house.address}:{port}{path}", headers=headers)
                assert answer.status_code == 401, path
                assert "error" in answer.json()
        removed = http.delete(f"http://{house.address}:8343/nodes/{house.node_id()}")
        assert removed.status_code == 401
    gateway, head = ("invalid_api_key", before_gateway), ("invalid_key", before_head)
    eventually(lambda: house.counted()[1][gateway[0]] == gateway[1][gateway[0]] + 10, what="gateway counts")
    eventually(lambda: house.counted()[0][head[0]] == head[1][head[0]] + 6, what="the head counts")


def test_an_engine_is_nowhere_to_be_found_from_another_host(house: House) -> None:
    key = (house.folder / "head" / "admin-key").read_text().strip()
    url, headers = f"http://{house.address}:8343", {"Authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as http:
        document = {"model": "m", **engine("--model", "one"), "auto_scaling_config": {"min_instances": 1}}
        assert http.post("/deployments", json=document).status_code == 200
        body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
        eventually(lambda: http.post("/v1/chat/completions", json=body).status_code == 200, what="it serves")
    open_ports = set()
    for port in listened_on(house):
        with suppress(OSError), socket.create_connection((house.address, port), 10):
            open_ports.add(port)
    assert open_ports == {8000, TRANSPORT, 8002, 8343}


def listened_on(house: House) -> set[int]:
    """Return every TCP port of the host that something listens on, on whatever address."""
    found = set()
    for table in ("tcp", "tcp6"):
        lines = Path(f"/proc/{house.nodes[0].node('head')}/net/{table}").read_text().splitlines()[1:]
        rows = [line.split() for line in lines]
        found |= {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == LISTENS}
    return found


@contextmanager
def pem_of(leaf: trustme.LeafCert, folder: Path) -> Iterator[tuple[Path, Path]]:
    certificate, key = folder / "leaf.pem", folder / "leaf.key"
    certificate.write_bytes(b"".join(each.bytes() for each in leaf.cert_chain_pems))
    key.touch(mode=0o600)
    key.write_bytes(leaf.private_key_pem.bytes())
    yield certificate, key


@pytest.mark.parametrize("case", ["none", "expired", "of another authority"])
def test_with_tls_nobody_gets_as_far_as_a_handshake_with_a_wrong_certificate(
    tmp_path: Path, case: str
) -> None:
    authority, other = trustme.CA(), trustme.CA()
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    with network_of(1) as network, pem_of(authority.issue_cert("head.example"), tmp_path) as (own, own_key):
        tls = ("--tls-cert", str(own), "--tls-key", str(own_key), "--tls-ca", str(tmp_path / "ca.pem"))
        prefix = ("ip", "netns", "exec", network.names[0])
        data = ("--gateways", "0", "--data-dir", str(tmp_path / "head"))
        head = Sllm("head", *data, *tls, prefix=prefix)
        try:
            head.wait_for("head: ready")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            authority.configure_trust(context)
            if case == "expired":
                authority.issue_cert("w", not_before=past - dt.timedelta(9), not_after=past).configure_cert(
                    context
                )
            elif case != "none":
                other.issue_cert("w").configure_cert(context)
            for _ in range(KNOCKS):
                with (
                    socket.create_connection((network.address(0), TRANSPORT), 60) as raw,
                    pytest.raises(ssl.SSLError, match=r"certificate|unknown ca") as refused,
                    context.wrap_socket(raw) as wrapped,
                ):
                    wrapped.recv(100)
                assert case != "expired" or "expired" in str(refused.value)
            log = tmp_path / "head" / "head" / "node.log"
            eventually(lambda: "transport.turned_away" in log.read_text(), what="it is told")
            assert log.read_text().count("transport.turned_away") == 1
        finally:
            head.kill_all()

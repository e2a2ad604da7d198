"""A cluster whose nodes speak TLS with each other, and what nodes read that do not fit in."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
import trustme
from attrs import define, field, frozen
from tests.ports import free_port

from .cluster import DEMO, Sllm, eventually

pytestmark = pytest.mark.allow_blocking

LOOPBACK = ("--host", "127.0.0.1")
MAGIC = b"\x8bSLLM"


@frozen
class Authority:
    """Signs the nodes of one cluster."""

    folder: Path
    ca: trustme.CA = field(factory=trustme.CA)

    def node(self, name: str) -> tuple[str, ...]:
        """Return the options of a node with a certificate of its own."""
        self.folder.mkdir(exist_ok=True)
        leaf = self.ca.issue_cert(f"{name}.example")
        paths = [self.folder / f"{name}.pem", self.folder / f"{name}.key", self.folder / "ca.pem"]
        paths[0].write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        paths[1].touch(mode=0o600)
        paths[1].write_bytes(leaf.private_key_pem.bytes())
        paths[2].write_bytes(self.ca.cert_pem.bytes())
        flags = ("--tls-cert", "--tls-key", "--tls-ca")
        return tuple(each for pair in zip(flags, map(str, paths), strict=True) for each in pair)


@contextmanager
def started(*arguments: str, env: dict[str, str] | None = None) -> Iterator[Sllm]:
    process = Sllm(*arguments, env=env)
    try:
        yield process
    finally:
        process.kill_all()


@frozen
class Secured:
    """A head (and its gateway) with TLS."""

    authority: Authority
    head: Sllm
    folder: Path
    url: str
    cluster: int
    transport: int

    @property
    def env(self) -> dict[str, str]:
        return {"SLLM_CLUSTER_SECRET": (self.folder / "secret").read_text().strip()}

    def worker(self, folder: Path, *more: str, cluster: int | None = None) -> tuple[str, ...]:
        where = ("--head", f"127.0.0.1:{cluster or self.cluster}", "--port", "0")
        return ("worker", *where, "--data-dir", str(folder), *LOOPBACK, *more)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder / "tls")
    cluster, transport = free_port(), free_port()
    ports = ("--port", "0", "--cluster-port", str(cluster), "--transport-port", str(transport))
    with started(
        "head", *ports, "--data-dir", str(folder / "head"), *LOOPBACK, *authority.node("head")
    ) as head:
        url = head.wait_for(r"OpenAI API: (http://\S+)/v1")[1]
        yield Secured(authority, head, folder / "head", url, cluster, transport)


@define
class Wire:
    """Stands between a node and a head, and writes down every byte between them.

    It answers ``/cluster`` itself, so that the node dials the transport through it.
    """

    target: int
    bytes: list[bytes] = field(factory=list)

    @contextmanager
    def tapped(self, cluster: int) -> Iterator[int]:
        """Yield the port for ``--head``."""
        listener = socket.create_server(("127.0.0.1", 0))
        document = httpx2.get(f"http://127.0.0.1:{cluster}/cluster", trust_env=False, timeout=60).json()
        document["transport_port"] = listener.getsockname()[1]

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(document).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        web = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        for serve in (web.serve_forever, lambda: self._accept(listener)):
            threading.Thread(target=serve, daemon=True).start()
        try:
            yield web.server_address[1]
        finally:
            web.shutdown()
            web.server_close()
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        number = len(self.bytes)
        self.bytes.append(b"")
        with source:
            try:
                while data := source.recv(65536):
                    self.bytes[number] += data
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                return


def chat(url: str) -> None:
    body = {"model": DEMO, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
    response = httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=60, trust_env=False)
    assert response.status_code == 200, response.text


def test_head_worker_and_gateways_with_tls_serve_a_model_and_say_nothing_in_the_clear(
    secured: Secured, tmp_path: Path
) -> None:
    wire = Wire(secured.transport)
    with wire.tapped(secured.cluster) as cluster:
        arguments = secured.worker(tmp_path / "w", *secured.authority.node("w"), cluster=cluster)
        with started(*arguments, env=secured.env) as worker:
            worker.wait_for("joined the head")
            document = {"model": DEMO, "backend": "llamacpp", "source": f"demo:{DEMO}"}
            deployed = httpx2.post(f"{secured.url}/deployments", json=document, trust_env=False, timeout=60)
            assert deployed.status_code == 200, deployed.text
            chat(secured.url)
            head_address = ("--head", f"127.0.0.1:{secured.cluster}", "--port", "0")
            tls = secured.authority.node("g")
            with started(
                "gateway", *head_address, "--data-dir", str(tmp_path / "g"), *LOOPBACK, *tls, env=secured.env
            ) as gateway:
                second = gateway.wait_for(r"OpenAI API: (http://\S+)/v1")[1]
                known = eventually(
                    lambda: httpx2.get(f"{second}/v1/models", trust_env=False, timeout=60).json()["data"],
                    what="the second gateway knows the model",
                )
                assert known
                chat(second)
                assert gateway.stop() == 0
            assert worker.stop() == 0
    spoken = [each for each in wire.bytes if each]
    assert len(spoken) >= 4  # a control and a data lane, both ways
    assert all(each.startswith(b"\x16\x03") for each in spoken)
    everything = b"".join(spoken)
    for word in (MAGIC, b"worker", DEMO.encode(), b"serving.", b"cluster"):
        assert word not in everything


def test_the_head_s_transport_lets_nobody_in_without_a_certificate(secured: Secured) -> None:
    address = ("127.0.0.1", secured.transport)
    with socket.create_connection(address, timeout=60) as plain:
        plain.sendall(MAGIC + b"\r\n\x00")
        assert plain.recv(100)[:2] == b"\x15\x03"
        assert plain.recv(100) == b""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    secured.authority.ca.configure_trust(context)
    with (
        socket.create_connection(address, timeout=60) as raw,
        context.wrap_socket(raw) as anonymous,
        pytest.raises(ssl.SSLError, match="certificate required"),
    ):
        anonymous.recv(100)


@pytest.mark.parametrize("case", ["plain", "other authority", "other certificate"])
def test_a_node_that_does_not_fit_says_so_in_one_sentence_and_ends(
    secured: Secured, tmp_path: Path, case: str
) -> None:
    other = Authority(tmp_path / "other")
    tls: tuple[str, ...] = ()
    sentence = "answered, but it expects TLS: start this node with --tls-cert, --tls-key and --tls-ca"
    if case == "other authority":
        tls = other.node("w")
        sentence = "shows a certificate that --tls-ca does not vouch for"
    elif case == "other certificate":
        tls = other.node("w")  # it trusts the head's authority too, but the head does not trust its own
        Path(tls[-1]).write_bytes(other.ca.cert_pem.bytes() + secured.authority.ca.cert_pem.bytes())
        sentence = "does not accept the certificate of this node's --tls-cert"
    with started(*secured.worker(tmp_path / "w", *tls), env=secured.env) as worker:
        assert worker.ended() == 1
        worker.stop()
        said = [line for line in worker.lines if line.startswith("error: worker: ")]
        assert len(said) == 1
        assert f"127.0.0.1:{secured.transport} {sentence}" in said[0]
        assert "Traceback" not in worker.output


def test_a_node_with_tls_and_a_head_without_is_one_sentence_too(tmp_path: Path) -> None:
    ports = ("--gateways", "0", "--cluster-port", "0", "--transport-port", "0")
    with started("head", *ports, "--data-dir", str(tmp_path / "h"), *LOOPBACK) as head:
        cluster = head.wait_for(r"cluster HTTP on port (\d+)")[1]
        env = {"SLLM_CLUSTER_SECRET": (tmp_path / "h" / "secret").read_text().strip()}
        tls = Authority(tmp_path / "tls").node("g")
        where = ("--head", f"127.0.0.1:{cluster}", "--port", "0", "--data-dir", str(tmp_path / "g"))
        with started("gateway", *where, *LOOPBACK, *tls, env=env) as gateway:
            assert gateway.ended() == 1
            gateway.stop()
            assert "does not use TLS, and this node does: start all nodes with --tls-cert" in gateway.output
            assert "Traceback" not in gateway.output


def test_files_that_cannot_be_used_are_named_before_anything_starts(tmp_path: Path) -> None:
    tls = Authority(tmp_path / "tls").node("n")
    Path(tls[3]).chmod(0o644)
    with started("up", "--port", "0", "--data-dir", str(tmp_path / "data"), *tls) as up:
        assert up.ended() == 1
        up.stop()
        assert (
            up.output == f"error: every user of this machine can get at the key {tls[3]}: chmod o= {tls[3]}"
        )
    assert not (tmp_path / "data").exists()

"""The images' health check, against nodes that answer, that hang and that are not there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from docker import health

pytestmark = pytest.mark.allow_blocking


class Gateway(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[int]:
    """The port of a server that is well at /health, and nowhere else."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a node that hangs: the kernel takes connections for it, and nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that nobody listens at, nor gets meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_a_gateway_that_answers_is_well(gateway: int) -> None:
    health.check({"MODE": "GATEWAY", "HEAD_HOST": "0.0.0.0", "HEAD_PORT": str(gateway)})


def test_an_answer_that_is_an_error_is_told(gateway: int) -> None:
    with pytest.raises(OSError, match=f"port {gateway} answers /cluster with 503"):
        health.answers("127.0.0.1", gateway, "/cluster")


def test_a_port_that_nobody_listens_at_is_told(nobody: int) -> None:
    with pytest.raises(OSError, match=f"port {nobody} does not answer: .*refused"):
        health.answers("127.0.0.1", nobody, "/health")
    with pytest.raises(OSError, match=f"the worker at port {nobody} does not answer: .*refused"):
        health.closes("127.0.0.1", nobody)


def test_a_node_that_hangs_is_not_well(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT", 0.1)
    with pytest.raises(OSError, match=f"port {silent} does not answer: timed out"):
        health.answers("127.0.0.1", silent, "/health")
    with pytest.raises(OSError, match=f"the worker at port {silent} does not answer: timed out"):
        health.closes("127.0.0.1", silent)


@pytest.mark.parametrize("listening", ["0.0.0.0", "10.0.0.1"])
def test_a_gateway_is_asked_where_it_listens(listening: str) -> None:
    assert health.reachable(listening) == ("127.0.0.1" if listening == "0.0.0.0" else listening)
    assert health.reachable("::") == "::1"

"""Finding the head: patient with a head that is not there yet, quick to name a stranger."""

from __future__ import annotations

import contextlib
import json
import socket
import threading

import anyio
import pytest

from sllm_actors.cluster.join import ClusterInfo, NotAHead, find_cluster, read_cluster

pytestmark = pytest.mark.anyio
INFO = {"cluster": "cluster-1", "transport_port": 8001, "more": "of a later version"}


def http(status: int, body: str) -> bytes:
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


async def found(answers: list[bytes], told: list[str]) -> ClusterInfo:
    """Ask a server that gives one answer after the other, each on a connection of its own."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=give, args=(listener, answers, done))
        server.start()
        try:
            with anyio.fail_after(60):
                return await find_cluster("127.0.0.1", listener.getsockname()[1], tell=told.append)
        finally:
            done.set()
            server.join(60)


def give(listener: socket.socket, answers: list[bytes], done: threading.Event) -> None:
    for answer in answers:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(4096)
            connection.sendall(answer)
            if answer:
                # A stranger may well keep the connection open.
                done.wait(0.3)


async def test_a_head_says_where_its_transport_is() -> None:
    told: list[str] = []
    assert await found([http(200, json.dumps(INFO))], told) == ClusterInfo("cluster-1", 8001)
    assert told == []


@pytest.mark.slow
async def test_a_head_that_is_not_ready_is_waited_for_and_each_obstacle_is_told_once() -> None:
    told: list[str] = []
    answers = [b"", b"", http(503, "starting"), http(502, "bad gateway"), http(200, json.dumps(INFO))]
    assert await found(answers, told) == ClusterInfo("cluster-1", 8001)
    assert len(told) == 3
    assert "closes the connection" in told[0]
    assert "status 503" in told[1]
    assert "status 502" in told[2]


async def test_a_port_where_nobody_listens_is_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    told: list[str] = []
    with anyio.CancelScope() as scope:

        def tell(sentence: str) -> None:
            told.append(sentence)
            scope.deadline = anyio.current_time() + 0.3  # in which it goes on waiting, and says nothing more

        await find_cluster("127.0.0.1", port, tell=tell)
    assert len(told) == 1
    assert told[0].startswith(
        f"waiting for the head at 127.0.0.1:{port}: connection refused: nothing listens there; check"
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"220 mail.example ESMTP\r\n",
        b"\x16\x03\x01\x02\x00",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        http(404, "not found"),
        http(200, "<html>"),
        http(200, "[]"),
        http(200, '{"cluster": "", "transport_port": 1}'),
        http(200, '{"cluster": "x", "transport_port": 70000}'),
        http(200, "[" * 60_000),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200_000,
        b"HTTP/1.1 nonsense\r\n\r\n",
    ],
)
async def test_a_stranger_is_named_at_once(answer: bytes) -> None:
    with pytest.raises(NotAHead, match=r"127\.0\.0\.1:\d+ answers, but it is not an sllm head: --head"):
        await found([answer], [])


@pytest.mark.parametrize(
    ("advertised", "asked", "found"),
    [
        ("", "head.example", "head.example"),
        ("2001:db8::1", "head.example", "2001:db8::1"),
        ("192.0.2.1", "127.0.0.1", "127.0.0.1"),  # on the head's machine, which may not get out and back in
    ],
)
def test_the_head_s_transport_is_where_it_advertises_it(advertised: str, asked: str, found: str) -> None:
    assert ClusterInfo("c", 8001, advertised).host_seen_from(asked) == found


@pytest.mark.parametrize(
    "document",
    [
        None,
        {**INFO, "host": "a b"},
        {**INFO, "host": "[::1]:80"},
        [],
        {},
        {"cluster": 1},
        {"cluster": "x", "transport_port": "y"},
    ],
)
async def test_another_document_is_no_cluster(document: object) -> None:
    with pytest.raises(ValueError, match="not a cluster document"):
        read_cluster(document)

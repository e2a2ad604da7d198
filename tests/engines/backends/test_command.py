"""Engines that a deployment names itself: only where the worker allows it, and never through a shell."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
from anyio.abc import SocketAttribute, SocketStream
from hypothesis import given
from hypothesis import strategies as st
from tests.engines.kit import altered, environment_of, report_of, start
from tests.strangers import own_connection

from sllm_actors.engines.backends import command
from sllm_actors.engines.backends.command import Command, names_in, read_command, substitute
from sllm_actors.engines.backends.port import PrivatePort, choose_port
from sllm_actors.engines.backends.registry import inspect_source
from sllm_actors.engines.errors import LaunchProblem, SettingsProblem
from sllm_actors.engines.health_policy import HealthPolicy
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import InspectSource, ReplicaOrder, ReplicaState
from sllm_actors.engines.replica.engine_socket import open_engine_socket
from sllm_actors.testing import TestSystem
from sllm_actors.testing.fake_engine import fake_engine_argv
from sllm_actors.transport.tcp_stream import TcpStream

KEY = ReplicaKey("m:command", 1, 1)
ON_SOCKET = list(fake_engine_argv("--socket", "$SOCKET", "--model", "$NAME"))
ON_PORT = list(fake_engine_argv("--port", "$PORT", "--say", "serving $MODEL; `touch /tmp/no` $$HOME"))


@pytest.fixture
def allowing(host: EngineHost) -> EngineHost:
    return altered(host, allow_command=True)


def order(command: object, **settings: Any) -> ReplicaOrder:
    return ReplicaOrder(KEY, "the model", "command", "/models/m; rm x", {"command": command, **settings})


# ---- reading


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "needs the setting command"),
        ({"command": []}, "needs the setting command"),
        ({"command": "/bin/serve 'unclosed"}, "command must be a list of texts"),
        ({"command": ["serve", "$PORT"]}, "must begin with the absolute path of a program, not 'serve'"),
        ({"command": ["/bin/serve"]}, "must say where it listens"),
        ({"command": ["/bin/serve", "$PORT", "$SOCKET"]}, "must say where it listens"),
        ({"command": ["/bin/serve", "$PORT", "${HOME}"]}, "command has $HOME in it"),
        ({"command": ["/bin/serve", "$PORT"], "colour": 1}, "no setting 'colour'"),
    ],
)
def test_a_command_that_cannot_work_is_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsProblem) as raised:
        read_command(settings)
    assert problem in str(raised.value)


def test_a_text_is_split_into_words_but_nothing_in_it_is_run() -> None:
    found = read_command({"command": "/bin/serve --port=$PORT 'a b' `id` $(id) ; x"})
    assert found.command == ("/bin/serve", "--port=$PORT", "a b", "`id`", "$(id)", ";", "x")


@given(st.text(), st.text())
def test_values_are_put_in_as_they_are(before: str, value: str) -> None:
    word = before.replace("$", "$$") + "${MODEL}"
    assert substitute(word, {"MODEL": value}) == before + value
    assert names_in((word,)) == {"MODEL"}


# ---- running


def test_a_worker_that_does_not_allow_it_runs_no_command(host: EngineHost) -> None:
    with pytest.raises(LaunchProblem, match="start it with --allow-command"):
        Command().launch(order(ON_SOCKET), host, host.folders.paths_for(KEY.attempt(1)))
    asked = InspectSource("command", "x", {"command": ON_SOCKET})
    assert "start it with --allow-command" in inspect_source(asked, host).problem
    assert inspect_source(asked, altered(host, allow_command=True)).problem == ""


@pytest.mark.anyio
async def test_a_command_serves_on_a_socket(allowing: EngineHost) -> None:
    async with TestSystem() as system:
        _, probe = await start(system, order(ON_SOCKET), allowing)
        ready = await report_of(probe, ReplicaState.READY)
        assert ready.address.startswith("unix:")
        assert ready.key == ""
        assert not [name for name in environment_of(ready.pid) if "KEY" in name]


@pytest.mark.anyio
async def test_a_command_serves_on_a_port_of_the_loopback(allowing: EngineHost) -> None:
    async with TestSystem() as system:
        _, probe = await start(system, order(ON_PORT), allowing)
        ready = await report_of(probe, ReplicaState.READY)
        assert ready.address.startswith("loopback:")
        async with TcpStream(await open_engine_socket(ready)) as stream:
            await stream.send(b"GET /v1/models HTTP/1.0\r\n\r\n")
            assert b" 200 OK\r\n" in await stream.receive()
    log = b"".join(file.read_bytes() for file in sorted(allowing.folders.log_of(KEY).iterdir())).decode()
    assert "serving /models/m; rm x; `touch /tmp/no` $HOME\n" in log


@pytest.mark.slow
@pytest.mark.anyio
async def test_an_engine_whose_port_was_taken_is_never_ready_and_gets_another_port(
    allowing: EngineHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    async def stranger(stream: SocketStream) -> None:
        asked.append(await stream.receive())
        await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    taken = listener.extra(SocketAttribute.local_port)  # noqa: S610
    ports = iter((PrivatePort(taken, "secret"), choose_port()))
    monkeypatch.setattr(command, "choose_port", lambda: next(ports))
    async with listener, anyio.create_task_group() as group, TestSystem() as system:
        group.start_soon(listener.serve, own_connection(stranger))
        late = f'[ "$$0" != {taken} ] || sleep 3600; exec "$$@"'
        argv = ["/bin/sh", "-c", late, "$PORT", *fake_engine_argv("--port", "$PORT", "--say", "$KEYFILE")]
        _, probe = await start(system, order(argv), allowing)
        failed = await report_of(probe, ReplicaState.FAILED)
        assert failed.reason.startswith(f"another program listens on port {taken}: ")
        assert failed.reason.endswith(f" (process {os.getpid()})")
        ready = await report_of(probe, ReplicaState.READY)
        assert ready.address != f"loopback:{taken}"
        group.cancel_scope.cancel()
    assert asked == []  # nor was it shown the key


@pytest.mark.slow
@pytest.mark.anyio
async def test_an_engine_that_loses_its_port_to_another_program_is_ended_and_started_again(
    allowing: EngineHost, folder: Path
) -> None:
    """Its socket was in a child that died: the engine itself seems to be well, and so does the stranger."""
    serve = fake_engine_argv("--port", "$PORT")
    patient = altered(allowing, health=HealthPolicy(interval=0.1, misses=1000))
    keep = f'"$$@" & echo $$! > {folder}/child.new; mv {folder}/child.new {folder}/child; sleep 3600'
    async with TestSystem() as system, anyio.create_task_group() as group:
        _, probe = await start(system, order(["/bin/sh", "-c", keep, "engine", *serve]), patient)
        ready = await report_of(probe, ReplicaState.READY)
        port = int(ready.address.removeprefix("loopback:"))
        os.kill(int((folder / "child").read_text()), signal.SIGKILL)
        group.start_soon(seem_well, port)
        ended = await report_of(probe, ReplicaState.STARTING, lambda report: report.reason != "")
        assert ended.reason.startswith(f"another program listens on port {port}: ")
        again = await report_of(probe, ReplicaState.READY)
        assert again.address not in ("", ready.address)
        group.cancel_scope.cancel()


async def seem_well(port: int) -> None:
    """Answer on a port as an engine that is well does, as soon as nobody else has the port."""

    async def answer(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    while True:
        with suppress(OSError):
            async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port) as listener:
                await listener.serve(own_connection(answer))
        await anyio.sleep(0.01)


@pytest.mark.anyio
async def test_an_engine_that_ends_by_itself_names_the_exception_at_the_root(allowing: EngineHost) -> None:
    program = (
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'raise ValueError(\"the root\")'])\n"
        "print('INFO line\\n' * 40, file=sys.stderr)\n"
        "raise RuntimeError('see root cause above')\n"
    )
    async with TestSystem() as system:
        _, probe = await start(system, order([sys.executable, "-c", program, "$PORT"]), allowing)
        failed = await report_of(probe, ReplicaState.FAILED)
    ended = "the engine ended by itself with exit code 1 before it was ready"
    assert failed.reason == f"{ended}: ValueError: the root"
    assert "ValueError: the root" in failed.log_tail
    assert failed.log_tail[-1] == "RuntimeError: see root cause above"
    assert len(failed.log_tail) == 20


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_key_reaches_the_engine_by_a_file_that_only_we_can_read(
    allowing: EngineHost, folder: Path
) -> None:
    program = folder / "serve.py"
    program.write_text(
        "import os, sys\n"
        "mode = oct(os.stat(sys.argv[1]).st_mode & 0o777)\n"
        "key = open(sys.argv[1]).read()\n"
        "argv = [sys.executable, '-I', '-S', sys.argv[3], '--port', sys.argv[2]]\n"
        "os.execv(argv[0], [*argv, '--api-key', key, '--say', mode])\n"
    )
    engine = fake_engine_argv()[-1]
    command = [sys.executable, "-I", str(program), "$KEYFILE", "$PORT", engine]
    async with TestSystem() as system:
        _, probe = await start(system, order(command), allowing)
        ready = await report_of(probe, ReplicaState.READY)
        assert ready.key
        assert ready.key not in repr(ready)
        url = f"http://127.0.0.1:{ready.address.partition(':')[2]}/v1/completions"

        def ask(key: str) -> int:
            headers = {"authorization": f"Bearer {key}"}
            body = {"prompt": "x"}
            return httpx2.post(url, json=body, headers=headers, trust_env=False, timeout=60).status_code

        assert await anyio.to_thread.run_sync(ask, "wrong") == 401
        assert await anyio.to_thread.run_sync(ask, ready.key) == 200
    log = b"".join(file.read_bytes() for file in sorted(allowing.folders.log_of(KEY).iterdir())).decode()
    assert "0o600" in log


@pytest.mark.anyio
async def test_a_command_that_is_not_there_is_told(allowing: EngineHost) -> None:
    async with TestSystem() as system:
        _, probe = await start(system, order(["/no/such/program", "$PORT"]), allowing)
        failed = await report_of(probe, ReplicaState.FAILED)
        assert failed.reason == "/no/such/program cannot be started: No such file or directory"

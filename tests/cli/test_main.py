"""How the program ends: never with a traceback, and with a status that tells the truth."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sllm_actors import __version__
from sllm_actors.cluster.tls_files import PublicTlsFiles, TlsFiles
from sllm_actors.host_port import HostPort
from sllm_actors.nodes.launcher.listening import LauncherProblem
from sllm_actors.nodes.options import (
    GatewayOptions,
    HeadOptions,
    NodeOptions,
    UpOptions,
    WorkerOptions,
)

from .conftest import Sllm
from .server import PlayedGateway, deployment

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port that is taken, but that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_version_and_help(sllm: Sllm) -> None:
    assert sllm("--version").out == f"sllm, version {__version__}\n"
    for command in ((), ("deploy",), ("up",), ("worker",), ("chat",)):
        assert sllm(*command, "--help").code == 0


@pytest.mark.parametrize(
    "command",
    ["status", "status --json", "delete a", "deploy --model a", "logs a", "chat a", "run a", "ls", "ps -q"],
)
def test_an_unreachable_gateway_is_one_sentence_with_the_remedy(
    sllm: Sllm, monkeypatch: pytest.MonkeyPatch, refusing_port: int, command: str
) -> None:
    url = f"http://127.0.0.1:{refusing_port}"
    monkeypatch.setenv("LLM_SERVER_URL", url)
    ended = sllm(*command.split(), stdin="Hi\n")
    assert ended.code == 1
    assert ended.err == (
        f"error: no sllm gateway answers at {url} ([Errno 111] Connection refused): "
        'start one with "sllm up", or set LLM_SERVER_URL\n'
    )


def test_the_key_is_sent_and_never_shown(
    sllm: Sllm, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    sllm("status")
    monkeypatch.setenv("SLLM_API_KEY", "sk-secret")
    sllm("status")
    gateway.refusal = (401, "this gateway wants a key", "invalid_api_key")
    ended = sllm("status")
    assert gateway.keys == [None, "Bearer sk-secret", "Bearer sk-secret"]
    assert ended.err == "error: this gateway wants a key (the key of this gateway goes into SLLM_API_KEY)\n"
    monkeypatch.setenv("SLLM_API_KEY", "sk-sécret\n2")
    ended = sllm("status")
    assert ended.code == 1
    assert "cret" not in ended.err


def test_a_server_that_is_no_gateway_is_named(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.nodes = [{"name": "no id"}]
    ended = sllm("status", "--nodes")
    assert (ended.code, "not a Status" in ended.err) == (1, True)


@pytest.mark.slow
def test_an_interrupt_exits_with_130(gateway: PlayedGateway, sllm_process: Start) -> None:
    gateway.add(deployment("a:vllm", state="starting"))
    process = sllm_process("deploy", "--model", "a", "--wait")
    assert process.stdout is not None
    assert process.stdout.readline() == "Deployment created: a:vllm\n"
    assert process.stdout.readline() == "a:vllm: starting\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (130, "")


@pytest.mark.slow
def test_a_command_that_was_started_with_interrupts_ignored_goes_on(
    gateway: PlayedGateway, sllm_process: Start
) -> None:
    gateway.add(deployment("a:vllm", state="starting"))
    process = sllm_process("deploy", "--model", "a", "--wait", ignoring=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "Deployment created: a:vllm\n"
    process.send_signal(signal.SIGINT)
    gateway.deployments["a:vllm"].append(deployment("a:vllm", state="ready"))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.splitlines()[-1], err) == (0, "Ready: a:vllm", "")


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_gets_no_traceback(gateway: PlayedGateway, sllm_process: Start) -> None:
    for number in range(3000):
        gateway.add(deployment(f"{number}:vllm", detail=100 * "x"))
    process = sllm_process("status")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.wait(60) != 0
    assert process.stderr.read() == ""


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[NodeOptions]:
    """What was asked to be run; planning and running are not under test here, and would run for ever."""
    calls: list[NodeOptions] = []
    monkeypatch.setattr("sllm_actors.nodes.launcher.plan.make_plan", lambda chosen: chosen)
    monkeypatch.setattr("sllm_actors.nodes.launcher.launcher.run", calls.append)
    return calls


def test_the_options_of_node_commands_reach_the_launcher(
    sllm: Sllm, launched: list[NodeOptions], tmp_path: Path
) -> None:
    assert sllm("up", "--demo", "--port", "0", "--gpus", "2", "--gateways", "3").code == 0
    assert sllm("head", "--gateways", "2", "--data-dir", str(tmp_path)).code == 0
    arguments = ("--label", "zone=a", "--label", "tier=", "--engine-python", "vllm=/opt/vllm/bin/python")
    assert sllm("worker", "--head", "http://[fd00::1]:9000/", *arguments).code == 0
    assert sllm("gateway", "--head", "head.example").code == 0
    assert launched == [
        UpOptions(demo=True, gateways=3, port=0, gpus=2),
        HeadOptions(gateways=2, data_dir=tmp_path),
        WorkerOptions(
            head=HostPort("fd00::1", 9000),
            labels={"zone": "a", "tier": ""},
            engine_python={"vllm": "/opt/vllm/bin/python"},
        ),
        GatewayOptions(head=HostPort("head.example", 8000)),
    ]
    assert str(HostPort("fd00::1", 9000)) == "[fd00::1]:9000"


def test_the_files_for_tls_come_together_or_not_at_all(sllm: Sllm, launched: list[NodeOptions]) -> None:
    files = ("--tls-cert", "a.pem", "--tls-key", "a.key", "--tls-ca", "ca.pem")
    for command in (("up",), ("head",), ("worker", "--head", "h"), ("gateway", "--head", "h")):
        assert sllm(*command, *files).code == 0
        assert launched.pop().tls == TlsFiles(Path("a.pem"), Path("a.key"), Path("ca.pem"))
        ended = sllm(*command, "--tls-ca", "ca.pem")
        assert (ended.code, launched) == (2, [])
        assert "--tls-cert, --tls-key and --tls-ca go together: give --tls-cert and --tls-key" in ended.err


def test_the_files_for_https_come_together_and_http2_only_with_them(
    sllm: Sllm, launched: list[NodeOptions]
) -> None:
    files = ("--public-tls-cert", "a.pem", "--public-tls-key", "a.key")
    for command in (("up",), ("head",), ("gateway", "--head", "h")):
        for more, http2 in (((), False), (("--http2",), True)):
            assert sllm(*command, *files, *more).code == 0
            chosen = launched.pop()
            assert isinstance(chosen, UpOptions | HeadOptions | GatewayOptions)
            assert chosen.public_tls == PublicTlsFiles(Path("a.pem"), Path("a.key"), http2)
        ended = sllm(*command, "--public-tls-key", "a.key")
        assert (ended.code, launched) == (2, [])
        assert "--public-tls-cert and --public-tls-key go together: give --public-tls-cert too" in ended.err
        ended = sllm(*command, "--http2")
        assert (ended.code, launched) == (2, [])
        assert "--http2 needs TLS: give --public-tls-cert and --public-tls-key too" in ended.err


def test_the_origins_of_web_pages_are_as_browsers_write_them(sllm: Sllm, launched: list[NodeOptions]) -> None:
    for command in (("up",), ("head",), ("gateway", "--head", "h")):
        assert sllm(*command, "--cors-origin", "https://Chat.example.org/", "--cors-origin", "*").code == 0
        chosen = launched.pop()
        assert isinstance(chosen, UpOptions | HeadOptions | GatewayOptions)
        assert chosen.cors_origins == ("https://chat.example.org", "*")
        ended = sllm(*command, "--cors-origin", "chat.example.org")
        assert (ended.code, launched) == (2, [])
        assert "'chat.example.org' is no origin" in ended.err


@pytest.mark.parametrize(
    "command",
    [
        "chat",
        "run",
        "pull",
        "logs",
        "update",
        "drain",
        "undrain",
        "delete",
        "load",
        "unload",
        "sleep",
        "wake",
    ],
)
def test_an_empty_name_as_of_a_variable_that_is_not_set_is_refused(
    sllm: Sllm, gateway: PlayedGateway, command: str
) -> None:
    ended = sllm(command, " ", stdin="Hi\n")
    assert (ended.code, gateway.requests) == (2, [])
    assert ended.err.endswith(": ' ' names nothing\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["load", "m", "--timeout", "soon"], "'soon' is not a number of 0 or more"),
        (["load", "m", "--timeout", "nan"], "'nan' is not a number of 0 or more"),
        (["sleep", "m", "--level", "3"], "'3' is not a whole number from 0 to 2"),
        (["deploy", "m", "--target", "1.5"], "'1.5' is not a whole number of 1 or more"),
        (["deploy", "m", "--priority", "high"], "'high' is not a whole number from -100 to 100"),
        (["load", "m", "--backend", ""], "'' names nothing"),
    ],
)
def test_a_number_that_an_option_cannot_have_is_told_with_those_that_it_can(
    sllm: Sllm, gateway: PlayedGateway, arguments: list[str], sentence: str
) -> None:
    ended = sllm(*arguments)
    assert (ended.code, gateway.requests) == (2, [])
    assert ended.err.endswith(f": {sentence}\n")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (LauncherProblem("port 8343 is taken"), "port 8343 is taken"),
        (OSError(98, "Address already in use"), "[Errno 98] Address already in use"),
        (KeyError("x"), "sllm itself failed, KeyError: 'x' (SLLM_DEBUG=1 shows where)"),
    ],
)
def test_what_goes_wrong_in_a_node_is_one_sentence(
    sllm: Sllm,
    launched: list[NodeOptions],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    sentence: str,
) -> None:
    def run(_plan: object) -> None:
        raise error

    monkeypatch.setattr("sllm_actors.nodes.launcher.launcher.run", run)
    ended = sllm("up")
    assert (ended.code, ended.err) == (1, f"error: {sentence}\n")
    monkeypatch.setenv("SLLM_DEBUG", "1")
    assert ("Traceback" in sllm("up").err) == isinstance(error, KeyError)


@pytest.mark.parametrize(
    "command",
    [
        "worker",
        "worker --head h/path",
        "worker --head h:99999",
        "worker --head h --gpus many",
        "worker --head h --label zone",
        "worker --head h --label zone=a --label rack=1 --label zone=b",
        "worker --head h --engine-python vllm=/a --engine-python vllm=/b",
        "up --healthy-uptime nan",
        "up --port 70000",
        "up --gateways 0",
        "head --secret-file /no/such/file",
        "up --tls-cert a.pem --tls-key a.key",
        "nonsense",
    ],
)
def test_wrong_node_options_exit_with_2(sllm: Sllm, launched: list[NodeOptions], command: str) -> None:
    ended = sllm(*command.split())
    assert (ended.code, launched) == (2, [])
    assert "Traceback" not in ended.err

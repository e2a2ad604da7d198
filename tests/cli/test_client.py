"""The bounds of the HTTP client, against servers that do what no gateway should."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from sllm_actors.cli import client as client_module
from sllm_actors.cli.client import GatewayClient, path_of
from sllm_actors.cli.errors import CommandFailure, RequestRefused, Unreachable
from sllm_actors.cli.keys import find_key

from .server import serving

Send = Callable[[dict[str, Any]], Any]


def answering(status: int, body: bytes, *, chunks: int = 1, pause: float = 0.0, cut: bool = False) -> Any:
    """Return an ASGI application that gives the same answer to everything."""

    async def app(_scope: Any, _receive: Any, send: Send) -> None:
        length = str(len(body) * chunks).encode()
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-length", length)]}
        )
        for _ in range(chunks):
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await asyncio.sleep(pause)
            if cut:
                raise ConnectionAbortedError
        await send({"type": "http.response.body", "body": b""})

    return app


def ask(app: Any) -> Any:
    with serving(app) as url, GatewayClient({"LLM_SERVER_URL": url}) as client:
        return client.request("GET", "/status")


def test_an_answer_is_its_json() -> None:
    assert ask(answering(200, b'{"a": 1}')) == {"a": 1}


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_that_knows_no_path_of_ours_is_no_gateway(status: int) -> None:
    with pytest.raises(CommandFailure, match=rf"is no sllm gateway \({status} .* to GET /status\)") as failed:
        ask(answering(status, b"<html>"))
    assert "set LLM_SERVER_URL" in str(failed.value)
    assert not isinstance(failed.value, RequestRefused), "else a command takes it that there is no such model"


def test_a_gateway_that_speaks_plain_http_is_told_by_the_address_that_is_to_be_written() -> None:
    with serving(answering(200, b"{}")) as url:
        environ = {"LLM_SERVER_URL": url.replace("http:", "https:")}
        with (
            GatewayClient(environ) as client,
            pytest.raises(Unreachable, match="does not speak HTTPS: write http:// in LLM_SERVER_URL"),
        ):
            client.request("GET", "/status")


@pytest.mark.parametrize("status", [308, 502])
def test_an_error_that_is_not_ours_is_told_by_its_status(status: int) -> None:
    with pytest.raises(RequestRefused, match=rf"answered {status} .* to GET /status") as refused:
        ask(answering(status, b"<html>" * 100_000))
    assert refused.value.status == status


def test_an_answer_that_is_no_json_is_no_gateways() -> None:
    with pytest.raises(CommandFailure, match="is no sllm gateway: GET /status gave no JSON"):
        ask(answering(200, b"<html>"))


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "LARGEST_ANSWER", 2**20)
    with pytest.raises(CommandFailure, match="more than 1 MiB"):
        ask(answering(200, b" " * 2**18, chunks=6))


@pytest.mark.slow
def test_an_answer_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 1.0)
    with pytest.raises(Unreachable, match="did not finish its answer to GET /status in time"):
        ask(answering(200, b" ", chunks=2**30, pause=0.001))


@pytest.mark.slow
@pytest.mark.parametrize("begun", [False, True])
def test_silence_is_given_up(monkeypatch: pytest.MonkeyPatch, *, begun: bool) -> None:
    async def app(_scope: Any, receive: Any, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        while (await receive())["type"] != "http.disconnect":
            pass

    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 0.2)
    # The server that is left without an answer logs that there was none.
    with capture_logs(), pytest.raises(Unreachable, match="took too long to answer GET /status"):
        ask(app)


def test_a_connection_that_breaks_is_told() -> None:
    # The server that is made to break logs why, with a traceback.
    with capture_logs(), pytest.raises(Unreachable, match="broke during GET /status"):
        ask(answering(200, b" ", chunks=2, cut=True))


def test_names_stay_whole_in_a_path() -> None:
    assert path_of("deployments", "a/b:vllm") == "/deployments/a%2Fb:vllm"
    assert path_of("deployments", "../x?y#z") == "/deployments/..%2Fx%3Fy%23z"


def test_a_gateway_on_this_machine_gets_the_heads_admin_key_and_another_never_does(tmp_path: Path) -> None:
    environ = {"SLLM_DATA_DIR": str(tmp_path)}
    assert find_key(environ, local=True) == ""
    (tmp_path / "admin-key").write_text("sllm-admin-1\n")
    assert find_key(environ, local=True) == "sllm-admin-1"
    assert find_key(environ, local=False) == ""
    assert find_key({**environ, "SLLM_API_KEY": "mine"}, local=True) == "mine"
    (tmp_path / "admin-key").write_bytes(b"\xef\xbb\xbfsllm-admin-1\r\n")
    assert find_key(environ, local=True) == "sllm-admin-1", "a byte order mark means nothing"
    (tmp_path / "admin-key").write_bytes(b"\xff\x00")
    assert find_key(environ, local=True) == ""
    data_home = tmp_path / "sllm"
    data_home.mkdir()
    (data_home / "admin-key").write_text("sllm-admin-2")
    assert find_key({"XDG_DATA_HOME": str(tmp_path)}, local=True) == "sllm-admin-2"

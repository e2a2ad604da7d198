"""Who is let in."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from sllm_actors.gateway import GatewaySettings
from sllm_actors.gateway.access import refuse
from sllm_actors.gateway.cors import Cors

from .kit import PlayedCluster, running_gateway

LOCAL = GatewaySettings(snapshot_path=Path("x"), machine="m")
KEYED = GatewaySettings(snapshot_path=Path("x"), machine="m", loopback=False, admin_key="k-1")


def asks(settings: GatewaySettings, path: str = "/status", **headers: str) -> int:
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    error = refuse(settings, path.encode(), sent, dict(sent))
    return 200 if error is None else error.status


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1", "127.0.0.1:8343", "127.9.9.9", "[::1]:80", "[::1]"]
)
def test_programs_of_this_machine_are_let_in(host: str) -> None:
    assert asks(LOCAL, host=host) == 200
    assert asks(LOCAL, host=host, origin=f"http://{host}") == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "10.0.0.1", "", "[::1", "a@localhost", "localhost:x", "é"],
)
def test_a_name_that_only_leads_here_is_not(host: str) -> None:
    assert asks(LOCAL, host=host) == 403
    assert asks(LOCAL) == 403


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "file://", "http://127.0.0.1.evil.example"]
)
def test_a_web_page_of_elsewhere_is_not(origin: str) -> None:
    assert asks(LOCAL, host="localhost", origin=origin) == 403


def test_a_page_of_elsewhere_that_was_allowed_is() -> None:
    allowing = evolve(LOCAL, cors=Cors.of(["https://chat.example.org"]))
    assert asks(allowing, host="localhost", origin="https://chat.example.org") == 200
    assert asks(allowing, host="localhost", origin="http://localhost:3000") == 200
    assert asks(allowing, host="localhost", origin="https://evil.example") == 403
    assert asks(allowing, host="evil.example", origin="https://chat.example.org") == 403


def test_beyond_loopback_everything_but_health_wants_the_key() -> None:
    assert asks(KEYED, "/health") == 200
    assert asks(KEYED) == asks(KEYED, "/v1/models") == asks(KEYED, "/health/") == 401
    assert asks(KEYED, authorization="Bearer k-1") == asks(KEYED, authorization="bearer k-1") == 200
    for wrong in ("Bearer k-2", "k-1", "Basic k-1", "Bearer", "Bearer é"):
        assert asks(KEYED, authorization=wrong) == 401


def test_a_header_that_comes_twice_is_believed_neither_time() -> None:
    local, foreign = (b"host", b"localhost"), (b"host", b"evil.example")
    page = (b"origin", b"https://evil.example")
    key, wrong = (b"authorization", b"Bearer k-1"), (b"authorization", b"Bearer k-2")
    for settings, sent in (
        (LOCAL, [foreign, local]),
        (LOCAL, [local, local]),
        (LOCAL, [local, page, (b"origin", b"http://localhost")]),
        (KEYED, [wrong, key]),
        (KEYED, [key, key]),
    ):
        assert refuse(settings, b"/status", sent, dict(sent)) is not None


def test_a_gateway_for_everybody_without_a_key_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="admin key"):
        GatewaySettings(snapshot_path=Path("x"), machine="m", loopback=False)
    assert "k-1" not in repr(KEYED)


@pytest.mark.anyio
async def test_a_refusal_comes_before_everything_else(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, loopback=False, admin_key="k-1") as cluster:
        await check(cluster)


async def check(cluster: PlayedCluster) -> None:
    http = cluster.http()
    assert (await http.get("/health")).status_code == 200
    for method, path in (("GET", "/status"), ("POST", "/v1/chat/completions"), ("GET", "/nothing")):
        answer = await http.request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        answer = await http.request(method, path, headers={"Authorization": "Bearer k-1"})
        assert answer.status_code != 401
    assert cluster.gateway.refusals() == {"invalid_api_key": 3}

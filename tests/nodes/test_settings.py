"""What the launcher tells a node arrives as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from sllm_actors.cluster.tls_files import TlsFiles
from sllm_actors.nodes.settings import (
    GatewayNodeSettings,
    HeadNodeSettings,
    NodeSettings,
    WorkerNodeSettings,
    believing,
    read_settings,
    write_settings,
)

HEAD = HeadNodeSettings(
    name="head",
    data_dir=Path("/data"),
    listeners={"cluster": 5, "transport": 6},
    ports={"cluster": 8000, "transport": 8001},
    loopback=False,
    secret_file=Path("/secret"),
    tls=TlsFiles(Path("/tls/cert.pem"), Path("/tls/key.pem"), Path("/tls/ca.pem")),
    database_url="postgresql://user:password@db/sllm",
)
WORKER = WorkerNodeSettings(
    name="worker",
    data_dir=Path("/data"),
    head_host="::1",
    head_port=8000,
    gpus=2,
    slots=3,
    memory_budget=4 * 2**30,
    storage_path=Path("/models"),
    storage_quota=200_000_000_000,
    labels={"zone": "a"},
    engine_python={"vllm": "/opt/bin/python"},
)
GATEWAY = GatewayNodeSettings(name="gateway-1", data_dir=Path("/data"), head_host="head", head_port=8000)


@pytest.mark.parametrize(("role", "settings"), [("head", HEAD), ("worker", WORKER), ("gateway", GATEWAY)])
def test_settings_travel_in_one_line(role: str, settings: NodeSettings) -> None:
    line = write_settings(role, settings)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert read_settings(line) == (role, settings)
    assert settings.home == Path("/data") / settings.name
    assert settings.log.parent == settings.home


def test_a_database_password_is_not_shown() -> None:
    assert "password" not in repr(HEAD)


@pytest.mark.parametrize("line", [b"", b"{}\n", b"hello\n", b'{"role": "king", "settings": {}}\n', b"[]\n"])
def test_a_person_who_starts_a_node_by_hand_is_told_how(line: bytes) -> None:
    with pytest.raises(ValueError, match="use `sllm up"):
        read_settings(line)


@pytest.mark.parametrize("settings", [WORKER, GATEWAY])
def test_a_node_is_told_once_to_trust_a_new_head(settings: WorkerNodeSettings | GatewayNodeSettings) -> None:
    trusting = evolve(settings, trust_new_head=True)
    assert believing(trusting) == settings
    assert believing(HEAD) is HEAD

"""A head whose database is a PostgreSQL: it is killed, and so is its database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.postgres import Postgres, why_not

from .cluster import Sllm, eventually
from .machines import Machines, engine

pytestmark = pytest.mark.allow_blocking


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    if reason := why_not():
        pytest.skip(reason)
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def machines(postgres: Postgres, tmp_path: Path) -> Iterator[Machines]:
    running = Machines(tmp_path)
    try:
        running.start_head("--database-url", postgres.url)
        running.start_gateway()
        running.start_worker("w1")
        yield running
    finally:
        running.close()


def test_a_head_that_is_killed_finds_in_postgresql_all_that_it_had_acknowledged(
    machines: Machines, postgres: Postgres
) -> None:
    before = machines.deploy("kept", engine("--model", "kept"))
    assert machines.http.post("/keys", json={"name": "chat", "share": 2}).is_success
    machines.kill("head")
    machines.start_head("--database-url", postgres.url)
    after = machines.wait_ready("kept")
    assert machines.pids_of(after) == machines.pids_of(before), "what ran goes on"
    assert [after[key] for key in ("uid", "revision", "recovered")] == [
        *(before["uid"], before["revision"], False)
    ]
    keys = machines.http.get("/keys").json()["keys"]
    assert [(each["name"], each["share"]) for each in keys] == [("chat", 2.0)]
    told = machines.http.get("/events", params={"subject": "kept:command"}).json()["events"]
    assert "deployment.created" in [each["kind"] for each in told]
    assert not list(machines.directory("head").glob("state.db*"))

    # While the database is away, what serves goes on serving, and what cannot be kept is refused.
    postgres.stop()
    refused = machines.http.post("/deployments", json={"model": "late", **engine("--model", "late")})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
    chat = {"model": "kept", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
    assert machines.http.post("/v1/chat/completions", json=chat).is_success
    postgres.start()
    machines.deploy("late", engine("--model", "late"))
    machines.kill("head")
    machines.start_head("--database-url", postgres.url)
    assert machines.wait_ready("late")["uid"]


def test_a_head_that_does_not_reach_its_database_says_so_in_one_sentence(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    ports = ("--cluster-port", "0", "--transport-port", "0", "--host", "127.0.0.1", "--gateways", "0")
    url = f"postgresql://sllm:secret@/sllm?host={tmp_path}"
    head = Sllm("head", "--data-dir", str(tmp_path / "head"), *ports, "--database-url", url)
    try:
        assert eventually(lambda: head.process.poll() is not None, what="it has ended")
        assert head.ended() == 1
    finally:
        head.kill_all()
    (line,) = [each for each in head.output.splitlines() if "the state store" in each]
    assert "cannot be opened: connection" in line
    assert line.endswith("failed: No such file or directory")
    assert "secret" not in head.output
    assert "Traceback" not in head.output

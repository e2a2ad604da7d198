"""Files of keys and authorities on a disk that does not answer: told in time, and waited for by nobody."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest
from tests.dead_mount import dead_mount

from sllm_actors.disk import DiskSilent
from sllm_actors.engines.external import (
    ClientContexts,
    KeyProblem,
    Keys,
    ServerAccess,
    keys,
    tls,
    why_unreachable,
)
from sllm_actors.engines.health_policy import HealthPolicy
from sllm_actors.engines.replica.events import Answered, Progressed, Unreached
from sllm_actors.engines.replica.server_watch import ServerWatch

pytestmark = pytest.mark.anyio


@pytest.mark.slow
async def test_a_key_whose_disk_has_gone_silent_is_used_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "FRESH_SECONDS", -1.0)
    monkeypatch.setattr(keys, "PATIENCE", 0.2)
    there = tmp_path / "there"
    there.mkdir()
    (there / "key").write_text("sk-one")
    link = tmp_path / "now"
    link.symlink_to(there)
    access, known = ServerAccess(key_file=str(link / "key")), Keys("here")
    assert await known.of(access) == "sk-one"
    with dead_mount(tmp_path / "away") as away:
        link.unlink()
        link.symlink_to(away)
        with anyio.fail_after(60):
            assert [await known.of(access), await known.of(access)] == ["sk-one", "sk-one"]
            with pytest.raises(KeyProblem, match=f"{link / 'key'} has not answered for 0.2 s"):
                await Keys("here").of(access)


async def test_authorities_on_a_silent_disk_are_told_by_their_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "PATIENCE", 0.2)
    with dead_mount(tmp_path / "away") as away:
        path = str(away / "ca.pem")
        with anyio.fail_after(60), pytest.raises(DiskSilent) as caught:
            await ClientContexts().of(path)
        assert why_unreachable(caught.value).startswith(f"{path} has not answered for 0.2 s")


async def test_authorities_in_a_fifo_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ca.pem")
    with anyio.fail_after(60), pytest.raises(OSError, match=r"ca\.pem cannot be read: it is a FIFO"):
        await ClientContexts().of(str(tmp_path / "ca.pem"))


@pytest.mark.slow
async def test_a_server_whose_authorities_are_on_a_silent_disk_is_said_not_to_be_reached(
    tmp_path: Path,
) -> None:
    said: list[Answered | Progressed | Unreached] = []
    with dead_mount(tmp_path / "away") as away:
        access = ServerAccess(ca_file=str(away / "ca.pem"))
        watch = ServerWatch(
            address="https://127.0.0.1:9",
            paths=("/health",),
            access=access,
            model="m",
            attempt=1,
            policy=HealthPolicy(interval=0.1),
            startup_timeout=60,
            say=said.append,
        )
        with anyio.move_on_after(12):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch.run)
                while not said:  # noqa: ASYNC110 - it is a list that is looked at
                    await anyio.sleep(0.05)
                tasks.cancel_scope.cancel()  # a look that waits is left, too
    (unreached,) = said[:1]
    assert isinstance(unreached, Unreached)
    assert "ca.pem has not answered" in unreached.reason
